//! Turn commits: their rows, their effects, and why they are rejected.

use super::*;
use crate::model::{Failure, LogLevel, failure::types};

over_every_backend! {
    with_module:
    a_turn_is_written_together_with_its_effects,
    an_ended_instance_shows_its_input_and_outcome,
    a_turn_out_of_order_is_rejected_and_changes_nothing,
    a_commit_that_does_not_fit_the_instance_is_rejected,
    a_commit_for_an_ended_or_deleted_instance_writes_nothing,
    a_child_with_the_id_of_a_live_instance_fails_its_parents_task,
    a_message_for_a_child_reaches_no_other_instance_with_its_id,
    a_child_replaces_an_ended_instance_with_its_id,
    the_last_turn_of_an_instance_may_start_a_new_instance_with_its_id,
    continue_as_new_begins_the_next_execution_and_leaves_garbage,
    the_rest_of_an_ended_instances_inbox_is_garbage,
    a_step_without_a_turn_changes_only_the_summary,
    a_custom_status_stays_until_it_is_changed_or_cleared,
    an_instance_becomes_stuck_without_a_turn_and_recovers_with_one,
    answered_changes_survive_a_crash,
}

async fn a_turn_is_written_together_with_its_effects(store: TestStore) {
    let other = store.running("other").await;
    let number = store.started("a").await;
    let mut commit = first_turn(number, store.inbox(number).await);
    commit.children = vec![child_of(number, "child")];
    commit.messages = vec![
        OutboundMessage {
            to: Recipient::Number(other),
            item: event("by-number"),
        },
        OutboundMessage {
            to: Recipient::Id(id("other")),
            item: event("by-id"),
        },
        OutboundMessage {
            to: Recipient::Id(id("child")),
            item: event("to-child"),
        },
        OutboundMessage {
            to: Recipient::Id(id("nobody")),
            item: event("lost"),
        },
        OutboundMessage {
            to: Recipient::Number(InstanceNumber(999_999)),
            item: event("lost"),
        },
    ];
    commit.attempts = vec![attempt(1, 1)];
    commit.logs = vec![line("hello")];
    commit.summary.custom_status = Some(Some(payload("\"validating\"")));
    commit.summary.wake_at = Some(Timestamp(NOW.0 + 5));
    let written = commit.turn.clone().unwrap();
    let receipt = store.commit(commit).await.unwrap();

    let [child] = receipt.created[..] else {
        panic!("one child: {receipt:?}")
    };
    let to: Vec<_> = receipt.delivered.iter().map(|(number, _)| *number).collect();
    assert_eq!(to, [other, other, child]);
    assert!(!receipt.instance_gone);
    assert_eq!(
        store.inbox(other).await,
        [receipt.delivered[0].1.clone(), receipt.delivered[1].1.clone()]
    );
    assert_eq!(store.inbox(child).await.len(), 2);

    let record = store.load(number).await.unwrap().unwrap();
    assert_eq!(
        (record.status, record.last_turn),
        (InstanceStatus::Running, TurnNumber(1))
    );
    assert_eq!((record.inbox, record.has_attempts), (vec![], true));
    let turns = store
        .history(number, ExecutionNumber::FIRST, TurnNumber::NONE, 10)
        .await
        .unwrap();
    assert_eq!(turns, [written]);
    let details = store.details("a").await.unwrap();
    assert_eq!(details.summary.custom_status, Some(payload("\"validating\"")));
    assert_eq!(details.summary.fuel, 1_000);
    let child = store.load(child).await.unwrap().unwrap();
    assert_eq!(
        child.parent.map(|parent| (parent.instance, parent.task)),
        Some((number, TaskId(1)))
    );
    store.assert_sound().await;
}

fn line(text: &str) -> LogLine {
    LogLine {
        at: NOW,
        execution: ExecutionNumber::FIRST,
        task: None,
        attempt: None,
        level: LogLevel::Info,
        message: text.into(),
    }
}

async fn a_message_for_a_child_reaches_no_other_instance_with_its_id(store: TestStore) {
    let stranger = store.running("stranger").await;
    let parent = store.running("parent").await;
    let to = |name: &str| OutboundMessage {
        to: Recipient::Child(id(name)),
        item: terminate(),
    };
    let mut commit = turn(parent, 2, vec![], vec![]);
    // The first one is refused, because its id is in use.
    commit.children = vec![child_of(parent, "stranger"), child_of(parent, "child")];
    commit.messages = vec![to("stranger"), to("child"), to("nobody")];
    let receipt = store.commit(commit).await.unwrap();
    let child = receipt.created[0];
    let delivered = |receipt: &TurnReceipt| receipt.delivered.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    assert_eq!(delivered(&receipt), [parent, child]);

    // The writer reads the instances from the database.
    let store = store.crash().await;
    let mut commit = turn(parent, 3, vec![], vec![]);
    commit.messages = vec![to("child"), to("stranger")];
    let receipt = store.commit(commit).await.unwrap();
    assert_eq!(delivered(&receipt), [child]);
    assert_eq!(store.inbox(stranger).await, []);
    store.assert_sound().await;
}

async fn an_ended_instance_shows_its_input_and_outcome(store: TestStore) {
    store.ended("a").await;
    let details = store.details("a").await.unwrap();
    assert_eq!(details.summary.status, InstanceStatus::Completed);
    assert_eq!(details.input, Some(payload(r#"{"order": 7}"#)));
    assert_eq!(details.outcome, Some(Ok(payload("\"done\""))));

    let number = store.running("b").await;
    let failure = Failure::new("Declined", "no money");
    let mut commit = last_turn(number, 2);
    commit.turn.as_mut().unwrap().decisions = vec![Decision::Fail {
        failure: failure.clone(),
    }];
    commit.summary.status = InstanceStatus::Failed;
    store.commit(commit).await.unwrap();
    assert_eq!(store.details("b").await.unwrap().outcome, Some(Err(failure)));

    let number = store.running("c").await;
    let mut commit = turn(
        number,
        2,
        vec![Arrival::Terminated {
            reason: "enough".into(),
        }],
        vec![],
    );
    commit.summary.status = InstanceStatus::Terminated;
    store.commit(commit).await.unwrap();
    let details = store.details("c").await.unwrap();
    assert_eq!((details.outcome, details.terminated), (None, Some("enough".into())));
}

async fn a_turn_out_of_order_is_rejected_and_changes_nothing(store: TestStore) {
    let number = store.running("a").await;
    for wrong in [1, 3] {
        let error = store.commit(last_turn(number, wrong)).await.unwrap_err();
        assert!(
            matches!(&error, Error::Contradiction(what) if what.contains("next turn is 2")),
            "{error}"
        );
    }
    assert_eq!(store.status("a").await, Some(InstanceStatus::Running));
    store.commit(last_turn(number, 2)).await.unwrap();
}

async fn a_commit_that_does_not_fit_the_instance_is_rejected(store: TestStore) {
    let number = store.running("a").await;
    let mut wrong = Vec::new();
    wrong.push(TurnCommit {
        tenant: TenantId(2),
        ..last_turn(number, 2)
    });
    wrong.push(TurnCommit {
        execution: ExecutionNumber(2),
        ..last_turn(number, 2)
    });
    let mut commit = last_turn(number, 2);
    commit.summary.last_turn = TurnNumber(5);
    wrong.push(commit);
    let mut commit = last_turn(number, 2);
    commit.summary.execution = ExecutionNumber(2);
    wrong.push(commit);
    let mut commit = step(number, 1);
    commit.summary.status = InstanceStatus::Stuck;
    wrong.push(commit);
    for commit in wrong {
        assert!(matches!(store.commit(commit).await, Err(Error::Contradiction(_))));
    }
    let turns = store
        .history(number, ExecutionNumber::FIRST, TurnNumber::NONE, 10)
        .await
        .unwrap();
    assert_eq!(turns.len(), 1);
}

async fn a_commit_for_an_ended_or_deleted_instance_writes_nothing(store: TestStore) {
    let ended = store.ended("a").await;
    let mut commit = last_turn(ended, 3);
    commit.children = vec![child_of(ended, "child")];
    assert!(store.commit(commit).await.unwrap().instance_gone);
    assert!(
        store
            .commit(step(InstanceNumber(999_999), 0))
            .await
            .unwrap()
            .instance_gone
    );
    store.purge(TENANT, id("a")).await.unwrap();
    assert!(store.commit(last_turn(ended, 3)).await.unwrap().instance_gone);
    assert_eq!(store.rows("instances").await, 0);
}

async fn a_child_with_the_id_of_a_live_instance_fails_its_parents_task(store: TestStore) {
    store.started("child").await;
    let parent = store.started("parent").await;
    let mut commit = first_turn(parent, store.inbox(parent).await);
    let detached = NewInstance {
        started: started("Child", None),
        ..instance("child")
    };
    commit.children = vec![child_of(parent, "child"), detached];
    let receipt = store.commit(commit).await.unwrap();
    assert_eq!(receipt.created, []);
    let [(to, row)] = &receipt.delivered[..] else {
        panic!("one message: {receipt:?}")
    };
    assert_eq!(*to, parent);
    let InboxItem::TaskEnded {
        task: TaskId(1),
        attempt: 1,
        outcome: Err(failure),
        ..
    } = &row.item
    else {
        panic!("a failed task: {row:?}")
    };
    assert_eq!(failure.error_type, types::ALREADY_EXISTS);
    assert_eq!(store.inbox(parent).await, std::slice::from_ref(row));
}

async fn a_child_replaces_an_ended_instance_with_its_id(store: TestStore) {
    let old = store.ended("child").await;
    let parent = store.started("parent").await;
    let mut commit = first_turn(parent, store.inbox(parent).await);
    commit.children = vec![child_of(parent, "child"), child_of(parent, "child")];
    let receipt = store.commit(commit).await.unwrap();
    assert_eq!(receipt.created.len(), 1, "the second child finds the first one");
    assert_eq!(receipt.delivered.len(), 1);
    assert!(store.load(old).await.unwrap().is_none());
}

async fn the_last_turn_of_an_instance_may_start_a_new_instance_with_its_id(store: TestStore) {
    let old = store.running("a").await;
    let mut commit = last_turn(old, 2);
    commit.children = vec![instance("a")];
    let receipt = store.commit(commit).await.unwrap();
    assert_eq!(receipt.created.len(), 1);
    assert_eq!(store.status("a").await, Some(InstanceStatus::Pending));
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("history").await, 0);
}

async fn continue_as_new_begins_the_next_execution_and_leaves_garbage(store: TestStore) {
    let number = store.running("a").await;
    store
        .note_attempt(number, attempt(1, 1), vec![line("kept")], u64::MAX, None)
        .await
        .unwrap();
    let waiting = store.deliver(number, event("go")).await.unwrap().unwrap();
    let next = Started {
        execution: ExecutionNumber(2),
        input: payload("2"),
        ..started("Order", None)
    };
    let again = Decision::ContinueAsNew {
        input: payload("2"),
        events: vec![],
    };
    let mut commit = turn(number, 2, vec![], vec![again]);
    commit.next_execution = Some(next.clone());
    (commit.summary.execution, commit.summary.last_turn) = (ExecutionNumber(2), TurnNumber::NONE);
    let receipt = store.commit(commit).await.unwrap();

    let [(to, row)] = &receipt.delivered[..] else {
        panic!("one message: {receipt:?}")
    };
    assert_eq!((*to, &row.item), (number, &InboxItem::Start(Box::new(next))));
    let record = store.load(number).await.unwrap().unwrap();
    assert_eq!(
        (record.execution, record.last_turn),
        (ExecutionNumber(2), TurnNumber::NONE)
    );
    assert_eq!(record.inbox, [waiting, row.clone()], "the event is still pending");
    assert!(!record.has_attempts);
    assert_eq!(store.details("a").await.unwrap().input, Some(payload("2")));

    assert_eq!(store.rows("history").await, 2);
    store.sweep_all(NOW).await;
    assert_eq!((store.rows("history").await, store.rows("attempts").await), (0, 0));
    assert_eq!((store.rows("logs").await, store.rows("inbox").await), (1, 1));

    let mut first = turn(number, 1, vec![], vec![]);
    (first.execution, first.summary.execution) = (ExecutionNumber(2), ExecutionNumber(2));
    store.commit(first).await.unwrap();
    store.assert_sound().await;
}

async fn the_rest_of_an_ended_instances_inbox_is_garbage(store: TestStore) {
    let number = store.running("a").await;
    store.deliver(number, event("late")).await.unwrap().unwrap();
    store.commit(last_turn(number, 2)).await.unwrap();
    assert_eq!(store.rows("garbage").await, 1);
    store.sweep_all(NOW).await;
    assert_eq!((store.rows("inbox").await, store.rows("garbage").await), (0, 0));

    store.ended("b").await;
    assert_eq!(store.rows("garbage").await, 0, "the inbox was empty");
}

async fn a_step_without_a_turn_changes_only_the_summary(store: TestStore) {
    let number = store.running("a").await;
    let mut commit = step(number, 1);
    commit.summary.status = InstanceStatus::Suspended;
    commit.summary.updated_at = Timestamp(NOW.0 + 1);
    store.commit(commit).await.unwrap();
    let details = store.details("a").await.unwrap();
    assert_eq!(details.summary.status, InstanceStatus::Suspended);
    assert_eq!(details.summary.updated_at, Timestamp(NOW.0 + 1));
    assert_eq!(store.rows("history").await, 1);
}

async fn a_custom_status_stays_until_it_is_changed_or_cleared(store: TestStore) {
    let number = store.running("a").await;
    let mut last = 1;
    let mut set = async |status| {
        last += 1;
        let mut commit = turn(number, last, vec![], vec![]);
        commit.summary.custom_status = status;
        store.commit(commit).await.unwrap();
        store.details("a").await.unwrap().summary.custom_status
    };
    assert_eq!(set(Some(Some(payload("1.0")))).await, Some(payload("1.0")));
    assert_eq!(set(None).await, Some(payload("1.0")));
    assert_eq!(set(Some(None)).await, None);
}

async fn an_instance_becomes_stuck_without_a_turn_and_recovers_with_one(store: TestStore) {
    let number = store.running("a").await;
    let reason = StuckReason {
        code: "nondeterminism".into(),
        message: "turn 1 …".into(),
    };
    assert!(store.mark_stuck(number, reason.clone(), NOW).await.unwrap());
    assert_eq!(store.load(number).await.unwrap().unwrap().stuck, Some(reason.clone()));
    assert_eq!(store.details("a").await.unwrap().summary.stuck, Some(reason.clone()));
    store.commit(last_turn(number, 2)).await.unwrap();
    assert_eq!(store.details("a").await.unwrap().summary.stuck, None);
    assert!(
        !store.mark_stuck(number, reason.clone(), NOW).await.unwrap(),
        "the instance has ended"
    );
    assert!(!store.mark_stuck(InstanceNumber(999_999), reason, NOW).await.unwrap());
}

async fn answered_changes_survive_a_crash(store: TestStore) {
    let number = store.running("a").await;
    let row = store.deliver(number, event("go")).await.unwrap().unwrap();
    let store = store.crash().await;
    let record = store.load(number).await.unwrap().unwrap();
    assert_eq!((record.last_turn, record.inbox), (TurnNumber(1), vec![row]));
    store.commit(last_turn(number, 2)).await.unwrap();
    let store = store.crash().await;
    assert_eq!(store.status("a").await, Some(InstanceStatus::Completed));
    store.assert_sound().await;
}
