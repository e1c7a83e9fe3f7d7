//! Replays recorded histories, whose rows are files beside the tests, with the program that produced them.
//!
//! The files are written once for each version of a [`Turn`] and never changed, because databases contain such rows. The
//! test also checks that today's code takes decisions with the same bytes. This pins what must not change between
//! releases: the random numbers, the ids derived from them, and the order of decisions.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::script::{Op, begin, done, fired, player, raised};
use crate::model::{
    Arrival, Failure, TaskId, Timestamp, Turn,
    codec::{self, Stored as _},
};

/// The environment variable that, set to 1, writes the files of a version that has none.
const NEW: &str = "WINDLASS_NEW_GOLDEN";

fn program() -> Vec<Vec<Op>> {
    vec![
        vec![Op::Random, Op::Call("a".into()), Op::CallOrCall("b".into(), "c".into())],
        vec![Op::Child("d".into()), Op::Status(7), Op::Event("go".into()), Op::Log],
        vec![
            Op::Sleep(40),
            Op::Start("e".into()),
            Op::EventOrSleep("late".into(), 60),
        ],
        vec![
            Op::EventTwice("Go".into()),
            Op::Send("f".into()),
            Op::Call("nope".into()),
        ],
    ]
}

/// The time of each turn in milliseconds, and its arrivals.
fn arrivals() -> Vec<(u64, Vec<Arrival>)> {
    let failed = Arrival::TaskEnded {
        task: TaskId(2),
        outcome: Err(Failure::new("Declined", "no money").permanent()),
    };
    vec![
        (1_000, vec![begin()]),
        (1_010, vec![done(1), raised("go", 1)]),
        (1_020, vec![failed, raised("GO", 2)]),
        (1_040, vec![fired(3)]),
        (1_100, vec![done(6), raised("go", 3), fired(11)]),
    ]
}

fn folder(version: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/replay/golden/v{version}"))
}

/// The rows in the files of a version; empty if there are no files.
fn rows(version: u8) -> Vec<Vec<u8>> {
    let files = (1..).map(|number| folder(version).join(format!("turn-{number}.bin")));
    files.map_while(|path| fs::read(path).ok()).collect()
}

/// Runs the next turn of the program after these.
fn next(history: &[Turn], at: Timestamp, arrivals: Vec<Arrival>) -> Turn {
    let mut player = player(&program());
    for turn in history {
        player.replay(turn).expect("the recorded decisions");
    }
    player.advance(at, arrivals).expect("there is room").turn
}

fn write_newest() {
    let mut history = Vec::new();
    fs::create_dir_all(folder(Turn::VERSION)).expect("the repository can be written to");
    for (at, arrivals) in arrivals() {
        let turn = next(&history, Timestamp(at), arrivals);
        let file = folder(Turn::VERSION).join(format!("turn-{}.bin", turn.number));
        fs::write(file, codec::encode(&turn)).expect("the repository can be written to");
        history.push(turn);
    }
}

#[test]
fn a_history_of_each_version_replays_and_its_decisions_are_reproduced() {
    if rows(Turn::VERSION).is_empty() && std::env::var_os(NEW).is_some() {
        write_newest();
    }
    for version in 1..=Turn::VERSION {
        let rows = rows(version);
        assert_eq!(
            rows.len(),
            arrivals().len(),
            "version {version} of a turn needs a history: {NEW}=1 writes it"
        );
        let decode = |row: &Vec<u8>| codec::decode::<Turn>(row).expect("rows of older versions can be decoded");
        let history: Vec<Turn> = rows.iter().map(decode).collect();
        for (known, turn) in history.iter().enumerate() {
            let anew = next(&history[..known], turn.at, turn.arrivals.clone());
            assert_eq!(&anew, turn, "version {version}, turn {}", turn.number);
            assert_eq!(codec::encode(&anew), codec::encode(turn));
        }
        let last = history.last().expect("there are turns");
        assert!(
            last.decisions.len() > 1,
            "the program did not run to its end: {last:#?}"
        );
    }
}
