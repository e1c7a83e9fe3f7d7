//! Tests of what happens to children when their parent ends.

use super::*;
use crate::model::ParentClose::{self, Abandon, Cancel, Terminate};

/// The messages to children in the last commit, by the child.
fn to_children(instance: &Instance) -> BTreeMap<String, &'static str> {
    let messages = instance.last().messages.iter();
    let of_children = messages.filter_map(|message| match (&message.to, &message.item) {
        (Recipient::Child(id), InboxItem::Terminate { .. }) => Some((id.to_string(), "terminate")),
        (Recipient::Child(id), InboxItem::Cancel { .. }) => Some((id.to_string(), "cancel")),
        _ => None,
    });
    of_children.collect()
}

/// The ids of the children that were started, in order.
fn children(instance: &Instance) -> Vec<String> {
    let commits = instance.commits.iter().flat_map(|commit| &commit.children);
    commits.map(|child| child.id.to_string()).collect()
}

/// A program with one child for each policy, and one without, that ends after `ms`.
fn with_children(last: Op) -> Vec<Vec<Op>> {
    let left = |policy: ParentClose| vec![Op::ChildLeft("c".into(), policy, 50)];
    vec![
        left(Abandon),
        left(Terminate),
        left(Cancel),
        vec![call("a"), last],
        vec![Op::ChildOrSleep("plain".into(), 60_000)],
    ]
}

#[test]
fn each_way_out_closes_children_as_the_code_chose() {
    let ends = [
        (Op::Fail, InstanceStatus::Failed),
        (Op::FailWith("windlass.cancelled".into()), InstanceStatus::Canceled),
        (Op::ContinueAsNew(1), InstanceStatus::Running),
    ];
    for (last, status) in ends {
        for restarts in [false, true] {
            let mut instance = Instance::new(&with_children(last.clone()));
            instance.settle();
            let ids = children(&instance);
            assert_eq!(ids.len(), 4);
            if status == InstanceStatus::Canceled {
                instance.deliver(InboxItem::Cancel { reason: String::new() });
                instance.settle();
            }
            if restarts {
                instance.restart();
                instance.settle();
            }
            let commits = instance.commits.len();
            instance.result(1);
            // The call is the fifth or so task; its number depends on the children before it.
            for task in 2..10 {
                instance.result(task);
            }
            while instance.commits.len() == commits {
                match instance.owner.next(&instance.context).unwrap() {
                    Next::Commit(commit) => instance.write(*commit),
                    other => instance.help(other),
                }
            }
            assert_eq!(instance.record.status, status);
            let expected = [(ids[1].clone(), "terminate"), (ids[2].clone(), "cancel")];
            assert_eq!(to_children(&instance), expected.into(), "{last:?}");
        }
    }
}

#[test]
fn a_termination_closes_other_children_too_but_leaves_abandoned_ones() {
    let mut instance = Instance::new(&with_children(Op::Fail));
    instance.settle();
    let ids = children(&instance);
    instance.deliver(terminate());
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Terminated);
    let expected = [
        (ids[1].clone(), "terminate"),
        (ids[2].clone(), "cancel"),
        (ids[3].clone(), "terminate"),
    ];
    assert_eq!(to_children(&instance), expected.into());
}

#[test]
fn a_child_that_has_ended_gets_no_message() {
    let mut instance = Instance::new(&[
        vec![Op::ChildLeft("c".into(), Terminate, 60_000)],
        vec![Op::Sleep(50), Op::Fail],
    ]);
    instance.settle();
    let item = InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(1),
        attempt: 1,
        outcome: Ok(Payload::null()),
    };
    instance.deliver(item);
    instance.context.now.set(2_000);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Failed);
    assert_eq!(to_children(&instance), BTreeMap::new());
}

#[test]
fn thousands_of_children_are_closed_with_short_messages() {
    let strands = (0..4_000).map(|_| vec![Op::ChildLeft("c".into(), Terminate, 60_000)]);
    let mut program: Vec<_> = strands.collect();
    program.push(vec![Op::Sleep(50), Op::Fail]);
    let mut instance = Instance::new(&program);
    instance.settle();
    instance.context.now.set(2_000);
    instance.settle();
    assert_eq!(to_children(&instance).len(), 4_000);
    let bytes: u64 = instance
        .last()
        .messages
        .iter()
        .map(|message| message.item.payload_bytes())
        .sum();
    assert!(bytes < 1 << 20, "{bytes}");
}
