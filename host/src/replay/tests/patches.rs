//! Programs that change under their histories: what `patched` answers, and which histories fit which program.

use proptest::prelude::*;

use super::properties::{name, program, record, world};
use super::script::{Op, begin, done, player, player_with, raised};
use crate::model::{Arrival, Decision, Failure, RewindPoint, Rewinds, TaskId, Timestamp, Turn, TurnNumber};
use crate::replay::execution::{MAX_PATCH_NAME_BYTES, MAX_PATCHES};
use crate::replay::{Ledger, Player, ReplayError, TurnLimits};

fn call(name: &str) -> Op {
    Op::Call(name.into())
}

fn patched(name: &str) -> Op {
    Op::Patched(name.into())
}

fn event() -> Op {
    Op::Event("go".into())
}

/// The program before the change.
fn old() -> Vec<Op> {
    vec![call("first"), event(), call("last")]
}

/// The same with a patch around a call before the event, and another one after it.
fn new() -> Vec<Op> {
    let branch = |name: &str, op| Op::IfPatched(name.into(), vec![op], Vec::new());
    vec![
        call("first"),
        branch("check", call("check")),
        event(),
        branch("audit", call("audit")),
        call("last"),
    ]
}

/// The same without the old branches.
fn newest() -> Vec<Op> {
    vec![
        call("first"),
        Op::DeprecatePatch("check".into()),
        call("check"),
        event(),
        Op::DeprecatePatch("audit".into()),
        call("audit"),
        call("last"),
    ]
}

/// The same without any trace of the patches.
fn last() -> Vec<Op> {
    vec![call("first"), call("check"), event(), call("audit"), call("last")]
}

/// Runs so many turns of a program after the replay of these.
fn go_on<'a>(strand: &[Op], rows: &[Turn], turns: impl IntoIterator<Item = &'a Arrival>) -> Vec<Turn> {
    let mut player = player(&[strand.to_vec()]);
    rows.iter().for_each(|row| player.replay(row).expect("it fits"));
    let mut rows = rows.to_vec();
    for arrival in turns {
        let at = Timestamp(1_000 + rows.len() as u64);
        rows.push(player.advance(at, vec![arrival.clone()]).unwrap().turn);
    }
    rows
}

/// Replays a history with a program; returns what does not fit.
fn fits(strand: &[Op], rows: &[Turn]) -> Result<(), String> {
    let mut player = player(&[strand.to_vec()]);
    rows.iter().try_for_each(|row| match player.replay(row) {
        Ok(()) => Ok(()),
        Err(ReplayError::Stuck(reason)) => Err(format!("{}: {}", reason.code, reason.message)),
        Err(ReplayError::Host(trouble)) => panic!("{trouble}"),
    })
}

fn calls(rows: &[Turn]) -> Vec<&str> {
    let decisions = rows.iter().flat_map(|row| &row.decisions);
    let calls = decisions.filter_map(|decision| match decision {
        Decision::CallActivity { function, .. } => Some(function.as_str()),
        _ => None,
    });
    calls.collect()
}

fn markers(rows: &[Turn]) -> Vec<(&str, bool)> {
    let decisions = rows.iter().flat_map(|row| &row.decisions);
    let markers = decisions.filter_map(|decision| match decision {
        Decision::Patched { name, deprecated } => Some((name.as_str(), *deprecated)),
        _ => None,
    });
    markers.collect()
}

/// All arrivals that `new` takes.
fn all() -> Vec<Arrival> {
    vec![begin(), done(1), done(2), raised("go", 1), done(4), done(5)]
}

#[test]
fn a_new_execution_takes_the_new_branches_and_records_them() {
    let rows = go_on(&new(), &[], &all());
    assert!(rows.last().unwrap().is_last());
    assert_eq!(calls(&rows), ["first", "check", "audit", "last"]);
    assert_eq!(markers(&rows), [("check", false), ("audit", false)]);
    for cut in 0..rows.len() {
        assert_eq!(go_on(&new(), &rows[..cut], &all()[cut..]), rows);
    }
}

#[test]
fn an_old_execution_keeps_the_old_branch_that_it_passed_and_takes_the_new_one_later() {
    let before = go_on(&old(), &[], &[begin(), done(1)]);
    let rest = [raised("go", 1), done(3), done(4)];
    let rows = go_on(&new(), &before, &rest);
    assert!(rows.last().unwrap().is_last());
    assert_eq!(calls(&rows), ["first", "audit", "last"]);
    assert_eq!(markers(&rows), [("audit", false)]);
    // The same when the guest is replayed in between.
    for cut in before.len()..rows.len() {
        assert_eq!(go_on(&new(), &rows[..cut], &rest[cut - before.len()..]), rows);
    }
    assert_eq!(fits(&new(), &rows), Ok(()));
}

#[test]
fn code_from_before_the_change_does_not_fit_a_marker() {
    // It would take the same decisions.
    let asks = vec![patched("x"), event()];
    let rows = go_on(&asks, &[], &[begin()]);
    assert_eq!(
        fits(&[event()], &rows),
        Err(r#"nondeterminism: turn 1: history has the patch "x", the code now does not"#.into())
    );
    // Not even if it asks one turn later.
    assert_eq!(
        fits(&[event(), patched("x")], &rows),
        Err(r#"nondeterminism: turn 1: history has the patch "x", the code now does not"#.into())
    );
    assert_eq!(
        fits(&[patched("y"), event()], &rows),
        Err(r#"nondeterminism: turn 1: history has the patch "x", the code now does not"#.into())
    );
}

#[test]
fn a_branch_without_its_marker_does_not_fit() {
    let rows = go_on(&old(), &[], &[begin(), done(1), raised("go", 1)]);
    assert_eq!(
        fits(&newest(), &rows),
        Err(r#"nondeterminism: turn 2: history waits for event "go" as task 2, the code now calls activity "check" as task 2"#.into())
    );
}

#[test]
fn a_deprecated_patch_fits_histories_with_and_without_its_marker() {
    let with = go_on(&new(), &[], &all()[..4]);
    assert_eq!(fits(&newest(), &with), Ok(()));
    let done = go_on(&newest(), &with, &all()[4..]);
    assert_eq!(markers(&done), [("check", false), ("audit", false)], "no second marker");

    let without = go_on(&last(), &[], &all()[..4]);
    assert_eq!(markers(&without), []);
    assert_eq!(fits(&newest(), &without), Ok(()));
    assert_eq!(
        calls(&go_on(&newest(), &without, &all()[4..])),
        ["first", "check", "audit", "last"]
    );
}

#[test]
fn a_deprecated_marker_needs_no_code_and_other_markers_do() {
    let deprecated = go_on(&newest(), &[], &all());
    assert_eq!(markers(&deprecated), [("check", true), ("audit", true)]);
    assert_eq!(fits(&last(), &deprecated), Ok(()));
    // Back to the code before.
    assert_eq!(fits(&new(), &deprecated), Ok(()));
    let with = go_on(&new(), &[], &all());
    assert_eq!(
        fits(&last(), &with),
        Err(r#"nondeterminism: turn 2: history has the patch "check", the code now does not"#.into())
    );
}

#[test]
fn a_patch_is_deprecated_where_it_was_or_earlier_but_not_later() {
    let rows = go_on(&new(), &[], &all());
    let mut at_the_top = last();
    at_the_top.splice(0..0, ["check", "audit"].map(|name| Op::DeprecatePatch(name.into())));
    assert_eq!(fits(&at_the_top, &rows), Ok(()));
    let mut too_late = last();
    too_late.extend(["check", "audit"].map(|name| Op::DeprecatePatch(name.into())));
    assert!(fits(&too_late, &rows).is_err());
}

#[test]
fn the_first_answer_stays() {
    // Asked in a replayed turn without a marker, and again in a new one.
    let before = go_on(&[call("a"), event()], &[], &[begin()]);
    let asks = [
        patched("x"),
        call("a"),
        patched("x"),
        event(),
        patched("x"),
        patched("y"),
    ];
    let rows = go_on(&asks, &before, &[done(1), raised("go", 1)]);
    let Some(Decision::Complete { output }) = rows.last().unwrap().decisions.last() else {
        panic!("it has not completed");
    };
    let answers: Vec<String> = serde_json::from_str(output.as_str()).unwrap();
    assert_eq!(
        answers,
        [
            "patched x=false",
            "1=Ok(1)",
            "patched x=false",
            "2=Some(1)",
            "patched x=false",
            "patched y=true"
        ]
    );
    assert_eq!(markers(&rows), [("y", false)], "one marker for each patch");
    let again = go_on(&[patched("x"), patched("x"), event(), patched("x")], &[], &[begin()]);
    assert_eq!(markers(&again), [("x", false)]);
}

#[test]
fn a_patch_that_is_asked_for_after_it_was_deprecated_counts_as_asked_for() {
    let both = [Op::DeprecatePatch("x".into()), patched("x"), event()];
    let rows = go_on(&both, &[], &[begin()]);
    assert_eq!(markers(&rows), [("x", true), ("x", false)]);
    assert_eq!(fits(&both, &rows), Ok(()));
    assert!(fits(&[event()], &rows).is_err());
}

#[test]
fn markers_count_in_the_size_of_the_history_and_of_the_turn() {
    let marker = Decision::Patched {
        name: "x".repeat(100),
        deprecated: false,
    };
    assert_eq!(marker.payload_bytes(), 100);
    let limits = TurnLimits {
        decision_bytes: 300,
        ..TurnLimits::default()
    };
    let asks = [patched(&"x".repeat(100)), patched(&"y".repeat(100)), event()];
    let mut player = player_with(&[asks.to_vec()], limits, Vec::new());
    let turn = player.advance(Timestamp(1), vec![begin()]).unwrap().turn;
    assert!(matches!(&turn.decisions[..], [Decision::Fail { failure }] if failure.error_type == "windlass.limit"));
}

/// The message of the failure with which a program ends in its first turn.
fn failure(strand: Vec<Op>) -> Option<Failure> {
    let turn = player(&[strand]).advance(Timestamp(1), vec![begin()]).unwrap().turn;
    match turn.decisions.into_iter().next_back() {
        Some(Decision::Fail { failure }) => Some(failure),
        _ => None,
    }
}

#[test]
fn names_and_numbers_of_patches_are_limited() {
    let of = |count: usize| {
        (0..count)
            .map(|number| patched(&format!("patch {number}")))
            .collect::<Vec<_>>()
    };
    let longest = "x".repeat(MAX_PATCH_NAME_BYTES);
    assert_eq!(failure(vec![patched(&longest), patched("é")]), None);
    assert_eq!(failure(of(MAX_PATCHES)), None);
    let mut again = of(MAX_PATCHES);
    again.extend(of(MAX_PATCHES));
    assert_eq!(failure(again), None, "a name counts once");
    let mut deprecated = of(MAX_PATCHES);
    deprecated.push(Op::DeprecatePatch("another".into()));
    for too_much in [
        vec![patched("")],
        vec![patched(&format!("{longest}x"))],
        vec![Op::DeprecatePatch(String::new())],
        of(MAX_PATCHES + 1),
        deprecated,
    ] {
        let failure = failure(too_much).expect("it fails");
        assert_eq!(
            (failure.error_type.as_str(), failure.non_retryable),
            ("windlass.limit", true)
        );
    }
}

#[test]
fn names_and_numbers_are_limited_in_replay_too() {
    let rows = go_on(&[event()], &[], &[begin()]);
    let mut many: Vec<Op> = (0..=MAX_PATCHES).map(|number| patched(&number.to_string())).collect();
    many.push(event());
    assert!(fits(&many[1..], &rows).is_ok());
    assert!(fits(&many, &rows).unwrap_err().starts_with("trap-on-replay: turn 1"));
    assert!(fits(&[patched(&"x".repeat(257)), event()], &rows).is_err());
}

#[test]
fn superseded_markers_do_not_count_after_a_rewind() {
    let program = [call("a"), patched("x"), Op::FailIfFailed, event()];
    let failed = Arrival::TaskEnded {
        task: TaskId(1),
        outcome: Err(Failure::new("Down", "for now")),
    };
    let mut rows = go_on(&program, &[], &[begin(), failed]);
    assert!(rows[1].is_last());
    let rewinds = Rewinds::none(crate::model::ExecutionNumber::FIRST).with(RewindPoint {
        from: TurnNumber(2),
        row: TurnNumber(3),
    });
    rows.push(Turn {
        number: TurnNumber(3),
        at: Timestamp(2_000),
        arrivals: vec![Arrival::Rewound {
            from: TurnNumber(2),
            next_task: TaskId(2),
            reason: String::new(),
        }],
        decisions: Vec::new(),
        fuel: 0,
    });
    let mut ledger = Ledger::new(rewinds.clone());
    rows.iter().for_each(|row| ledger.apply(row).unwrap());
    let rewound = |strand: &[Op]| {
        let mut player: Player<_> = player(&[strand.to_vec()]).with_rewinds(rewinds.clone());
        rows.iter().for_each(|row| player.replay(row).unwrap());
        player.advance(Timestamp(3_000), vec![done(1)]).unwrap().turn
    };
    assert_eq!(markers(&[rewound(&program)]), [("x", false)], "recorded again");
    // Code without the patch fits: the turn with the marker is superseded.
    assert_eq!(markers(&[rewound(&[call("a"), Op::FailIfFailed, event()])]), []);
}

/// Puts a patch around some operations; the new branch does something more.
fn with_patches(strands: &[Vec<Op>], patches: &[(String, Option<Op>)]) -> Vec<Vec<Op>> {
    let mut patches = patches.iter().cycle();
    let strand = |ops: &Vec<Op>| {
        let ops = ops.iter().flat_map(|op| match patches.next() {
            Some((name, Some(added))) => vec![Op::IfPatched(
                name.clone(),
                vec![added.clone(), op.clone()],
                vec![op.clone()],
            )],
            _ => vec![op.clone()],
        });
        ops.collect()
    };
    strands.iter().map(strand).collect()
}

fn added() -> impl Strategy<Value = (String, Option<Op>)> {
    let op = prop_oneof![
        name().prop_map(Op::Call),
        (0..50u64).prop_map(Op::Sleep),
        name().prop_map(Op::Send),
        Just(Op::Random),
    ];
    (name(), prop::option::of(op))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_patched_program_fits_every_history_of_the_one_before(
        strands in program(),
        patches in prop::collection::vec(added(), 1..6),
        world in world(),
        later in world(),
        cut: prop::sample::Index,
    ) {
        // The program before has no patches of its own: every marker comes from the change.
        let plain = |op: &&Op| !matches!(op, Op::Patched(_) | Op::DeprecatePatch(_) | Op::IfPatched(..));
        let strands: Vec<Vec<Op>> = strands.iter().map(|ops| ops.iter().filter(plain).cloned().collect()).collect();
        let turns = record(player(&strands), Vec::new(), &world);
        let is_over = turns.last().is_some_and(Turn::is_last);
        let kept = match is_over {
            true => cut.index(turns.len()),
            false => turns.len(),
        };
        let changed = with_patches(&strands, &patches);
        let replayed = |rows: &[Turn]| {
            let mut player = player(&changed);
            rows.iter().try_for_each(|row| player.replay(row)).map(|()| player)
        };
        let went_on = replayed(&turns[..kept]);
        prop_assert!(went_on.is_ok(), "{:?}", went_on.err());
        // It goes on under the new code, and every prefix of all of it replays and continues in the same way.
        let all = record(went_on.unwrap(), turns[..kept].to_vec(), &later);
        for from in kept..all.len() {
            let cold = replayed(&all[..from]);
            prop_assert!(cold.is_ok(), "{:?}", cold.err());
            let mut cold = cold.unwrap();
            for turn in &all[from..] {
                let again = cold.advance(turn.at, turn.arrivals.clone()).unwrap();
                prop_assert_eq!(&again.turn, turn);
            }
        }
    }
}
