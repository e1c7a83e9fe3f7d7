//! Owners whose tenant is held, whose inbox is long, and whose history is.

use super::*;
use crate::model::LogLevel;

/// Appends an event without telling anybody, as for an instance that is suspended.
fn append(instance: &mut Instance, number: u32) {
    instance.append(InboxItem::Event(event("go", number)));
}

fn warnings(instance: &Instance) -> Vec<String> {
    let lines = instance.commits.iter().flat_map(|commit| &commit.logs);
    let warnings = lines.filter(|line| line.level == LogLevel::Warn);
    warnings.map(|line| line.message.clone()).collect()
}

#[test]
fn while_a_tenant_is_held_what_arrives_is_kept_and_no_turn_is_taken() {
    let mut instance = Instance::new(&[vec![call("a"), Op::Event("go".into()), Op::Sleep(50)]]);
    instance.settle();
    let turns = instance.history[&ExecutionNumber::FIRST].len();
    instance.context.held.set(true);
    instance.result(1);
    instance.owner.receive_event(event("go", 1));
    assert_eq!(instance.settle(), None);
    assert_eq!(instance.record.inbox.len(), 2, "both are durable");
    assert_eq!(instance.history[&ExecutionNumber::FIRST].len(), turns);

    instance.context.held.set(false);
    instance.restart();
    assert_eq!(instance.settle(), Some(Timestamp(1_050)));
    instance.context.held.set(true);
    instance.context.now.set(2_000);
    assert_eq!(instance.settle(), None, "a timer that is due waits too");
    instance.context.held.set(false);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn an_instance_of_a_held_tenant_can_be_ended() {
    let mut instance = Instance::new(&[vec![call("a")]]);
    instance.settle();
    instance.context.held.set(true);
    instance.tell(terminate());
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Terminated);
}

#[test]
fn an_instance_that_is_started_while_its_tenant_is_held_is_created_and_waits() {
    let mut instance = not_stored(&[vec![call("a")]]);
    instance.context.held.set(true);
    let Ok(Next::Commit(commit)) = instance.owner.next(&instance.context) else {
        panic!("it is created")
    };
    assert!(commit.creation.is_some() && commit.turn.is_none());
}

#[test]
fn what_came_while_an_instance_rested_is_read_when_it_goes_on() {
    let mut instance = Instance::new(&[vec![Op::Event("go".into()), Op::Event("go".into())]]);
    instance.settle();
    instance.tell(InboxItem::Suspend { reason: String::new() });
    instance.settle();
    // The owner is still there, and is not told of these.
    append(&mut instance, 1);
    append(&mut instance, 2);
    assert!(!instance.owner.takes_event(&event("go", 3), u64::MAX, Timestamp(1_000)));
    instance.tell(InboxItem::Resume { reason: String::new() });
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn of_many_events_the_messages_come_in_order_though_newer_ones_are_told_of() {
    let events = 5;
    let mut instance = Instance::new(&[(0..events).map(|_| Op::Event("go".into())).collect()]);
    instance.settle();
    (1..events).for_each(|number| append(&mut instance, number));
    let mut record = instance.record.clone();
    record.inbox.clear();
    record.more_events = true;
    instance.owner = Owner::new(record, InboxSeq(0));
    assert!(!instance.owner.takes_event(&event("go", 9), u64::MAX, Timestamp(1_000)));
    instance.tell(InboxItem::Event(event("go", events)));
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
    let arrivals = instance.history[&ExecutionNumber::FIRST]
        .iter()
        .flat_map(|turn| &turn.arrivals);
    let events: Vec<_> = arrivals
        .filter(|arrival| matches!(arrival, Arrival::EventRaised(_)))
        .collect();
    let expected: Vec<_> = (1..=5)
        .map(|number| Arrival::EventRaised(event("go", number)))
        .collect();
    assert_eq!(events, expected.iter().collect::<Vec<_>>());
}

#[test]
fn a_history_that_becomes_long_is_warned_of_once_and_then_ended() {
    let steps = 120;
    let mut instance = Instance::new(&[(0..steps).map(|n| call(&format!("a{n}"))).collect()]);
    for task in 1..steps {
        instance.settle();
        instance.result(task);
    }
    instance.settle();
    let warned = warnings(&instance);
    assert!(
        matches!(&warned[..], [one] if one.contains("80 of at most 100 turns")),
        "{warned:?}"
    );
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    assert_eq!(instance.record.last_turn, TurnNumber(100));
}

#[test]
fn so_is_one_of_large_payloads_and_a_new_owner_knows_how_large_it_was() {
    let mut instance = Instance::new(&[(0..50).map(|_| Op::Event("go".into())).collect()]);
    instance.settle();
    let large = |instance: &mut Instance| {
        let event = Event {
            payload: Payload::of(&"x".repeat(100 << 10)),
            ..event("go", 1)
        };
        instance.tell(InboxItem::Event(event));
        instance.settle();
    };
    (0..9).for_each(|_| large(&mut instance));
    let warned = warnings(&instance);
    assert!(
        matches!(&warned[..], [one] if one.contains("of at most 1048576 bytes of history")),
        "{warned:?}"
    );
    instance.record.history_bytes = 900 << 10;
    instance.restart();
    (0..2).for_each(|_| large(&mut instance));
    assert_eq!(instance.record.status, InstanceStatus::Failed);
}
