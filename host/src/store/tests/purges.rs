//! Deleting instances that have ended.

use super::*;

#[tokio::test]
async fn a_purge_takes_an_ended_instance_out_of_sight_and_the_sweep_takes_its_rows() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    store
        .note_attempt(number, attempt(1, 1), vec![], u64::MAX, None)
        .await
        .unwrap();
    store.deliver(number, event("late")).await.unwrap();
    store.commit(last_turn(number, 2)).await.unwrap();
    assert_eq!(store.purge(TENANT, id("a")).await.unwrap(), PurgeOutcome::Purged);
    assert_eq!(store.status("a").await, None);
    assert!(store.load(number).await.unwrap().is_none());
    assert_eq!(store.rows("history").await, 2, "left for the sweep");
    store.sweep_all(NOW).await;
    for table in ["instances", "history", "inbox", "attempts", "garbage"] {
        assert_eq!(store.rows(table).await, 0, "{table}");
    }
    store.assert_sound().await;
}

#[tokio::test]
async fn only_what_exists_and_has_ended_is_purged() {
    let store = TestStore::new().await;
    assert_eq!(store.purge(TENANT, id("a")).await.unwrap(), PurgeOutcome::Unknown);
    store.running("a").await;
    assert_eq!(
        store.purge(TENANT, id("a")).await.unwrap(),
        PurgeOutcome::NotEnded(InstanceStatus::Running)
    );
    store.ended("b").await;
    assert_eq!(store.purge(TenantId(2), id("b")).await.unwrap(), PurgeOutcome::Unknown);
    assert_eq!(store.rows("instances").await, 2);
}

#[tokio::test]
async fn a_purged_id_can_be_started_again_as_if_it_were_new() {
    let store = TestStore::new().await;
    let old = store.ended("a").await;
    store.purge(TENANT, id("a")).await.unwrap();
    let new = store.running("a").await;
    assert!(new > old);
    store.sweep_all(NOW).await;
    let turns = store
        .history(new, ExecutionNumber::FIRST, TurnNumber::NONE, 10)
        .await
        .unwrap();
    assert_eq!(turns.len(), 1, "the sweep of the old one spares the new one");
    assert_eq!(store.rows("history").await, 1);
}

#[tokio::test]
async fn many_are_purged_in_pieces_by_status_and_age() {
    let store = TestStore::new().await;
    for n in 0..5 {
        store.ended(&format!("ended-{n}")).await;
    }
    store.running("running").await;
    let young = store.running("young").await;
    let mut commit = last_turn(young, 2);
    commit.summary.updated_at = Timestamp(NOW.0 + 100);
    store.commit(commit).await.unwrap();

    let mut purge = PurgeMany {
        tenant: TENANT,
        statuses: vec![InstanceStatus::Failed],
        ended_before: Timestamp(NOW.0 + 50),
        after: None,
        limit: 2,
    };
    assert_eq!(
        store.purge_many(purge.clone()).await.unwrap(),
        PurgedMany { purged: 0, next: None }
    );
    purge.statuses = vec![InstanceStatus::Running, InstanceStatus::Completed];
    let mut purged = Vec::new();
    loop {
        let done = store.purge_many(purge.clone()).await.unwrap();
        purged.push(done.purged);
        purge.after = done.next;
        if done.next.is_none() {
            break;
        }
    }
    assert_eq!(purged, [2, 2, 1]);
    assert_eq!(store.rows("instances").await, 2);
    assert_eq!(store.status("running").await, Some(InstanceStatus::Running));
    assert_eq!(store.status("young").await, Some(InstanceStatus::Completed));
}
