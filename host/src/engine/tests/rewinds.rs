//! Rewinds of failed orchestrations, one step at a time.

use std::collections::BTreeSet;

use super::*;
use crate::model::failure::types;

fn failed_child(task: u32) -> InboxItem {
    InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
        attempt: 1,
        outcome: Err(Failure::new("Down", "the child failed")),
    }
}

impl NewInstance {
    /// Its id and the task that waits for it.
    fn instance_of(&self) -> (String, Option<TaskId>) {
        (
            self.id.to_string(),
            self.started.parent.as_ref().map(|parent| parent.task),
        )
    }
}

impl Instance {
    /// Requests a rewind, as the store does: the failed instance runs again, with the request in its inbox.
    fn rewind(&mut self) {
        assert_eq!(self.record.status, InstanceStatus::Failed);
        self.record.status = InstanceStatus::Running;
        self.append(InboxItem::Rewind {
            reason: "repaired".into(),
        });
        self.started.clear();
        self.restart();
    }

    fn row(&self) -> &Turn {
        self.last().turn.as_ref().expect("a row")
    }

    fn output(&self) -> String {
        match self.row().decisions.last() {
            Some(Decision::Complete { output }) => output.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

/// The messages to entities.
fn sent(commit: &TurnCommit) -> Vec<InboxItem> {
    let to_entities = commit.messages.iter();
    let to_entities = to_entities.filter(|message| matches!(message.to, Recipient::Entity(_)));
    to_entities.map(|message| message.item.clone()).collect()
}

/// The failure of an activity or an operation.
fn failed(task: u32) -> InboxItem {
    InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
        attempt: 0,
        outcome: Err(Failure::new("Down", "it failed")),
    }
}

/// The success of a sub-orchestration.
fn child_done(task: u32) -> InboxItem {
    InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
        attempt: 1,
        outcome: Ok(Payload::of(&task)),
    }
}

/// Two calls at once, then a third one; a failed call fails the orchestration at the end.
fn program() -> Vec<Vec<Op>> {
    vec![vec![call("a"), call("b")], vec![call("c"), Op::FailIfFailed]]
}

#[test]
fn what_failed_runs_again_under_its_task_and_what_succeeded_is_kept() {
    for restart in [false, true] {
        let mut instance = Instance::new(&program());
        instance.settle();
        assert_eq!(instance.started, [TaskId(1), TaskId(2)]);
        instance.result(1);
        instance.settle();
        assert_eq!(instance.started, [TaskId(1), TaskId(2), TaskId(3)]);
        instance.failure(2);
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Failed);
        instance.rewind();
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Running);
        assert_eq!(instance.record.rewinds.points.len(), 1);
        assert_eq!(instance.started, [TaskId(2), TaskId(3)], "the other one has succeeded");
        if restart {
            instance.restart();
        }
        instance.result(3);
        instance.result(2);
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Completed);
        assert_eq!(instance.output(), r#"["1=Ok(1)","3=Ok(3)","2=Ok(2)"]"#);
    }
}

#[test]
fn the_row_of_a_rewind_has_the_reason_and_runs_nothing() {
    let mut instance = Instance::new(&[vec![call("a"), Op::FailIfFailed]]);
    instance.settle();
    instance.failure(1);
    instance.settle();
    instance.rewind();
    instance.settle();
    let expected = Arrival::Rewound {
        from: TurnNumber(2),
        next_task: TaskId(2),
        reason: "repaired".into(),
    };
    assert_eq!(
        (instance.row().number, &instance.row().arrivals),
        (TurnNumber(3), &vec![expected])
    );
    assert_eq!(instance.last().summary.in_flight, 1);
    assert_eq!(instance.last().consumed.len(), 1, "the request");
}

#[test]
fn what_was_meant_for_the_run_that_failed_does_not_end_the_next_one() {
    let mut instance = Instance::new(&[vec![call("a"), Op::FailIfFailed]]);
    instance.settle();
    instance.failure(1);
    instance.settle();
    // They were accepted while the failing turn was being written.
    let reason = String::new;
    instance.append(InboxItem::Suspend { reason: reason() });
    instance.append(InboxItem::Terminate { reason: reason() });
    instance.rewind();
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Running);
    assert_eq!(
        instance.last().consumed.len(),
        3,
        "the request, and what came before it"
    );
    instance.deliver(InboxItem::Terminate { reason: reason() });
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Terminated);
}

/// One strand fails while the other goes on.
#[test]
fn results_of_superseded_turns_are_used_once_by_the_same_calls() {
    let strands = [
        vec![call("a"), Op::FailAfter(2)],
        vec![call("b"), call("c"), call("d"), call("d")],
    ];
    let mut instance = Instance::new(&strands);
    instance.settle();
    instance.failure(1);
    instance.settle();
    for task in [2, 3] {
        instance.result(task);
        instance.settle();
    }
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    instance.rewind();
    instance.settle();
    // "b" and "c" have their results; the first "d" runs in the place of task 4.
    assert_eq!(instance.started, [TaskId(1), TaskId(6)]);
    assert_eq!(
        instance.origins.last(),
        Some(&TaskId(4)),
        "it has the same idempotency key"
    );
    instance.restart();
    instance.settle();
    assert_eq!(instance.origins.last(), Some(&TaskId(4)), "also for the next owner");
    for task in [6, 7, 1] {
        instance.result(task);
        instance.settle();
    }
    assert_eq!(instance.record.status, InstanceStatus::Completed);
    assert_eq!(
        instance.output(),
        r#"["2=Ok(2)","5=Ok(3)","6=Ok(6)","7=Ok(7)","1=Ok(1)"]"#
    );
}

#[test]
fn events_of_superseded_turns_arrive_again_and_timers_do_not_wait_again() {
    let strands = [
        vec![call("a"), Op::FailAfter(2)],
        vec![Op::Sleep(50), Op::Event("go".into()), Op::Event("go".into())],
    ];
    let mut instance = Instance::new(&strands);
    instance.settle();
    instance.failure(1);
    instance.settle();
    instance.context.now.set(2_000);
    instance.settle();
    instance.deliver(InboxItem::Event(event("go", 7)));
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    instance.append(InboxItem::Event(event("go", 8)));
    instance.rewind();
    instance.settle();
    instance.restart();
    instance.result(1);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
    let output = instance.output();
    assert!(output.contains('7') && output.contains('8'), "{output}");
    assert!(instance.record.inbox.is_empty());
}

#[test]
fn an_orchestration_that_failed_in_its_first_turn_begins_again() {
    let mut instance = Instance::new(&[vec![call("nope"), Op::FailIfFailed]]);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    instance.program = vec![vec![call("a"), Op::FailIfFailed]];
    instance.rewind();
    instance.settle();
    assert_eq!(instance.started, [TaskId(2)]);
    assert!(matches!(instance.row().arrivals[..], [Arrival::Started(_)]));
    instance.restart();
    instance.result(2);
    instance.settle();
    assert_eq!(instance.output(), r#"["2=Ok(2)"]"#);
}

#[test]
fn children_that_failed_are_rewound_and_late_outcomes_count() {
    let strands = [
        vec![Op::Child("x".into()), Op::FailIfFailed],
        vec![Op::Child("y".into())],
    ];
    let mut instance = Instance::new(&strands);
    instance.settle();
    let ids: Vec<_> = instance.last().children.iter().map(|child| child.id.clone()).collect();
    instance.deliver(failed_child(1));
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    // The other one ends before the rewind.
    let mut late = task_ended(2);
    if let InboxItem::TaskEnded { attempt, .. } = &mut late {
        *attempt = 1;
    }
    instance.append(late);
    instance.rewind();
    instance.settle();
    let late = instance.history[&ExecutionNumber::FIRST]
        .iter()
        .find(|turn| turn.is_rewind());
    assert!(matches!(
        late.unwrap().arrivals[..],
        [Arrival::Rewound { .. }, Arrival::TaskEnded { .. }]
    ));
    let rewound = instance.commits.iter().flat_map(|commit| &commit.rewound);
    let rewound: Vec<_> = rewound
        .map(|child| (child.instance.id.clone(), child.reason.as_str()))
        .collect();
    assert_eq!(rewound, [(ids[0].clone(), "repaired")]);
    let mut ended = task_ended(1);
    if let InboxItem::TaskEnded { attempt, .. } = &mut ended {
        *attempt = 1;
    }
    instance.deliver(ended);
    instance.settle();
    assert_eq!(instance.output(), r#"["2=Ok(2)","1=Ok(1)"]"#);
}

#[test]
fn a_child_of_a_superseded_turn_goes_on_for_the_new_call() {
    let strands = [
        vec![call("a"), Op::FailAfter(1)],
        vec![call("b"), Op::Child("x".into())],
    ];
    let mut instance = Instance::new(&strands);
    instance.settle();
    instance.failure(1);
    instance.settle();
    instance.result(2);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    let child = instance.commits.iter().flat_map(|commit| &commit.children).next();
    let child = child.expect("it was called").instance_of();
    instance.rewind();
    instance.settle();
    let rewound: Vec<_> = instance.commits.iter().flat_map(|commit| &commit.rewound).collect();
    assert_eq!(rewound.len(), 1);
    assert_eq!(rewound[0].instance.instance_of(), child);
    assert!(instance.last().children.is_empty());
    instance.restart();
    instance.result(1);
    let mut ended = task_ended(3);
    if let InboxItem::TaskEnded { attempt, .. } = &mut ended {
        *attempt = 1;
    }
    instance.deliver(ended);
    instance.settle();
    assert_eq!(
        instance.record.status,
        InstanceStatus::Completed,
        "the outcome of task 3 is that of task 4"
    );
}

#[test]
fn attempts_begin_anew_for_what_failed() {
    let options = ActivityOptions::default();
    let mut instance = Instance::new(&[vec![Op::CallWith("a".into(), options), Op::FailIfFailed]]);
    instance.settle();
    instance.attempts.push(AttemptRow {
        execution: ExecutionNumber::FIRST,
        task: TaskId(1),
        ordinal: 1,
        number: 1,
        cut_off: false,
        failure: Failure::new("Down", "once"),
        fuel: 0,
        started_at: Timestamp(1_000),
        ended_at: Timestamp(1_000),
        next_at: Some(Timestamp(1_001)),
    });
    instance.record.has_attempts = true;
    instance.failure(1);
    instance.settle();
    instance.rewind();
    for _ in 0..2 {
        instance.settle();
        let so_far = instance.so_far.last().expect("it was started");
        assert_eq!((so_far.noted, so_far.failed), (2, 0));
        assert_eq!(so_far.undecided, None);
        instance.restart();
    }
    let note = instance.attempts.last().unwrap();
    assert_eq!(
        (note.number, note.ordinal, note.failure.message.as_str()),
        (0, 2, "the service is down")
    );
}

#[test]
fn operations_that_failed_are_sent_again() {
    let strands = [vec![Op::CallEntity("k".into(), "add".into()), Op::FailIfFailed]];
    let mut instance = Instance::new(&strands);
    instance.settle();
    let first = sent(instance.last());
    assert_eq!(first.len(), 1);
    let mut failed = failed_child(1);
    if let InboxItem::TaskEnded { attempt, .. } = &mut failed {
        *attempt = 0;
    }
    instance.deliver(failed);
    instance.settle();
    instance.rewind();
    instance.settle();
    assert_eq!(sent(instance.last()), first);
}

#[test]
fn a_rewind_within_a_critical_section_begins_before_it() {
    let strands = [vec![
        Op::Lock(vec!["k".into()]),
        call("a"),
        Op::CallEntity("k".into(), "add".into()),
        call("b"),
        Op::FailIfFailed,
    ]];
    let mut instance = Instance::new(&strands);
    instance.settle();
    instance.deliver(task_ended(1));
    instance.settle();
    instance.result(2);
    instance.settle();
    instance.deliver(task_ended(3));
    instance.settle();
    instance.failure(4);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    instance.rewind();
    instance.settle();
    assert_eq!(
        instance.record.rewinds.points[0].from,
        TurnNumber(1),
        "the turn that locked"
    );
    instance.deliver(task_ended(5));
    instance.settle();
    assert_eq!(instance.started.last(), Some(&TaskId(8)), "the call that failed");
    assert_eq!(instance.origins.last(), Some(&TaskId(4)));
    instance.result(8);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn an_execution_is_rewound_at_most_a_hundred_times() {
    let mut instance = Instance::new(&[vec![call("a"), Op::FailIfFailed]]);
    instance.context.now.set(1_000);
    instance.settle();
    for _ in 0..crate::model::MAX_REWINDS {
        instance.failure(1);
        instance.settle();
        instance.rewind();
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Running);
    }
    assert!(instance.record.rewinds.is_full());
    instance.failure(1);
    instance.settle();
    instance.rewind();
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Stuck);
    assert_eq!(instance.record.stuck.as_ref().unwrap().code, "rewound-too-often");
}

/// One strand calls an entity after its first call has failed, and another one ends the orchestration. Task 3 is the
/// operation.
fn failed_with_an_operation() -> Instance {
    let strands = [
        vec![call("a"), Op::CallEntity("k".into(), "add".into())],
        vec![call("b"), Op::FailIfFailed],
    ];
    let mut instance = Instance::new(&strands);
    instance.settle();
    instance.failure(1);
    instance.settle();
    assert_eq!(sent(instance.last()).len(), 1);
    instance.result(2);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    instance
}

impl Instance {
    fn all_sent(&self) -> usize {
        self.commits.iter().map(|commit| sent(commit).len()).sum()
    }
}

#[test]
fn an_operation_that_has_no_outcome_is_not_sent_again() {
    // When its outcome arrives: after the failure, after the rewind, and after the call was made again.
    for (at, restart) in [(0, false), (1, false), (1, true), (2, false), (2, true)] {
        let mut instance = failed_with_an_operation();
        if at == 0 {
            instance.append(task_ended(3));
        }
        instance.rewind();
        instance.settle();
        if at == 1 {
            instance.deliver(task_ended(3));
            instance.settle();
        }
        if restart {
            instance.restart();
        }
        instance.result(1);
        instance.settle();
        if at == 2 {
            assert_eq!(instance.record.status, InstanceStatus::Running);
            if restart {
                instance.restart();
            }
            instance.deliver(task_ended(3));
            instance.settle();
        }
        assert_eq!(instance.record.status, InstanceStatus::Completed, "{at} {restart}");
        assert!(instance.output().contains("=Ok(3)"), "{}", instance.output());
        assert_eq!(instance.all_sent(), 1, "{at} {restart}");
    }
}

#[test]
fn an_operation_that_fails_after_a_rewind_is_sent_again_by_the_same_call() {
    for restart in [false, true] {
        let mut instance = failed_with_an_operation();
        instance.rewind();
        instance.settle();
        instance.deliver(failed(3));
        instance.settle();
        if restart {
            instance.restart();
        }
        instance.result(1);
        instance.settle();
        assert_eq!(instance.all_sent(), 2);
        instance.deliver(task_ended(4));
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Completed);
    }
}

#[test]
fn an_operation_is_sent_once_although_its_call_is_made_after_each_of_several_rewinds() {
    let strands = [
        vec![Op::FailAfter(2), call("a"), Op::CallEntity("k".into(), "add".into())],
        vec![call("b")],
    ];
    for answered in 0..4 {
        let mut instance = Instance::new(&strands);
        instance.settle();
        instance.failure(1);
        instance.settle();
        instance.result(2);
        instance.settle();
        instance.rewind();
        instance.settle();
        if answered == 0 {
            instance.deliver(task_ended(3));
            instance.settle();
        }
        // Made again as task 4, in the turn that fails.
        instance.failure(1);
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Failed, "{answered}");
        if answered == 1 {
            instance.append(task_ended(3));
        }
        instance.rewind();
        instance.settle();
        if answered == 2 {
            instance.deliver(task_ended(3));
            instance.settle();
        }
        instance.result(1);
        instance.settle();
        if answered == 3 {
            instance.deliver(task_ended(3));
            instance.settle();
        }
        assert_eq!(instance.record.status, InstanceStatus::Completed, "{answered}");
        assert_eq!(instance.all_sent(), 1, "{answered}");
    }
}

#[test]
fn an_operation_that_superseded_turns_gave_up_has_its_outcome_after_the_rewind() {
    let strands = [
        vec![Op::CallEntityOrCall("k".into(), "add".into(), "a".into())],
        vec![call("b"), Op::FailIfFailed],
    ];
    for when in 0..3 {
        let mut instance = Instance::new(&strands);
        instance.settle();
        // It gives up the operation, which is task 1.
        instance.failure(2);
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Running);
        if when == 0 {
            instance.deliver(task_ended(1));
            instance.settle();
        }
        instance.result(3);
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Failed);
        if when == 1 {
            instance.append(task_ended(1));
        }
        instance.rewind();
        instance.settle();
        if when == 2 {
            instance.deliver(task_ended(1));
            instance.settle();
        }
        assert_eq!(instance.record.status, InstanceStatus::Completed, "{when}");
        assert_eq!(instance.all_sent(), 1);
    }
}

#[test]
fn a_child_that_has_succeeded_does_not_run_again() {
    // Task 3 is the child of a superseded turn. It ends after the rewind, and before it is called again.
    let strands = [
        vec![call("a"), Op::Child("x".into())],
        vec![call("b"), Op::FailIfFailed],
    ];
    let mut instance = Instance::new(&strands);
    instance.settle();
    instance.failure(1);
    instance.settle();
    instance.result(2);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    instance.rewind();
    instance.settle();
    instance.deliver(child_done(3));
    instance.settle();
    instance.restart();
    instance.result(1);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
    assert!(instance.commits.iter().all(|commit| commit.rewound.is_empty()));
}

/// What fails late fails again only if it fails after the rewind, however much is in the inbox.
#[test]
fn failures_that_are_older_than_a_rewind_are_void_although_they_are_read_later() {
    let strands = [
        vec![Op::Child("x".into()), Op::FailIfFailed],
        vec![Op::Child("y".into())],
        vec![Op::CallEntity("k".into(), "add".into())],
        vec![call("a")],
        vec![Op::Child("z".into())],
    ];
    for page in [1, 2, 3, usize::MAX] {
        let mut instance = Instance::new(&strands);
        instance.settle();
        instance.deliver(failed_child(1));
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Failed);
        instance.append(failed_child(2));
        instance.append(child_done(5));
        instance.append(failed(3));
        instance.append(failed(4));
        instance.page = page;
        instance.rewind();
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Running, "{page}");
        assert_eq!(instance.started.last(), Some(&TaskId(4)), "the activity");
        assert_eq!(instance.all_sent(), 2, "the operation was sent again");
        let rewound = instance.commits.iter().flat_map(|commit| &commit.rewound);
        let tasks: BTreeSet<_> = rewound.filter_map(|child| child.instance.instance_of().1).collect();
        assert!([1, 2].iter().all(|task| tasks.contains(&TaskId(*task))), "{tasks:?}");
        instance.deliver(child_done(1));
        instance.deliver(child_done(2));
        instance.deliver(task_ended(3));
        instance.result(4);
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Completed, "{page}");
    }
}

#[test]
fn a_failure_that_arrives_while_the_rewind_is_written_is_void() {
    let strands = [
        vec![Op::Child("x".into()), Op::FailIfFailed],
        vec![Op::Child("y".into())],
    ];
    let mut instance = Instance::new(&strands);
    instance.settle();
    instance.deliver(failed_child(1));
    instance.settle();
    instance.rewind();
    // The row of the rewind lets this one run again.
    let late = instance.append(failed_child(2));
    instance.settle();
    instance.owner.receive(late);
    instance.settle();
    assert!(instance.record.inbox.is_empty());
    instance.deliver(child_done(1));
    instance.settle();
    // A failure after the rewind is none of it.
    instance.deliver(failed_child(2));
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
    assert!(instance.output().contains("2=Err"), "{}", instance.output());
}

#[test]
fn a_child_that_the_failure_closed_runs_again_when_it_has_ended() {
    use crate::model::ParentClose::{Cancel, Terminate};
    for (policy, error_type) in [(Cancel, types::CANCELLED), (Terminate, types::TERMINATED)] {
        for restart in [false, true] {
            let strands = [
                vec![Op::ChildClosed("x".into(), policy)],
                vec![call("a"), Op::FailIfFailed],
            ];
            let mut instance = Instance::new(&strands);
            instance.settle();
            let child = instance.last().children[0].instance_of();
            instance.failure(2);
            instance.settle();
            assert_eq!(instance.record.status, InstanceStatus::Failed);
            let reasons = instance.last().messages.iter().map(|message| match &message.item {
                InboxItem::Cancel { reason } | InboxItem::Terminate { reason } => reason.clone(),
                other => panic!("{other:?}"),
            });
            let reasons: Vec<_> = reasons.collect();
            let end = |message: &str| InboxItem::TaskEnded {
                execution: ExecutionNumber::FIRST,
                task: TaskId(1),
                attempt: 1,
                outcome: Err(Failure::new(error_type, message)),
            };
            instance.rewind();
            instance.settle();
            if restart {
                instance.restart();
            }
            // It was still cleaning up.
            instance.deliver(end(&reasons[0]));
            instance.settle();
            assert_eq!(instance.record.status, InstanceStatus::Running);
            let again = instance.last().rewound.iter().map(|child| child.instance.instance_of());
            assert_eq!(again.collect::<Vec<_>>(), [child]);
            // A person ends it. That is a failure like any other.
            instance.deliver(end("by hand"));
            instance.result(2);
            instance.settle();
            assert_eq!(instance.record.status, InstanceStatus::Failed);
            assert!(instance.last().rewound.is_empty());
        }
    }
}
