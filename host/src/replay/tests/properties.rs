//! Properties that hold for every program and every order of arrivals.

use proptest::prelude::*;

use super::script::{Cancelled, Functions, Op, Script, begin, begin_turn, done, fired, player, raised, started};
use crate::model::{ActivityOptions, Arrival, Decision, ParentClose, TaskId, Timestamp, Turn, codec};
use crate::replay::{Applied, Execution, Ledger, Outstanding, Player, Polled, TurnLimits};

pub(super) fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "C", "nope"]).prop_map(str::to_owned)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => name().prop_map(Op::Call),
        2 => name().prop_map(Op::Child),
        1 => (name(), 0..50u64).prop_map(|(name, ms)| Op::ChildLeft(name, ParentClose::Cancel, ms)),
        3 => (0..50u64).prop_map(Op::Sleep),
        4 => name().prop_map(Op::Event),
        3 => (name(), 0..50u64).prop_map(|(name, ms)| Op::EventOrSleep(name, ms)),
        3 => (name(), name()).prop_map(|(a, b)| Op::CallOrCall(a, b)),
        2 => name().prop_map(Op::EventTwice),
        1 => name().prop_map(Op::Send),
        1 => name().prop_map(Op::Start),
        1 => name().prop_map(Op::Patched),
        1 => name().prop_map(Op::DeprecatePatch),
        1 => (name(), name()).prop_map(|(name, called)| Op::IfPatched(name, vec![Op::Call(called)], Vec::new())),
        1 => (0..9u32).prop_map(Op::Status),
        1 => Just(Op::Random),
        1 => (0..9u32).prop_map(Op::ContinueAsNew),
        1 => Just(Op::Fail),
        2 => (0..50u64, any::<bool>()).prop_map(|(ms, ends)| {
            Op::CancelledOrSleep(ms, if ends { Cancelled::Ends } else { Cancelled::GoesOn })
        }),
    ]
}

pub(super) fn program() -> impl Strategy<Value = Vec<Vec<Op>>> {
    prop::collection::vec(prop::collection::vec(op(), 0..5), 1..5)
}

/// A step of the world: completes a task, raises an event, or ends the batch.
#[derive(Debug, Clone)]
pub(super) enum World {
    Settle(prop::sample::Index),
    Raise(String, u32),
    Cancel(u32),
    Cut,
}

pub(super) fn world() -> impl Strategy<Value = Vec<World>> {
    let step = prop_oneof![
        6 => any::<prop::sample::Index>().prop_map(World::Settle),
        2 => (name(), 0..100u32).prop_map(|(name, payload)| World::Raise(name, payload)),
        1 => (0..9u32).prop_map(World::Cancel),
        2 => Just(World::Cut),
    ];
    prop::collection::vec(step, 0..40)
}

/// Records a run with the batches of arrivals that the world produces, until the program or the world ends.
fn recorded(strands: &[Vec<Op>], world: &[World]) -> Vec<Turn> {
    record(player(strands), Vec::new(), world)
}

/// The same after these turns, which the player has replayed.
pub(super) fn record(mut player: Player<Script>, mut turns: Vec<Turn>, world: &[World]) -> Vec<Turn> {
    let mut ledger = Ledger::default();
    turns.iter().for_each(|turn| ledger.apply(turn).unwrap());
    let mut batch = match turns.is_empty() {
        true => vec![begin()],
        false => Vec::new(),
    };
    let mut steps = world.iter().chain([&World::Cut]);
    loop {
        let turn = player
            .advance(Timestamp(1_000), std::mem::take(&mut batch))
            .unwrap()
            .turn;
        ledger.apply(&turn).unwrap();
        turns.push(turn);
        if ledger.has_ended() {
            return turns;
        }
        let mut outstanding: Vec<(TaskId, Outstanding)> = ledger
            .tasks()
            .map(|(task, outstanding)| (task, outstanding.clone()))
            .collect();
        loop {
            match steps.next() {
                None => return turns,
                Some(World::Cut) if batch.is_empty() => {}
                Some(World::Cut) => break,
                Some(World::Raise(name, payload)) => batch.push(raised(name, *payload)),
                Some(World::Cancel(number)) => batch.push(Arrival::CancelRequested {
                    reason: number.to_string(),
                }),
                Some(World::Settle(_)) if outstanding.is_empty() => {}
                Some(World::Settle(index)) => {
                    let (task, kind) = outstanding.remove(index.index(outstanding.len()));
                    batch.push(match kind {
                        Outstanding::Timer { .. } => fired(task.0),
                        _ => done(task.0),
                    });
                }
            }
        }
    }
}

fn decisions(turns: &[Turn]) -> Vec<Decision> {
    turns.iter().flat_map(|turn| turn.decisions.clone()).collect()
}

/// An execution with tasks of these kinds, in a turn with these arrivals.
fn polling(kinds: &[u8], arrivals: Vec<Arrival>) -> Execution {
    let (directory, limits) = (std::sync::Arc::new(Functions), TurnLimits::default());
    let started = std::sync::Arc::new(started(Vec::new()));
    let mut execution = Execution::new("i".parse().unwrap(), started, directory, limits);
    begin_turn(&mut execution, Timestamp(1), arrivals);
    for kind in kinds {
        match kind {
            0 => execution.create_poll_timer(Timestamp(50)).unwrap().0,
            1 => execution.create_timer(Timestamp(50)).unwrap(),
            2 => execution.call_activity("a", "1", ActivityOptions::default()).unwrap(),
            3 => execution.wait_for_event("a").unwrap(),
            _ => execution.wait_for_cancellation().unwrap(),
        };
    }
    execution
}

fn ready(execution: &Execution, tasks: &[TaskId]) -> Vec<u32> {
    let positions = (0..).zip(tasks).filter(|(_, task)| execution.is_ready(**task));
    positions.map(|(position, _)| position).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_prefix_of_a_history_replays_and_continues_identically(strands in program(), world in world(), cut: prop::sample::Index) {
        let turns = recorded(&strands, &world);
        let cut = cut.index(turns.len() + 1);
        let mut cold = player(&strands);
        for turn in &turns[..cut] {
            prop_assert_eq!(cold.replay(turn), Ok(()));
        }
        for turn in &turns[cut..] {
            let again = cold.advance(turn.at, turn.arrivals.clone()).unwrap();
            prop_assert_eq!(&again.turn, turn);
        }
    }

    #[test]
    fn the_division_into_turns_does_not_change_the_decisions(strands in program(), world in world()) {
        let batched = recorded(&strands, &world);
        let mut one_by_one = player(&strands);
        let mut taken = Vec::new();
        'arrivals: for arrival in batched.iter().flat_map(|turn| turn.arrivals.clone()) {
            let turn = one_by_one.advance(Timestamp(1_000), vec![arrival]).unwrap().turn;
            let last = turn.is_last();
            taken.push(turn);
            if last {
                break 'arrivals;
            }
        }
        // A batch may have events after the arrival that ended the program. One by one, they stay in the inbox instead
        // of being carried over.
        let mut expected = decisions(&batched);
        let mut found = decisions(&taken);
        for list in [&mut expected, &mut found] {
            if let Some(Decision::ContinueAsNew { events, .. }) = list.last_mut() {
                events.clear();
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_turn_round_trips_through_the_codec(strands in program(), world in world()) {
        for turn in recorded(&strands, &world) {
            prop_assert_eq!(codec::decode::<Turn>(&codec::encode(&turn)).unwrap(), turn);
        }
    }

    #[test]
    fn damaged_rows_never_panic(strands in program(), world in world(), at: prop::sample::Index, bit in 0..8u32) {
        for turn in recorded(&strands, &world) {
            let mut bytes = codec::encode(&turn);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _: Result<Turn, _> = codec::decode(&bytes);
            let _: Result<Turn, _> = codec::decode(&bytes[..at]);
        }
    }

    #[test]
    fn no_event_is_lost_or_duplicated(world in world(), takes in 0..6usize) {
        // Timeouts drop waits all the time. Untaken events are carried over, in order.
        let mut strand: Vec<Op> = (0..takes).flat_map(|_| [Op::EventOrSleep("a".into(), 5), Op::EventTwice("a".into())]).collect();
        strand.push(Op::ContinueAsNew(0));
        let turns = recorded(&[strand], &world);
        let raised: Vec<u32> = turns.iter().flat_map(|turn| &turn.arrivals).filter_map(|arrival| match arrival {
            Arrival::EventRaised(event) if event.name.folded() == "a" => Some(event.payload.as_str().parse().unwrap()),
            _ => None,
        }).collect();
        if let Some(Decision::ContinueAsNew { events, .. }) = turns.last().and_then(|turn| turn.decisions.last()) {
            let carried: Vec<u32> = events.iter().filter(|event| event.name.folded() == "a").map(|event| event.payload.as_str().parse().unwrap()).collect();
            prop_assert!(raised.ends_with(&carried), "{raised:?} {carried:?}");
            let timeouts = turns.iter().flat_map(|turn| &turn.arrivals).filter(|arrival| matches!(arrival, Arrival::TimerFired { .. })).count();
            prop_assert!(raised.len() - carried.len() + timeouts >= 2 * takes);
        }
    }

    #[test]
    fn polling_by_task_finds_the_same_as_checking_all_tasks_after_each_arrival(
        kinds in prop::collection::vec(0..5u8, 1..8),
        polled in prop::collection::vec(1..8u32, 1..20),
        arrivals in prop::collection::vec((0..4u8, 1..9u32), 0..30),
    ) {
        let arrivals: Vec<Arrival> = arrivals.into_iter().map(|(kind, task)| match kind {
            0 => done(task),
            1 => fired(task),
            2 => Arrival::CancelRequested { reason: task.to_string() },
            _ => raised("a", task),
        }).collect();
        let (mut one, mut other) = (polling(&kinds, arrivals.clone()), polling(&kinds, arrivals));
        let mut tasks: Vec<TaskId> = polled.into_iter().map(TaskId).collect();
        // Like a guest that polls again for the remaining tasks.
        loop {
            tasks.retain(|task| !one.is_ready(*task));
            let looked = loop {
                let ready = ready(&one, &tasks);
                if !ready.is_empty() || one.apply_next_arrival().unwrap() == Applied::NoneLeft {
                    break ready;
                }
            };
            let found = Polled::new(tasks.iter().copied()).apply_arrivals(&mut other).unwrap();
            prop_assert_eq!(&found, &looked);
            if found.is_empty() {
                break;
            }
        }
    }
}
