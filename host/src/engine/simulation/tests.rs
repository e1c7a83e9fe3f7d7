//! Runs many seeds or one, and proves that the checkers detect planted bugs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic;
use std::sync::Once;

use super::faults::Plan;
use super::world::{Setting, World};
use crate::model::{Arrival, Decision, ExecutionNumber, InstanceNumber, Turn, TurnNumber, codec, failure::types};
use crate::store::simulated::PlantedBug;

/// How many seeds `make test` runs, in parts that run in parallel.
const SEEDS: u64 = 2_000;
const PARTS: u64 = 4;

thread_local! {
    /// Panics on this thread. The runtime catches the panic of a task, and an owner that panics is replaced.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}

/// Runs a world. Returns its violations and panics.
fn run(setting: Setting) -> (World, Vec<String>) {
    note_panics();
    PANICS.take();
    let mut world = World::new(setting);
    world.run();
    let mut wrong = world.watch.violations();
    wrong.extend(PANICS.take());
    (world, wrong)
}

/// Runs a seed, which must have no violations. Returns how many executions, turns and attempts there were.
fn check(seed: u64) -> [u64; 3] {
    if number("WINDLASS_SIM_TELL").is_some() {
        println!("seed {seed}");
    }
    let setting = Setting::of(seed);
    let plan = setting.plan.clone();
    let (world, wrong) = run(setting);
    assert!(
        wrong.is_empty(),
        "seed {seed} found {} violations; run it again with: make sim SEED={seed}\n{}\n{plan:?}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n"),
    );
    world.watch.counts()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs one part of the seeds: 0 to 1,999, or the requested number from a random one on.
fn check_part(part: u64) {
    if let Some(seed) = number("WINDLASS_SIM_SEED") {
        if part == 0 {
            // Another test of this process may have installed a subscriber.
            let _ = tracing_subscriber::fmt()
                .with_env_filter("windlass=trace")
                .without_time()
                .with_ansi(false)
                .try_init();
            check(seed);
        }
        return;
    }
    let wanted = number("WINDLASS_SIM_SEEDS");
    let first = match wanted {
        None => 0,
        Some(_) => number("WINDLASS_SIM_FIRST").unwrap_or_else(|| {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).expect("random bytes");
            u64::from(u32::from_le_bytes(bytes))
        }),
    };
    let last = first + wanted.unwrap_or(SEEDS);
    println!("part {part} of seeds {first} to {}", last - 1);
    let mut sums = [0; 3];
    for seed in (first..last).filter(|seed| seed % PARTS == part) {
        let counts = check(seed);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let [executions, turns, attempts] = sums;
    println!("{executions} executions, {turns} turns, {attempts} attempts");
}

#[test]
fn simulation_1() {
    check_part(0);
}

#[test]
fn simulation_2() {
    check_part(1);
}

#[test]
fn simulation_3() {
    check_part(2);
}

#[test]
fn simulation_4() {
    check_part(3);
}

/// Checks that the simulation detects a planted bug within some seeds.
fn finds(planted_bug: PlantedBug) {
    let mut found = 0;
    for seed in 0..40 {
        let setting = Setting {
            planted_bug: Some(planted_bug),
            ..Setting::of(seed)
        };
        // A planted bug may make the engine panic. That counts as detected, too.
        let (_, wrong) = run(setting);
        found += u32::from(!wrong.is_empty());
    }
    assert!(found > 0, "{planted_bug:?} was not found");
    println!("{planted_bug:?} was found by {found} of 40 seeds");
}

#[test]
fn a_turn_that_is_lost_is_found() {
    finds(PlantedBug::LosesTurns);
}

#[test]
fn an_answer_before_the_commit_is_found() {
    finds(PlantedBug::AnswersBeforeCommit);
}

#[test]
fn a_repeated_outcome_is_found() {
    finds(PlantedBug::RepeatsOutcomes);
}

#[test]
fn a_message_that_is_not_consumed_is_found() {
    finds(PlantedBug::KeepsMessages);
}

#[test]
fn a_forgotten_wake_up_is_found() {
    finds(PlantedBug::ForgetsWakeUps);
}

#[test]
fn a_rewritten_turn_is_found() {
    finds(PlantedBug::RewritesTurns);
}

#[test]
fn an_event_that_is_lost_between_executions_is_found() {
    finds(PlantedBug::LosesEvents);
}

#[test]
fn an_operation_that_is_applied_twice_is_found() {
    finds(PlantedBug::RepeatsOperations);
}

#[test]
fn an_activity_that_ends_the_host_again_and_again_is_blamed() {
    let mut blamed = 0;
    for seed in 0..30 {
        let plan = Plan {
            rounds: 20,
            round_ms: 200_000,
            deadly: 1_000,
            ..Plan::calm()
        };
        let setting = Setting {
            plan,
            ..Setting::of(seed)
        };
        let (world, wrong) = run(setting);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
        blamed += world.watch.blamed();
    }
    println!("{blamed} attempts were blamed");
    assert!(blamed > 0);
}

/// A world without faults in which activities end one at a time.
fn steady(seed: u64, hot_guests: usize) -> Turns {
    let setting = Setting {
        plan: Plan {
            round_ms: 20_000,
            ..Plan::calm()
        },
        steady: Some(hot_guests),
        ..Setting::of(seed)
    };
    let (world, wrong) = run(setting);
    assert!(wrong.is_empty(), "seed {seed}: {wrong:?}");
    let turns = world.watch.turns().into_iter();
    let decoded = turns.map(|(key, body)| (key, codec::decode::<Turn>(&body).expect("a turn")));
    decoded.collect()
}

type Turns = BTreeMap<(InstanceNumber, ExecutionNumber, TurnNumber), Turn>;

/// Whether two unrelated things happened in the same millisecond, or a parent gave up its child in the one in which the
/// child began. Their order is then arbitrary, and may differ between hot and cold.
fn is_tangled(turns: &Turns) -> bool {
    let mut activities = BTreeSet::new();
    let mut moments = BTreeSet::new();
    let mut beginnings = BTreeSet::new();
    turns.iter().any(|((instance, execution, _), turn)| {
        let tangled = turn.arrivals.iter().any(|arrival| {
            let of_itself = match arrival {
                Arrival::Started(started) => {
                    beginnings.insert((*instance, turn.at));
                    started.parent.is_none()
                }
                Arrival::Terminated { .. } | Arrival::CancelRequested { .. } => {
                    if beginnings.contains(&(*instance, turn.at)) {
                        return true;
                    }
                    false
                }
                Arrival::TaskEnded { task, outcome } => {
                    let timed_out = matches!(outcome, Err(failure) if failure.error_type == types::TIMEOUT);
                    timed_out || activities.contains(&(*instance, *execution, *task))
                }
                Arrival::TimerFired { .. } => true,
                Arrival::EventRaised(_) | Arrival::ClockBehind { .. } | Arrival::Rewound { .. } => false,
            };
            of_itself && !moments.insert(turn.at)
        });
        let calls = turn.decisions.iter().filter_map(|decision| match decision {
            Decision::CallActivity { task, .. } => Some((*instance, *execution, *task)),
            _ => None,
        });
        activities.extend(calls);
        tangled
    })
}

#[test]
fn hot_and_cold_runs_of_a_simulation_give_the_same_histories_byte_for_byte() {
    let mut compared = 0;
    for seed in 0..SEEDS / 4 {
        let (hot, cold) = (steady(seed, 1_000), steady(seed, 0));
        if is_tangled(&hot) || is_tangled(&cold) {
            continue;
        }
        let bytes = |turns: &Turns| -> Vec<_> { turns.iter().map(|(key, turn)| (*key, codec::encode(turn))).collect() };
        if bytes(&hot) != bytes(&cold) {
            let first = hot.iter().zip(&cold).find(|(a, b)| a != b);
            panic!(
                "seed {seed}: {} turns hot, {} cold; first: {first:#?}",
                hot.len(),
                cold.len()
            );
        }
        compared += 1;
    }
    println!("{compared} seeds compared");
    assert!(compared > SEEDS / 16, "{compared} seeds are enough to compare");
}

#[test]
fn simulation_of_a_seed_is_the_same_every_time() {
    for seed in 0..40 {
        let (first, _) = run(Setting::of(seed));
        let (second, _) = run(Setting::of(seed));
        assert_eq!(first.watch.trace(), second.watch.trace(), "seed {seed}");
        assert_eq!(first.clock.uptime(), second.clock.uptime(), "seed {seed}");
    }
}
