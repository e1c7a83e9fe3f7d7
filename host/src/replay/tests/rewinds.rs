//! Executions that fail, are rewound and succeed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::script::{Op, begin, done, event, player};
use crate::model::{
    Arrival, Decision, ExecutionNumber, Failure, Outcome, Payload, RewindPoint, Rewinds, TaskId, Timestamp, Turn,
    TurnNumber,
};
use crate::replay::{Ledger, Outstanding};

/// What a world of calls, timers and events did until the program completed.
#[derive(Debug, Default)]
struct Run {
    rows: Vec<Turn>,
    rewinds: usize,
    /// How often each function ran with success. An operation runs when it is sent, whoever waits for it.
    succeeded: BTreeMap<String, u32>,
    /// Operations that were sent and have not run, with the tasks that sent them.
    sent: Vec<(TaskId, String)>,
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
    let mut ledger = folded(&[], &rewinds);
    loop {
        let mut guest = player(strands).with_rewinds(rewinds.clone());
        done.rows.iter().for_each(|row| guest.replay(row).expect("it replays"));
        let at = Timestamp(1_000 + done.rows.len() as u64);
        let turn = guest.advance(at, std::mem::take(&mut arrivals)).unwrap().turn;
        done.send(&turn, &ledger);
        done.rows.push(turn);
        ledger = folded(&done.rows, &rewinds);
        let last = done.rows.last().expect("a row");
        match last.decisions.last() {
            Some(Decision::Complete { output }) => {
                let all: Vec<String> = serde_json::from_str(output.as_str()).expect("a list of texts");
                let results = all
                    .iter()
                    .map(|result| result.split_once('=').map_or(&**result, |(_, value)| value));
                done.results = results.map(str::to_owned).collect();
                done.results.sort();
                for (_, operation) in std::mem::take(&mut done.sent) {
                    *done.succeeded.entry(operation).or_default() += 1;
                }
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
                let mut of_row = vec![rewound];
                // Sometimes an operation runs before the rewind.
                let reading = folded(&done.rows, &rewinds);
                if choices.next().unwrap_or(0).is_multiple_of(2)
                    && let Some((task, outcome)) = done.run_operation(&mut luck)
                {
                    let task = reading.successor(task);
                    of_row.push(Arrival::TaskEnded { task, outcome });
                }
                done.rows.push(Turn {
                    number: row,
                    at,
                    arrivals: of_row,
                    decisions: Vec::new(),
                    fuel: 0,
                });
                ledger = folded(&done.rows, &rewinds);
                done.send_again(&ledger);
            }
            _ => {}
        }
        let choice = choices.next().unwrap_or(0);
        // Sometimes not all kept arrivals fit into one turn.
        arrivals = ledger.kept_arrivals().take(1 + choice % 3).cloned().collect();
        while arrivals.is_empty() {
            arrivals.extend(happens(&ledger, choice, &mut luck, &mut raised, &mut done));
        }
    }
}

impl Run {
    /// Sends the operations of a new turn.
    fn send(&mut self, turn: &Turn, before: &Ledger) {
        let recalled = before.recall(turn);
        for decision in &turn.decisions {
            if let Decision::CallEntity { task, operation, .. } = decision
                && !recalled.results.contains(task)
                && !recalled.sent.contains(task)
            {
                self.sent.push((*task, format!("entity {operation}")));
            }
        }
    }

    /// Sends the operations whose failures a rewind has made void.
    fn send_again(&mut self, ledger: &Ledger) {
        for (task, outstanding) in ledger.tasks() {
            if let Outstanding::Entity(call) = outstanding
                && ledger.voided().contains_key(&task)
                && !ledger.kept_tasks().contains(&task)
            {
                self.sent.push((task, format!("entity {}", call.operation)));
            }
        }
    }

    /// The oldest operation runs.
    fn run_operation(&mut self, luck: &mut impl Iterator<Item = bool>) -> Option<(TaskId, Outcome)> {
        if self.sent.is_empty() {
            return None;
        }
        let (task, operation) = self.sent.remove(0);
        let outcome = outcome(&operation, luck, &mut self.succeeded);
        Some((task, outcome))
    }
}

fn outcome(name: &str, luck: &mut impl Iterator<Item = bool>, succeeded: &mut BTreeMap<String, u32>) -> Outcome {
    match luck.next().unwrap_or(true) {
        true => {
            *succeeded.entry(name.to_owned()).or_default() += 1;
            Ok(Payload::of(&name))
        }
        false => Err(Failure::new("Down", "no luck")),
    }
}

/// Ends some outstanding task, runs an operation, or raises an event for a task that waits.
fn happens(
    ledger: &Ledger,
    choice: usize,
    luck: &mut impl Iterator<Item = bool>,
    raised: &mut u32,
    done: &mut Run,
) -> Option<Arrival> {
    let is_open = |(_, outstanding): &(TaskId, &Outstanding)| !matches!(outstanding, Outstanding::Entity(_));
    let tasks: Vec<(TaskId, &Outstanding)> = ledger.tasks().filter(is_open).collect();
    let waits = ledger.waits().keys().next();
    if (tasks.is_empty() && waits.is_none() || choice.is_multiple_of(3))
        && let Some((task, outcome)) = done.run_operation(luck)
    {
        let task = ledger.successor(task);
        let counts = ledger.task(task).is_some() || ledger.expects(task, &outcome);
        return counts.then_some(Arrival::TaskEnded { task, outcome });
    }
    if let Some(name) = waits.filter(|_| tasks.is_empty() || choice.is_multiple_of(4)) {
        *raised += 1;
        return Some(Arrival::EventRaised(event(name, *raised)));
    }
    assert!(
        !tasks.is_empty(),
        "a task waits for ever: {:?}",
        ledger.tasks().collect::<Vec<_>>()
    );
    let (task, outstanding) = tasks[choice % tasks.len()];
    let name = match outstanding {
        Outstanding::Timer { .. } => return Some(Arrival::TimerFired { task }),
        Outstanding::Activity(call) => format!("activity {}", call.function),
        Outstanding::SubOrchestration(call) => format!("child {}", call.function),
        Outstanding::Entity(_) | Outstanding::Lock => unreachable!("operations run in their order"),
    };
    let outcome = outcome(&name, luck, &mut done.succeeded);
    Some(Arrival::TaskEnded { task, outcome })
}

fn op() -> impl Strategy<Value = Op> {
    let name = || prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
    prop_oneof![
        6 => name().prop_map(Op::Call),
        3 => name().prop_map(Op::Child),
        // Which strand draws which input depends on the order of things, so all operations have the same name.
        3 => Just(Op::CallEntity("k".into(), "add".into())),
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
            Op::CallEntity(_, name) => *counts.entry(format!("entity {name}")).or_default() += 1,
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

#[test]
fn a_rewind_goes_on_before_the_first_of_two_sections_if_one_turn_leaves_it_and_enters_the_other() {
    let enter = |task| Decision::LockEntities {
        task: TaskId(task),
        entities: Vec::new(),
    };
    let turn = |number, arrival: Option<Arrival>, decisions| Turn {
        number: TurnNumber(number),
        at: Timestamp(1_000),
        arrivals: Vec::from_iter(arrival),
        decisions,
        fuel: 0,
    };
    let leave = Decision::UnlockEntities { task: TaskId(1) };
    let rows = [
        turn(1, Some(begin()), vec![enter(1)]),
        turn(2, Some(done(1)), vec![leave.clone(), enter(2)]),
        turn(3, Some(done(2)), vec![]),
    ];
    let rewinds = Rewinds::none(ExecutionNumber::FIRST);
    assert_eq!(folded(&rows, &rewinds).rewind_from(), TurnNumber(1));
    // In turns of their own, the second section does not depend on the first one.
    let rows = [
        turn(1, Some(begin()), vec![enter(1)]),
        turn(2, Some(done(1)), vec![leave]),
        turn(3, None, vec![enter(2)]),
        turn(4, Some(done(2)), vec![]),
    ];
    assert_eq!(folded(&rows, &rewinds).rewind_from(), TurnNumber(3));
}
