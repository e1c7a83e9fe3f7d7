//! Owners with held tenants, long inboxes and long histories.

use super::*;
use crate::model::LogLevel;

/// Appends an event without notifying the owner, as for a suspended instance.
fn append(instance: &mut Instance, number: u32) {
    instance.append(InboxItem::Event(event("go", number)));
}

fn warnings(instance: &Instance) -> Vec<String> {
    let lines = instance.commits.iter().flat_map(|commit| &commit.logs);
    let warnings = lines.filter(|line| line.level == LogLevel::Warn);
    warnings.map(|line| line.message.clone()).collect()
}

#[test]
fn while_a_tenant_is_held_arrivals_are_stored_and_no_turn_runs() {
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
    assert_eq!(instance.settle(), None, "a due timer waits too");
    instance.context.held.set(false);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn an_instance_of_a_held_tenant_can_be_terminated() {
    let mut instance = Instance::new(&[vec![call("a")]]);
    instance.settle();
    instance.context.held.set(true);
    instance.deliver(terminate());
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Terminated);
}

#[test]
fn an_instance_started_while_its_tenant_is_held_is_created_without_a_turn() {
    let mut instance = not_stored(&[vec![call("a")]]);
    instance.context.held.set(true);
    let Ok(Next::Commit(commit)) = instance.owner.next(&instance.context) else {
        panic!("it is created")
    };
    assert!(commit.creation.is_some() && commit.turn.is_none());
}

#[test]
fn messages_that_arrived_during_a_suspension_are_read_when_the_instance_resumes() {
    let mut instance = Instance::new(&[vec![Op::Event("go".into()), Op::Event("go".into())]]);
    instance.settle();
    instance.deliver(InboxItem::Suspend { reason: String::new() });
    instance.settle();
    // The owner still exists but is not notified of these.
    append(&mut instance, 1);
    append(&mut instance, 2);
    assert!(!instance.owner.takes_event(&event("go", 3), u64::MAX, Timestamp(1_000)));
    instance.deliver(InboxItem::Resume { reason: String::new() });
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn events_arrive_in_order_even_if_a_newer_one_is_delivered_before_older_ones_are_read() {
    let events = 5;
    let mut instance = Instance::new(&[(0..events).map(|_| Op::Event("go".into())).collect()]);
    instance.settle();
    (1..events).for_each(|number| append(&mut instance, number));
    let mut record = instance.record.clone();
    record.inbox.clear();
    record.more_events = true;
    instance.owner = Owner::new(record, InboxSeq(0));
    assert!(!instance.owner.takes_event(&event("go", 9), u64::MAX, Timestamp(1_000)));
    instance.deliver(InboxItem::Event(event("go", events)));
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
fn a_history_with_many_turns_causes_one_warning_and_then_a_failure() {
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
fn a_large_history_causes_one_warning_and_a_new_owner_knows_its_size() {
    let mut instance = Instance::new(&[(0..50).map(|_| Op::Event("go".into())).collect()]);
    instance.settle();
    let large = |instance: &mut Instance| {
        let event = Event {
            payload: Payload::of(&"x".repeat(100 << 10)),
            ..event("go", 1)
        };
        instance.deliver(InboxItem::Event(event));
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
