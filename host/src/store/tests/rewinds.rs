//! Rewinds: a failed instance runs again, and what it needs for that is still there.

use super::*;
use crate::model::InstanceStatus::{Completed, Failed, Pending, Running, Terminated};
use crate::model::{Failure, RewindPoint, Rewinds};

over_every_backend! {
    with_module:
    a_failed_instance_runs_again_with_the_request_in_its_inbox,
    only_a_failed_instance_is_rewound,
    a_failed_instance_keeps_events_and_takes_outcomes_of_its_tasks,
    rewinds_are_read_with_the_instance_and_belong_to_its_execution,
    a_child_is_rewound_created_or_left_alone,
}

fn rewind() -> InboxItem {
    InboxItem::Rewind {
        reason: "repaired".into(),
    }
}

fn failing_turn(instance: InstanceNumber, number: u32) -> TurnCommit {
    let fail = Decision::Fail {
        failure: Failure::new("Down", "the service is down"),
    };
    let mut commit = turn(instance, number, vec![task_ended(1, Ok(Payload::null()))], vec![fail]);
    commit.summary.status = Failed;
    commit
}

impl TestStore {
    async fn failed(&self, name: &str) -> InstanceNumber {
        let number = self.running(name).await;
        self.commit(failing_turn(number, 2)).await.unwrap();
        number
    }
}

fn outcome(execution: u32) -> InboxItem {
    InboxItem::TaskEnded {
        execution: ExecutionNumber(execution),
        task: TaskId(1),
        attempt: 1,
        outcome: Ok(Payload::null()),
    }
}

async fn a_failed_instance_runs_again_with_the_request_in_its_inbox(store: TestStore) {
    let number = store.failed("a").await;
    let appended = store.append(append("a", rewind()), None).await.unwrap();
    assert!(
        matches!(appended, AppendOutcome::Appended { instance, is_at_rest: false, .. } if instance == number),
        "{appended:?}"
    );
    let store = store.reopen().await;
    store.sweep_all(NOW).await;
    let record = store.load(number).await.unwrap().unwrap();
    assert_eq!(record.status, Running);
    assert!(matches!(&record.inbox[..], [InboxRow { item: InboxItem::Rewind { reason }, .. }] if reason == "repaired"));
    let details = store.details("a").await.unwrap();
    assert_eq!((details.summary.status, details.outcome), (Running, None));
    let waking = store.to_wake_at_start(None, 10).await.unwrap();
    assert!(waking.iter().any(|(_, waking)| *waking == number), "{waking:?}");
    // A step follows as usual.
    let mut commit = step(number, 2);
    consume(&mut commit, &record.inbox);
    assert!(!store.commit(commit).await.unwrap().instance_gone);
    store.assert_sound().await;
}

async fn only_a_failed_instance_is_rewound(store: TestStore) {
    let completed = store.ended("done").await;
    let running = store.running("live").await;
    store.failed("failed").await;
    for (name, status) in [("done", Completed), ("live", Running)] {
        let refused = store.append(append(name, rewind()), None).await.unwrap();
        assert_eq!(refused, AppendOutcome::NotFailed(status));
    }
    for number in [completed, running, InstanceNumber(999_999)] {
        assert_eq!(store.deliver(number, rewind()).await.unwrap(), None);
    }
    let unknown = store.append(append("nobody", rewind()), None).await.unwrap();
    assert_eq!(unknown, AppendOutcome::Unknown);
    let again = || key("again", 1);
    let first = store.append(append("failed", rewind()), again()).await.unwrap();
    assert!(matches!(first, AppendOutcome::Appended { .. }), "{first:?}");
    let repeated = store.append(append("failed", rewind()), again()).await.unwrap();
    assert_eq!(repeated, AppendOutcome::Repeated);
    let twice = store.append(append("failed", rewind()), None).await.unwrap();
    assert_eq!(twice, AppendOutcome::NotFailed(Running));
    store.assert_sound().await;
}

async fn a_failed_instance_keeps_events_and_takes_outcomes_of_its_tasks(store: TestStore) {
    let number = store.running("a").await;
    store.deliver(number, event("go")).await.unwrap().unwrap();
    store.commit(failing_turn(number, 2)).await.unwrap();
    store.sweep_all(NOW).await;
    assert_eq!(store.deliver(number, event("late")).await.unwrap(), None);
    assert_eq!(
        store.deliver(number, outcome(2)).await.unwrap(),
        None,
        "of another execution"
    );
    let kept = store.deliver(number, outcome(1)).await.unwrap();
    assert!(kept.is_some());
    let waking = store.to_wake_at_start(None, 10).await.unwrap();
    assert!(waking.is_empty(), "{waking:?}");
    store.assert_sound().await;
    store.append(append("a", rewind()), None).await.unwrap();
    let record = store.load(number).await.unwrap().unwrap();
    let items: Vec<_> = record.inbox.into_iter().map(|row| row.item).collect();
    assert_eq!(items, [event("go"), outcome(1), rewind()]);
    // Nothing is left of it after a purge.
    store.commit(failing_turn(number, 3)).await.unwrap();
    store.purge(TENANT, id("a")).await.unwrap();
    store.sweep_all(NOW).await;
    assert_eq!((store.rows("inbox").await, store.rows("events").await), (0, 0));
    store.assert_sound().await;
}

async fn rewinds_are_read_with_the_instance_and_belong_to_its_execution(store: TestStore) {
    let number = store.failed("a").await;
    let appended = store.append(append("a", rewind()), None).await.unwrap();
    let AppendOutcome::Appended {
        row: InboxRow { seq: request, .. },
        ..
    } = appended
    else {
        panic!("{appended:?}");
    };
    let point = RewindPoint {
        from: TurnNumber(2),
        row: TurnNumber(3),
    };
    let rewinds = Rewinds::none(ExecutionNumber::FIRST).with(point);
    let row = Arrival::Rewound {
        from: TurnNumber(2),
        next_task: TaskId(2),
        reason: String::new(),
    };
    let mut commit = turn(number, 3, vec![row], vec![]);
    commit.rewinds = Some(rewinds.clone());
    let until = store.commit(commit).await.unwrap().rewound_until;
    let store = store.reopen().await;
    let record = store.load(number).await.unwrap().unwrap();
    let newest = record.rewinds.until;
    assert!(request <= newest && newest < InboxSeq(u64::MAX), "{newest:?}");
    assert_eq!(until, Some(newest));
    let rewinds = Rewinds {
        until: newest,
        ..rewinds
    };
    assert_eq!(record.rewinds, rewinds);
    let later = store.deliver(number, event("go")).await.unwrap().unwrap();
    assert!(later.seq > newest);
    assert_eq!(store.details("a").await.unwrap().summary.rewinds, rewinds);
    // Other steps keep them.
    store.commit(step(number, 3)).await.unwrap();
    assert_eq!(store.load(number).await.unwrap().unwrap().rewinds, rewinds);
    store.assert_sound().await;
}

async fn a_child_is_rewound_created_or_left_alone(store: TestStore) {
    let parent = store.running("parent").await;
    let mut commit = turn(parent, 2, vec![], vec![]);
    let names = ["failed", "live", "completed", "terminated"];
    commit.children = names.iter().map(|name| child_of(parent, name)).collect();
    let numbers = store.commit(commit).await.unwrap().created;
    let end = async |number: InstanceNumber, status: InstanceStatus| {
        store
            .commit(first_turn(number, store.inbox(number).await))
            .await
            .unwrap();
        let mut commit = last_turn(number, 2);
        commit.summary.status = status;
        store.commit(commit).await.unwrap();
    };
    end(numbers[0], Failed).await;
    end(numbers[2], Completed).await;
    end(numbers[3], Terminated).await;
    let all = ["failed", "live", "completed", "terminated", "purged"];
    let rewound = all.iter().map(|name| RewoundChild {
        instance: child_of(parent, name),
        reason: "repaired".into(),
    });
    let mut commit = turn(parent, 3, vec![], vec![]);
    commit.rewound = rewound.collect();
    let receipt = store.commit(commit).await.unwrap();
    let delivered: Vec<_> = receipt
        .delivered
        .iter()
        .map(|(number, row)| (*number, row.item.clone()))
        .collect();
    assert_eq!(delivered, [(numbers[0], rewind())]);
    assert_eq!(receipt.created.len(), 2, "those that were terminated and purged");
    let statuses = async || {
        let mut statuses = Vec::new();
        for name in all {
            statuses.push(store.status(name).await.unwrap());
        }
        statuses
    };
    assert_eq!(statuses().await, [Running, Pending, Completed, Pending, Pending]);
    store.assert_sound().await;
}
