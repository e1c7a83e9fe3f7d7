//! Tests of requests to cancel an instance.

use super::*;
use crate::model::{Started, failure::types};
use crate::replay::tests::script::Cancelled;

fn cancel(reason: &str) -> InboxItem {
    InboxItem::Cancel { reason: reason.into() }
}

#[test]
fn a_cancelled_instance_that_cleans_up_ends_as_cancelled() {
    let ends = Op::CancelledOrSleep(50, Cancelled::Ends);
    for restarts in [false, true] {
        let mut instance = Instance::new(&[vec![call("a"), ends.clone()]]);
        instance.settle();
        instance.deliver(cancel("first"));
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Running);
        if restarts {
            instance.restart();
        }
        let commits = instance.commits.len();
        instance.deliver(cancel("second"));
        instance.settle();
        assert!(instance.last().turn.is_none(), "the second request changes nothing");
        assert_eq!(instance.commits.len(), commits + 1);
        instance.result(1);
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Canceled);
    }
}

#[test]
fn the_failure_of_a_cancelled_task_is_no_cancellation_of_the_instance() {
    // It asks for no cancellation, but fails with the same type.
    let mut instance = Instance::new(&[vec![Op::FailWith("windlass.cancelled".into())]]);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Failed);
}

#[test]
fn a_request_for_cancellation_is_carried_to_the_next_execution() {
    let mut instance = Instance::new(&[vec![call("a"), Op::ContinueAsNew(1)]]);
    instance.settle();
    instance.deliver(cancel("stop"));
    instance.settle();
    instance.program = vec![vec![Op::CancelledOrSleep(50, Cancelled::Ends)]];
    instance.result(1);
    instance.settle();
    assert_eq!(instance.record.execution, ExecutionNumber(2));
    assert_eq!(instance.record.status, InstanceStatus::Canceled);
    let arrivals = &instance.history[&ExecutionNumber(2)][0].arrivals;
    let [Arrival::Started(_), Arrival::CancelRequested { reason }] = &arrivals[..] else {
        panic!("{arrivals:?}")
    };
    assert_eq!(reason, "stop");
}

#[test]
fn a_suspended_instance_sees_one_cancellation_when_it_is_resumed() {
    let mut instance = Instance::new(&[vec![Op::CancelledOrSleep(50, Cancelled::Ends)]]);
    instance.settle();
    instance.deliver(InboxItem::Suspend { reason: String::new() });
    instance.settle();
    for number in 0..100 {
        instance.deliver(cancel(&number.to_string()));
        instance.settle();
        assert!(instance.record.inbox.len() <= 1, "repeated requests are dropped");
    }
    assert_eq!(instance.record.status, InstanceStatus::Suspended);
    instance.restart();
    instance.deliver(InboxItem::Resume { reason: String::new() });
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Canceled);
    let turns = &instance.history[&ExecutionNumber::FIRST];
    assert_eq!(turns.last().and_then(Turn::cancel_reason), Some("0"));
}

#[test]
fn an_instance_that_is_cancelled_before_its_start_ends_without_running() {
    let mut instance = Instance::new(&[vec![call("a")]]);
    let later = Started {
        not_before: Some(Timestamp(5_000)),
        ..started(Vec::new())
    };
    instance.record.inbox.clear();
    instance.append(InboxItem::Start(Box::new(later)));
    instance.restart();
    assert_eq!(instance.settle(), Some(Timestamp(5_000)));
    instance.deliver(cancel("no need"));
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Canceled);
    let turns = instance.history[&ExecutionNumber::FIRST].clone();
    assert!(turns[0].ends_before_start());
    let [Decision::Fail { failure }] = &turns[0].decisions[..] else {
        panic!("{turns:?}")
    };
    assert_eq!(
        (failure.error_type.as_str(), failure.message.as_str()),
        (types::CANCELLED, "no need")
    );
    // `windlass check --replay` replays it, too.
    let mut cold = crate::replay::tests::script::player(&instance.program);
    assert_eq!(cold.replay(&turns[0]), Ok(()));
}
