//! Executions that fail, are rewound and succeed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::script::{Op, begin, event, player};
use crate::model::{
    Arrival, Decision, ExecutionNumber, Failure, Payload, RewindPoint, Rewinds, TaskId, Timestamp, Turn,
};
use crate::replay::{Ledger, Outstanding};

/// What a world of calls, timers and events did until the program completed.
#[derive(Debug, Default)]
struct Run {
    rows: Vec<Turn>,
    rewinds: usize,
    /// How often each function ran with success.
    succeeded: BTreeMap<String, u32>,
    /// The results of the program without their tasks, sorted.
    results: Vec<String>,
}

fn folded(rows: &[Turn], rewinds: &Rewinds) -> Ledger {
    let mut ledger = Ledger::new(rewinds.clone());
    rows.iter()
        .for_each(|row| ledger.apply(row).expect("the rows are a history"));
    ledger
}

/// Runs a program with a new guest for each turn. `luck` says which calls succeed; afterwards all do. `choices` selects
/// what happens next.
fn run(strands: &[Vec<Op>], luck: &[bool], choices: &[usize]) -> Run {
    let mut done = Run::default();
    let mut rewinds = Rewinds::none(ExecutionNumber::FIRST);
    let (mut luck, mut choices) = (luck.iter().copied(), choices.iter().copied().cycle());
    let (mut arrivals, mut raised) = (vec![begin()], 0);
    loop {
        let mut guest = player(strands).with_rewinds(rewinds.clone());
        done.rows.iter().for_each(|row| guest.replay(row).expect("it replays"));
        let at = Timestamp(1_000 + done.rows.len() as u64);
        done.rows
            .push(guest.advance(at, std::mem::take(&mut arrivals)).unwrap().turn);
        let mut ledger = folded(&done.rows, &rewinds);
        let last = done.rows.last().expect("a row");
        match last.decisions.last() {
            Some(Decision::Complete { output }) => {
                let all: Vec<String> = serde_json::from_str(output.as_str()).expect("a list of texts");
                let results = all
                    .iter()
                    .map(|result| result.split_once('=').map_or(&**result, |(_, value)| value));
                done.results = results.map(str::to_owned).collect();
                done.results.sort();
                return done;
            }
            Some(Decision::Fail { .. }) => {
                let (from, row) = (ledger.rewind_from(), last.number.next());
                rewinds = rewinds.with(RewindPoint { from, row });
                let rewound = Arrival::Rewound {
                    from,
                    next_task: ledger.next_task(),
                    reason: String::new(),
                };
                done.rewinds += 1;
                done.rows.push(Turn {
                    number: row,
                    at,
                    arrivals: vec![rewound],
                    decisions: Vec::new(),
                    fuel: 0,
                });
                ledger = folded(&done.rows, &rewinds);
            }
            _ => {}
        }
        let choice = choices.next().unwrap_or(0);
        // Sometimes not all kept arrivals fit into one turn.
        arrivals = ledger.kept_arrivals().take(1 + choice % 3).cloned().collect();
        if arrivals.is_empty() {
            arrivals.push(happens(&ledger, choice, &mut luck, &mut raised, &mut done.succeeded));
        }
    }
}

/// Ends some outstanding task, or raises an event for one that waits.
fn happens(
    ledger: &Ledger,
    choice: usize,
    luck: &mut impl Iterator<Item = bool>,
    raised: &mut u32,
    succeeded: &mut BTreeMap<String, u32>,
) -> Arrival {
    let tasks: Vec<(TaskId, &Outstanding)> = ledger.tasks().collect();
    let waits = ledger.waits().keys().next();
    if let Some(name) = waits.filter(|_| tasks.is_empty() || choice.is_multiple_of(4)) {
        *raised += 1;
        return Arrival::EventRaised(event(name, *raised));
    }
    let (task, outstanding) = tasks[choice % tasks.len()];
    let name = match outstanding {
        Outstanding::Timer { .. } => return Arrival::TimerFired { task },
        Outstanding::Activity(call) => format!("activity {}", call.function),
        Outstanding::SubOrchestration(call) => format!("child {}", call.function),
        Outstanding::Entity(call) => format!("entity {}", call.operation),
        Outstanding::Lock => "lock".to_owned(),
    };
    let is_lock = matches!(outstanding, Outstanding::Lock);
    let outcome = match is_lock || luck.next().unwrap_or(true) {
        true => {
            *succeeded.entry(name.clone()).or_default() += u32::from(!is_lock);
            Ok(Payload::of(&name))
        }
        false => Err(Failure::new("Down", "no luck")),
    };
    Arrival::TaskEnded { task, outcome }
}

fn op() -> impl Strategy<Value = Op> {
    let name = || prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
    prop_oneof![
        6 => name().prop_map(Op::Call),
        3 => name().prop_map(Op::Child),
        2 => (0..50u64).prop_map(Op::Sleep),
        3 => name().prop_map(Op::Event),
        2 => name().prop_map(Op::EventTwice),
        2 => Just(Op::FailIfFailed),
        2 => (0..4usize).prop_map(Op::FailAfter),
    ]
}

/// Every strand fails at its end if something failed, so that nothing is left of a failure.
fn program() -> impl Strategy<Value = Vec<Vec<Op>>> {
    let strand = prop::collection::vec(op(), 0..6).prop_map(|mut ops| {
        ops.push(Op::FailIfFailed);
        ops
    });
    prop::collection::vec(strand, 1..4)
}

fn count(strands: &[Vec<Op>]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for op in strands.iter().flatten() {
        match op {
            Op::Call(name) => *counts.entry(format!("activity {name}")).or_default() += 1,
            Op::Child(name) => *counts.entry(format!("child {name}")).or_default() += 1,
            _ => {}
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_rewinds_each_call_has_succeeded_once_and_the_result_is_that_of_a_run_without_failures(
        strands in program(),
        luck in prop::collection::vec(any::<bool>(), 0..20),
        choices in prop::collection::vec(0..100usize, 1..60),
    ) {
        let failing = run(&strands, &luck, &choices);
        let smooth = run(&strands, &[], &choices);
        prop_assert_eq!(smooth.rewinds, 0);
        prop_assert_eq!(&failing.succeeded, &count(&strands));
        // Which strand gets which event depends on the order of things.
        let without_events = |results: &[String]| -> Vec<String> {
            results.iter().filter(|result| !result.starts_with("Some")).cloned().collect()
        };
        prop_assert_eq!(without_events(&failing.results), without_events(&smooth.results));
        let events: Vec<_> = failing.results.iter().filter(|result| result.starts_with("Some")).collect();
        prop_assert_eq!(events.len(), failing.results.len() - without_events(&failing.results).len());
        prop_assert!(events.windows(2).all(|pair| pair[0] != pair[1]), "{events:?}");
    }
}

#[test]
fn rewinds_that_the_instance_does_not_know_are_found() {
    let strands = [vec![Op::Call("a".into()), Op::FailIfFailed]];
    let done = run(&strands, &[false], &[0]);
    assert_eq!((done.rewinds, done.rows.len()), (1, 4));
    let mut ledger = Ledger::default();
    let applied: Result<Vec<_>, _> = done.rows.iter().map(|row| ledger.apply(row)).collect();
    assert!(applied.is_err(), "{applied:?}");
}
