//! Messages that wait for an instance.

use super::*;

#[tokio::test]
async fn messages_are_kept_in_the_order_in_which_they_came() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    let first = match store.append(append("a", event("one")), None).await.unwrap() {
        AppendOutcome::Appended { instance, row, .. } if instance == number => row,
        other => panic!("not appended: {other:?}"),
    };
    let second = store.deliver(number, event("two")).await.unwrap().unwrap();
    assert!(first.seq < second.seq);
    assert_eq!(store.inbox(number).await, [first.clone(), second.clone()]);

    let mut commit = turn(number, 2, vec![], vec![]);
    commit.consumed = vec![first.seq];
    store.commit(commit).await.unwrap();
    assert_eq!(store.inbox(number).await, [second]);
}

#[tokio::test]
async fn every_kind_of_message_is_read_as_it_was_written() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    let failure = crate::model::Failure::new("Busy", "try later").permanent();
    let items = vec![
        InboxItem::Start(Box::new(started("Order", None))),
        InboxItem::TaskEnded {
            execution: ExecutionNumber(1),
            task: TaskId(3),
            attempt: 2,
            outcome: Err(failure),
        },
        event("go"),
        terminate(),
        InboxItem::Suspend { reason: "wait".into() },
        InboxItem::Resume { reason: String::new() },
    ];
    for item in &items {
        store.deliver(number, item.clone()).await.unwrap().unwrap();
    }
    let read: Vec<_> = store.inbox(number).await.into_iter().map(|row| row.item).collect();
    assert_eq!(read, items);
}

#[tokio::test]
async fn a_message_for_an_instance_that_has_ended_or_never_existed_is_refused() {
    let store = TestStore::new().await;
    assert_eq!(
        store.append(append("a", event("x")), None).await.unwrap(),
        AppendOutcome::Unknown
    );
    let number = store.ended("a").await;
    let outcome = store.append(append("a", event("x")), None).await.unwrap();
    assert_eq!(outcome, AppendOutcome::Ended(InstanceStatus::Completed));
    assert_eq!(store.deliver(number, event("x")).await.unwrap(), None);
    assert_eq!(store.deliver(InstanceNumber(999_999), event("x")).await.unwrap(), None);
    store.purge(TENANT, id("a")).await.unwrap();
    assert_eq!(
        store.append(append("a", event("x")), None).await.unwrap(),
        AppendOutcome::Unknown
    );
    assert_eq!(store.deliver(number, event("x")).await.unwrap(), None);
    assert_eq!(store.rows("inbox").await, 0);
}

#[tokio::test]
async fn a_message_for_an_old_incarnation_does_not_reach_the_new_one() {
    let store = TestStore::new().await;
    let old = store.ended("a").await;
    let new = store.running("a").await;
    assert_eq!(store.deliver(old, event("late")).await.unwrap(), None);
    assert_eq!(store.inbox(new).await, []);
}

#[tokio::test]
async fn a_repeated_message_with_the_same_key_is_appended_once() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    let outcome = store.append(append("a", event("x")), key("k", 1)).await.unwrap();
    assert!(matches!(outcome, AppendOutcome::Appended { .. }));
    assert_eq!(
        store.append(append("a", event("x")), key("k", 1)).await.unwrap(),
        AppendOutcome::Repeated
    );
    assert_eq!(
        store.append(append("a", event("y")), key("k", 2)).await.unwrap(),
        AppendOutcome::KeyReused
    );
    assert_eq!(store.inbox(number).await.len(), 1);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_named() {
    let store = TestStore::new().await;
    let number = store.started("a").await;
    store.damage("UPDATE inbox SET item = x'09'").await;
    let error = store.load(number).await.unwrap_err();
    assert!(
        matches!(&error, Error::Damaged(what) if what.contains(&format!("inbox of instance {number}"))),
        "{error}"
    );
}

#[tokio::test]
async fn the_newest_message_is_known_from_the_start() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    let first = store.deliver(number, event("one")).await.unwrap().unwrap();
    assert_eq!(store.newest_message(), first.seq);
    let store = store.crash().await;
    assert!(store.newest_message() >= first.seq);
    let second = store.deliver(number, event("two")).await.unwrap().unwrap();
    assert!(second.seq > first.seq);
    assert_eq!(store.newest_message(), second.seq);
}
