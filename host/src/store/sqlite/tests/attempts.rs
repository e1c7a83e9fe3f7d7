//! Attempts stored by older hosts, which kept all attempts of a task.

use super::*;
use crate::store::{
    sqlite::migrate::MIGRATIONS,
    tests::{
        attempts_and_logs::{calling, so_far},
        queries::history_page,
    },
};

#[tokio::test]
async fn excess_attempts_of_older_hosts_are_pruned_in_small_batches() {
    let store = TestStore::new().await;
    let (number, ended) = (calling(&store, &[1, 2]).await, store.ended("b").await);
    let place = store.closed().await;
    // As an older host left it: 95 attempts of one task, 10 of another, 11 in an instance that has ended.
    let mut connection = place.connect().await;
    for (instance, task, attempts) in [(number, 1, 95), (number, 2, 10), (ended, 1, 11)] {
        for ordinal in 1..=attempts {
            let failure = codec::encode(&attempt(task, ordinal).failure);
            let bytes = i64::try_from(failure.len()).unwrap() + 32;
            sqlx::query(
                "INSERT INTO attempts (partition, instance, execution, task, ordinal, number, cut_off, failure, fuel,
                    started_at_ms, ended_at_ms, next_at_ms)
                 VALUES (0, ?, 1, ?, ?, ?, 0, ?, 5, 1, 2, 3)",
            )
            .bind(i64::try_from(instance.0).unwrap())
            .bind(task)
            .bind(ordinal)
            .bind(ordinal)
            .bind(failure)
            .execute(&mut connection)
            .await
            .unwrap();
            for counted in [
                "UPDATE instances SET execution_bytes = execution_bytes + ?1 WHERE instance = ?2",
                "UPDATE tenants SET stored_bytes = stored_bytes + ?1 WHERE tenant = 1 AND ?2 > 0",
            ] {
                sqlx::query(counted)
                    .bind(bytes)
                    .bind(i64::try_from(instance.0).unwrap())
                    .execute(&mut connection)
                    .await
                    .unwrap();
            }
        }
    }
    sqlx::query("DROP TABLE attempts_to_prune")
        .execute(&mut connection)
        .await
        .unwrap();
    let migration = MIGRATIONS
        .iter()
        .find(|migration| migration.contains("CREATE TABLE attempts_to_prune"));
    sqlx::raw_sql(*migration.unwrap())
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::Connection::close(connection).await.unwrap();

    let store = TestStore::empty(place).await;
    let before = store.stored_bytes(TENANT);
    assert_eq!(store.rows("attempts_to_prune").await, 2);
    let noted = so_far(&store, number, 1).await;
    assert_eq!((noted.noted, noted.failed), (95, 95));
    // An attempt that is added between two sweeps does not disturb the pruning.
    assert!(store.sweep(NOW, 20).await.unwrap());
    assert_eq!(store.rows("attempts").await, 96);
    store
        .note_attempt(number, attempt(1, 96), vec![], u64::MAX, None)
        .await
        .unwrap();
    store.sweep_all(NOW).await;
    assert_eq!(
        (store.rows("attempts").await, store.rows("attempts_to_prune").await),
        (30, 0)
    );
    assert!(store.stored_bytes(TENANT) < before);
    store.assert_sound().await;
    let page = history_page(&store, "a", HistoryFrom::Turn(TurnNumber::NONE), 10).await;
    assert_eq!(page.attempt_totals, BTreeMap::from([(TaskId(1), 96), (TaskId(2), 10)]));
    assert_eq!(page.attempts.len(), 20);
}
