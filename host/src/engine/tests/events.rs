//! Waiting events: which task takes them, what happens to unwanted ones, and how many are in memory.

use super::*;
use crate::model::{codec, inbox::event_bytes};

/// Takes one event of a name and continues as new, again and again.
fn one_at_a_time(name: &str) -> Vec<Vec<Op>> {
    vec![vec![Op::Event(name.into()), Op::ContinueAsNew(0)]]
}

fn large(name: &str, number: u32) -> Event {
    Event {
        payload: Payload::of(&format!("{number} {}", "x".repeat(1_000))),
        ..event(name, number)
    }
}

fn taken(instance: &Instance) -> Vec<Event> {
    let turns = instance.history.values().flatten();
    let arrivals = turns.flat_map(|turn| turn.arrivals.clone());
    let events = arrivals.filter_map(|arrival| match arrival {
        Arrival::EventRaised(event) => Some(event),
        _ => None,
    });
    events.collect()
}

/// How many bytes a commit writes for the instance itself.
fn written(commit: &TurnCommit) -> usize {
    let kept = commit
        .kept
        .iter()
        .map(|event| event_bytes(event) as usize)
        .sum::<usize>();
    let turn = commit.turn.as_ref().map_or(0, |turn| codec::encode(turn).len());
    kept + turn
        + commit
            .next_execution
            .as_ref()
            .map_or(0, |next| codec::encode(&InboxItem::Start(Box::new(next.clone()))).len())
}

#[test]
fn an_execution_that_takes_one_event_writes_the_same_amount_regardless_of_the_backlog() {
    let cost = |backlog: u32| {
        let mut instance = Instance::new(&one_at_a_time("go"));
        (0..backlog).for_each(|number| instance.deliver(InboxItem::Event(large("go", number))));
        instance.settle();
        let expected: Vec<Event> = (0..backlog).map(|number| large("go", number)).collect();
        assert_eq!(taken(&instance), expected);
        assert!(instance.record.inbox.is_empty());
        instance.commits.iter().map(written).sum::<usize>() / backlog as usize
    };
    let (few, many) = (cost(10), cost(200));
    assert!(many <= few && many < 1_500, "{few} and {many} bytes an event");
}

#[test]
fn direct_events_that_are_not_wanted_are_stored_by_the_same_commit() {
    let mut instance = Instance::new(&one_at_a_time("go"));
    for number in 0..3 {
        instance.owner.receive_event(event("other", number));
        instance.owner.receive_event(event("go", number));
    }
    instance.settle();
    let first = &instance.commits[0];
    assert_eq!(
        first.turn.as_ref().unwrap().arrivals.len(),
        2,
        "the start and one event"
    );
    assert_eq!(first.kept.len(), 5);
    assert_eq!(
        taken(&instance),
        (0..3).map(|number| event("go", number)).collect::<Vec<_>>()
    );
    let waiting: Vec<_> = instance.record.inbox.iter().map(|row| row.item.clone()).collect();
    let expected: Vec<_> = (0..3).map(|number| InboxItem::Event(event("other", number))).collect();
    assert_eq!(waiting, expected);
}

#[test]
fn an_event_that_no_task_waits_for_becomes_durable_without_a_turn() {
    let mut instance = Instance::new(&[vec![call("a"), Op::Event("go".into())]]);
    instance.settle();
    let turns = instance.history[&ExecutionNumber::FIRST].len();
    assert!(!instance.owner.takes_event(&event("go", 1), u64::MAX, Timestamp(1_000)));
    // As if it had been accepted before the waits were known.
    instance.owner.receive_event(event("go", 1));
    instance.settle();
    assert_eq!(instance.history[&ExecutionNumber::FIRST].len(), turns);
    assert_eq!(instance.record.inbox.len(), 1);
    for restart in [false, true] {
        if restart {
            instance.restart();
        }
        assert_eq!(instance.settle(), None);
    }
    instance.result(1);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
    assert!(instance.record.inbox.is_empty());
}

#[test]
fn the_sender_of_an_event_that_arrives_with_the_end_gets_an_error() {
    let mut instance = Instance::new(&[vec![Op::Event("go".into())]]);
    instance.settle();
    instance.owner.receive_event(event("go", 1));
    instance.owner.receive_event(event("go", 2));
    let Ok(Next::Commit(commit)) = instance.owner.next(&instance.context) else {
        panic!("one is taken")
    };
    assert!(commit.summary.status.has_ended() && commit.kept.is_empty());
    assert_eq!(instance.owner.committed(&TurnReceipt::default()), [true, false]);
}

#[test]
fn wanted_events_are_found_behind_any_number_of_unwanted_ones() {
    for memory in [0, 400, 1 << 20] {
        let mut instance = Instance::new(&one_at_a_time("go"));
        instance.owner.know_events_of(memory);
        for number in 0..20 {
            instance.deliver(InboxItem::Event(event("noise", number)));
            instance.deliver(InboxItem::Event(event(&format!("noise {number}"), number)));
            if number % 4 == 3 {
                instance.deliver(InboxItem::Event(event("go", number)));
            }
        }
        instance.settle();
        let found: Vec<_> = taken(&instance);
        assert_eq!(found, [3, 7, 11, 15, 19].map(|number| event("go", number)), "{memory}");

        let mut record = instance.record.clone();
        assert_eq!(record.inbox.len(), 40);
        record.inbox.clear();
        record.more_events = true;
        instance.owner = Owner::new(record, InboxSeq(instance.next_seq - 1));
        instance.owner.know_events_of(memory);
        assert_eq!(instance.settle(), None);
        let reads = instance.reads;
        assert_eq!(instance.settle(), None);
        assert_eq!(instance.reads, reads, "a name without events is not read again");
        for number in 40..43 {
            instance.deliver(InboxItem::Event(event("noise", number)));
            instance.deliver(InboxItem::Event(event("go", number)));
            instance.settle();
        }
        assert_eq!(taken(&instance).len(), 8, "{memory}");
        assert_eq!(instance.record.inbox.len(), 43);
    }
}

#[test]
fn messages_from_others_never_fail_an_instance() {
    let mut instance = Instance::new(&[vec![Op::Event("go".into()), call("a")]]);
    instance.settle();
    // Beyond the limit of the history, which is a megabyte here.
    for number in 0..1_200 {
        instance.deliver(InboxItem::Event(large("noise", number)));
    }
    let more = event("go", 1);
    assert!(
        !instance.owner.takes_event(&more, 1 << 20, Timestamp(1_000)),
        "its sender gets an error"
    );
    instance.deliver(InboxItem::Event(more));
    instance.settle();
    instance.result(2);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn events_and_results_keep_their_order() {
    let program = [
        vec![call("a")],
        vec![Op::Event("go".into())],
        vec![Op::Event("go".into())],
    ];
    let mut instance = Instance::new(&program);
    instance.settle();
    let ended = InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(1),
        attempt: 0,
        outcome: Ok(Payload::null()),
    };
    instance.deliver(InboxItem::Event(event("go", 1)));
    instance.deliver(ended);
    instance.deliver(InboxItem::Event(event("go", 2)));
    instance.settle();
    let turn = instance.history[&ExecutionNumber::FIRST].last().unwrap();
    assert!(
        matches!(
            &turn.arrivals[..],
            [
                Arrival::EventRaised(_),
                Arrival::TaskEnded { .. },
                Arrival::EventRaised(_)
            ]
        ),
        "{:?}",
        turn.arrivals
    );
}

#[test]
fn early_events_of_older_hosts_precede_waiting_ones() {
    let mut instance = Instance::new(&one_at_a_time("go"));
    instance.record.inbox.clear();
    instance.restart();
    let early = vec![event("go", 1), event("go", 2)];
    instance.deliver(InboxItem::Event(event("go", 3)));
    instance.deliver(InboxItem::Start(Box::new(started(early))));
    instance.settle();
    let starts = instance
        .history
        .values()
        .filter_map(|turns| match turns[0].arrivals.first() {
            Some(Arrival::Started(started)) => Some(started.events.len()),
            _ => None,
        });
    assert_eq!(starts.collect::<Vec<_>>(), [2, 1, 0, 0]);
    assert_eq!(taken(&instance), [event("go", 3)]);
}
