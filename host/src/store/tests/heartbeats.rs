//! The last heartbeats of calls.

use super::{
    attempts_and_logs::{calling, so_far},
    queries::history_page,
    *,
};

over_every_backend! {
    with_module:
    the_last_heartbeat_of_a_call_replaces_the_earlier_one_and_is_counted,
    a_heartbeat_is_stored_only_for_the_current_execution_of_a_live_instance,
    heartbeats_are_deleted_with_their_instance,
}

fn heartbeat(task: u32, details: &str) -> Heartbeat {
    Heartbeat {
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
        details: Payload::parse(details, 1_000).unwrap(),
        at: NOW,
    }
}

async fn last(store: &TestStore, number: InstanceNumber, task: u32) -> Option<Heartbeat> {
    let found = store.heartbeat(number, ExecutionNumber::FIRST, TaskId(task)).await;
    found.unwrap()
}

async fn the_last_heartbeat_of_a_call_replaces_the_earlier_one_and_is_counted(store: TestStore) {
    let number = calling(&store, &[1, 2]).await;
    let before = store.stored_bytes(TENANT);
    assert_eq!(last(&store, number, 1).await, None);
    assert!(!so_far(&store, number, 1).await.has_heartbeat);
    for details in ["1.0", "{\"page\": 12}", "\"ä\""] {
        assert!(store.note_heartbeat(number, heartbeat(1, details)).await.unwrap());
        assert_eq!(last(&store, number, 1).await, Some(heartbeat(1, details)));
        assert_eq!(store.stored_bytes(TENANT), before + details.len() as u64 + ROW_BYTES);
        store.assert_sound().await;
    }
    assert!(so_far(&store, number, 1).await.has_heartbeat);
    assert!(!so_far(&store, number, 2).await.has_heartbeat);
    assert_eq!(store.rows("heartbeats").await, 1);
    // A host that takes over reads what is stored of the calls.
    assert!(store.load(number).await.unwrap().unwrap().has_attempts);
    let page = history_page(&store, "a", HistoryFrom::Turn(TurnNumber::NONE), 10).await;
    assert_eq!(page.heartbeats, [heartbeat(1, "\"ä\"")]);
    // Several in one batch.
    let noted = tokio::join!(
        store.note_heartbeat(number, heartbeat(1, "1")),
        store.note_heartbeat(number, heartbeat(2, "22")),
        store.note_heartbeat(number, heartbeat(1, "333")),
    );
    assert!(noted.0.unwrap() && noted.1.unwrap() && noted.2.unwrap());
    assert_eq!(last(&store, number, 1).await, Some(heartbeat(1, "333")));
    assert_eq!(store.stored_bytes(TENANT), before + 5 + 2 * ROW_BYTES);
    store.assert_sound().await;
}

async fn a_heartbeat_is_stored_only_for_the_current_execution_of_a_live_instance(store: TestStore) {
    let number = calling(&store, &[1]).await;
    let other = Heartbeat {
        execution: ExecutionNumber(2),
        ..heartbeat(1, "1")
    };
    assert!(!store.note_heartbeat(number, other).await.unwrap());
    let unknown = InstanceNumber(999_999);
    assert!(!store.note_heartbeat(unknown, heartbeat(1, "1")).await.unwrap());
    let ended = store.ended("b").await;
    assert!(!store.note_heartbeat(ended, heartbeat(1, "1")).await.unwrap());
    assert_eq!(store.rows("heartbeats").await, 0);
    store.assert_sound().await;
}

async fn heartbeats_are_deleted_with_their_instance(store: TestStore) {
    let number = calling(&store, &[1]).await;
    assert!(store.note_heartbeat(number, heartbeat(1, "1")).await.unwrap());
    store.commit(last_turn(number, 3)).await.unwrap();
    let purged = store.purge(TENANT, "a".parse().unwrap()).await.unwrap();
    assert_eq!(purged, PurgeOutcome::Purged);
    store.assert_sound().await;
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("heartbeats").await, 0);
    store.assert_sound().await;
}
