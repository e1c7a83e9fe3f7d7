//! A database file that has reached its maximum size.

use super::*;

#[tokio::test]
async fn a_full_disk_leaves_no_partial_commit_and_work_continues_when_there_is_room() {
    let limit = 600 * 1024;
    let store = TestStore::open(Place::folder(), |options| options.max_bytes = Some(limit)).await;
    store.put_module(put_module("orders", 1, &["Order"])).await.unwrap();
    let (big, text) = (store.running("big").await, format!("\"{}\"", "x".repeat(20_000)));
    let mut last = 1;
    let error = loop {
        let mut commit = turn(big, last + 1, vec![task_ended(1, Ok(payload(&text)))], vec![]);
        commit.messages = vec![OutboundMessage {
            to: Recipient::Number(big),
            item: event("self"),
        }];
        match store.commit(commit).await {
            Ok(_) => last += 1,
            Err(error) => break error,
        }
        assert!(last < 100, "the limit is never reached");
    };
    assert!(matches!(error, Error::Database(_)), "{error}");
    let turns = store
        .history(big, ExecutionNumber::FIRST, TurnNumber::NONE, 1_000)
        .await
        .unwrap();
    assert_eq!(turns.len(), last as usize);
    assert_eq!(store.rows("events").await, i64::from(last) - 1);
    assert_eq!(store.load(big).await.unwrap().unwrap().last_turn, TurnNumber(last));

    let mut end = turn(big, last + 1, vec![], vec![]);
    end.summary.status = InstanceStatus::Completed;
    store.commit(end).await.expect("a small commit still fits");
    assert_eq!(store.purge(TENANT, id("big")).await.unwrap(), PurgeOutcome::Purged);
    store.sweep_all(NOW).await;
    let again = store.running("again").await;
    let commit = turn(again, 2, vec![task_ended(1, Ok(payload(&text)))], vec![]);
    store.commit(commit).await.expect("freed pages are reused");
    store.assert_sound().await;
}
