//! Backups of a database in use.

use std::{fs::File, os::unix::fs::PermissionsExt};

use super::*;
use crate::store::{Backup, backup};

/// The names of the files in a folder, sorted.
fn names_in(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_of_a_database_in_use_can_replace_it() {
    let store = TestStore::new().await;
    let running = store.running("running").await;
    store.ended("ended").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("windlass.db");
    let found = backup(store.place.path(), &file).await.unwrap();
    assert_eq!(found.instances, 2);
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!(metadata.len(), found.bytes);
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    // Later changes are not in the copy.
    store.started("later").await;

    let restored = TestStore::empty(Place::Folder(folder)).await;
    assert_eq!(restored.status("later").await, None);
    assert_eq!(restored.status("ended").await, Some(InstanceStatus::Completed));
    restored.commit(last_turn(running, 2)).await.unwrap();
    restored.assert_sound().await;
    store.assert_sound().await;
}

#[tokio::test]
async fn each_backup_during_writes_is_consistent() {
    let store = TestStore::new().await;
    let copies = tempfile::tempdir().unwrap();
    let writes = async {
        for n in 0..200 {
            store.ended(&format!("i{n}")).await;
        }
    };
    let reads = async {
        let mut found = Vec::new();
        for n in 0..5 {
            let file = copies.path().join(format!("{n}.db"));
            found.push(backup(store.place.path(), &file).await.unwrap());
        }
        found
    };
    let ((), found) = tokio::join!(writes, reads);
    for (n, Backup { instances, .. }) in found.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(copies.path().join(format!("{n}.db")), folder.path().join("windlass.db")).unwrap();
        let restored = TestStore::empty(Place::Folder(folder)).await;
        assert_eq!(restored.rows("instances").await, i64::try_from(instances).unwrap());
        restored.assert_sound().await;
    }
}

#[tokio::test]
async fn a_failed_backup_overwrites_nothing_and_leaves_no_partial_copy() {
    let store = TestStore::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("there.db");
    std::fs::write(&file, "precious").unwrap();
    let error = backup(store.place.path(), &file).await.unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");

    let empty = tempfile::tempdir().unwrap();
    let target = folder.path().join("copy.db");
    let error = backup(empty.path(), &target).await.unwrap_err();
    assert!(error.to_string().contains("there is no"), "{error}");
    std::fs::write(empty.path().join("windlass.db"), "not a database".repeat(100)).unwrap();
    backup(empty.path(), &target).await.unwrap_err();
    let error = backup(store.place.path(), &folder.path().join("no/such/folder.db"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Backup(_)), "{error}");
    assert_eq!(names_in(folder.path()), ["there.db"]);
}

#[tokio::test]
async fn partial_copies_of_killed_backups_are_removed() {
    let store = TestStore::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.db");
    // Earlier versions used the process id in the name; in a container, process ids repeat.
    let stale = format!("x.db.partial-{}", std::process::id());
    for name in [stale.as_str(), "x.db.partial-5f0pQ7", "y.db.partial-5f0pQ7"] {
        std::fs::write(folder.path().join(name), "half a copy").unwrap();
    }
    let held = File::create(folder.path().join("x.db.partial-held")).unwrap();
    held.try_lock().unwrap();
    std::fs::create_dir(folder.path().join("x.db.partial-folder")).unwrap();

    backup(store.place.path(), &file).await.unwrap();
    assert_eq!(
        names_in(folder.path()),
        [
            "x.db",
            "x.db.partial-folder",
            "x.db.partial-held",
            "y.db.partial-5f0pQ7"
        ],
        "the file of a running backup and partial copies of another target stay"
    );
}

#[tokio::test]
async fn a_file_that_appears_during_a_backup_is_not_overwritten() {
    let store = TestStore::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.db");
    // A dangling link: the file does not exist when the link is followed, but the name is taken.
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &file).unwrap();
    let error = backup(store.place.path(), &file).await.unwrap_err();
    assert!(error.to_string().contains("x.db already exists"), "{error}");
    assert_eq!(names_in(folder.path()), ["x.db"], "no partial copy is left");
}
