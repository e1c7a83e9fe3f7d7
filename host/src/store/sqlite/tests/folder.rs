//! The data folder: creating, opening, closing and checking it.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn unusable(result: Result<(Store, StoreService), Error>) -> String {
    match result {
        Err(Error::Unusable(why)) => why,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("the folder was opened"),
    }
}

#[tokio::test]
async fn the_first_start_creates_the_folder_for_its_owner_only() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("some/where");
    let (_store, _service) = Store::open(&StoreOptions::new(&folder)).await.unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(folder.join("windlass.db").exists());
}

#[tokio::test]
async fn two_hosts_cannot_share_a_folder() {
    let store = TestStore::new().await;
    let options = StoreOptions::new(store.place.path());
    let why = unusable(Store::open(&options).await);
    assert!(why.contains("another host is using"), "{why}");
    let store = store.reopen().await;
    store.started("a").await;
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("windlass.db"),
        "not a database, but long enough to be taken for one".repeat(9),
    )
    .unwrap();
    unusable(Store::open(&StoreOptions::new(folder.path())).await);

    let store = TestStore::empty(Place::folder()).await;
    store.damage("UPDATE counters SET reserved = reserved").await;
    let place = store.closed().await;
    pragma(&place, "PRAGMA application_id = 1").await;
    let why = unusable(Store::open(&StoreOptions::new(place.path())).await);
    assert!(why.contains("not a database of Windlass"), "{why}");
}

#[tokio::test]
async fn a_database_of_a_newer_host_is_refused() {
    let place = TestStore::empty(Place::folder()).await.closed().await;
    pragma(&place, "PRAGMA user_version = 99").await;
    let why = unusable(Store::open(&StoreOptions::new(place.path())).await);
    assert!(why.contains("newer host"), "{why}");
}

async fn pragma(place: &Place, statement: &'static str) {
    let mut connection = place.connect().await;
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test]
async fn a_clean_shutdown_answers_the_queue_and_removes_the_log() {
    let store = TestStore::new().await;
    let asks: Vec<_> = (0..300)
        .map(|n| {
            let store = store.store.clone();
            tokio::spawn(async move { store.start(instance(&format!("i{n}")), None).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let place = store.closed().await;
    let mut created = 0;
    for ask in asks {
        match ask.await.unwrap() {
            Ok(StartOutcome::Created(_)) => created += 1,
            Err(Error::Closed) => {}
            other => panic!("neither written nor refused: {other:?}"),
        }
    }
    assert!(!place.path().join("windlass.db-wal").exists());
    let store = TestStore::empty(place).await;
    assert_eq!(store.rows("instances").await, created);
}

#[tokio::test]
async fn the_service_ends_when_the_last_handle_is_dropped() {
    let TestStore {
        place: _place,
        store,
        service,
        stop: _stop,
    } = TestStore::new().await;
    drop(store);
    service.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_check_finds_damaged_and_missing_rows() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    store.assert_sound().await;
    store.damage("UPDATE history SET body = x'01ff'").await;
    let problems = store.check().await.unwrap();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with(&format!("turn 1 of execution 1 of instance {number}: ")),
        "{problems:?}"
    );
    store.damage("DELETE FROM history").await;
    store.damage("DELETE FROM module_bytes").await;
    let problems = store.check().await.unwrap();
    assert_eq!(problems.len(), 4, "{problems:?}");
}

#[tokio::test]
async fn a_probe_reaches_the_disk() {
    let store = TestStore::new().await;
    let mut observer = store.place.connect().await;
    let mut version = async || -> i64 {
        sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(&mut observer)
            .await
            .unwrap()
    };
    let before = version().await;
    store.sweep(NOW, 10).await.unwrap();
    assert_eq!(version().await, before, "a sweep that deletes nothing writes nothing");
    store.probe().await.unwrap();
    assert_ne!(version().await, before);
    assert!(store.started("next").await >= InstanceNumber(1));
}
