//! Deleting what nobody needs any more.

use super::*;

const HOUR_MS: u64 = 60 * 60 * 1000;

fn later(hours: u64) -> Timestamp {
    Timestamp(NOW.0 + hours * HOUR_MS)
}

#[tokio::test]
async fn a_sweep_deletes_no_more_than_it_is_told_to() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    for n in 2..50 {
        store.commit(turn(number, n, vec![], vec![])).await.unwrap();
    }
    store.commit(last_turn(number, 50)).await.unwrap();
    store.purge(TENANT, id("a")).await.unwrap();
    assert!(store.sweep(NOW, 20).await.unwrap());
    assert_eq!(store.rows("history").await, 30);
    assert!(store.sweep(NOW, 20).await.unwrap());
    assert_eq!(store.rows("history").await, 10);
    store.sweep_all(NOW).await;
    assert_eq!((store.rows("history").await, store.rows("garbage").await), (0, 0));
    assert!(!store.sweep(NOW, 20).await.unwrap());
}

#[tokio::test]
async fn keys_go_when_they_have_expired() {
    let store = TestStore::new().await;
    store.start(instance("a"), key("k", 1)).await.unwrap();
    store.sweep_all(Timestamp(NOW.0 + 1_000)).await;
    assert_eq!(store.rows("idempotency_keys").await, 1);
    store.sweep_all(Timestamp(NOW.0 + 1_001)).await;
    assert_eq!(store.rows("idempotency_keys").await, 0);
}

#[tokio::test]
async fn the_bytes_of_a_version_stay_while_anything_can_need_them() {
    let store = TestStore::new().await;
    let pinned = store.running("pinned").await;
    store
        .put_module(PutModule {
            at: later(1),
            ..put_module("orders", 2, &["Order"])
        })
        .await
        .unwrap();
    store.sweep_all(later(9)).await;
    assert_eq!(store.rows("module_bytes").await, 2);

    // An instance of another module, created while version 1 was current, may have scheduled a call to it.
    let other = NewInstance {
        module: ModuleNumber(2),
        ..instance("other")
    };
    store.start(other, None).await.unwrap();
    store.commit(last_turn(pinned, 2)).await.unwrap();
    store.sweep_all(later(9)).await;
    assert_eq!(store.rows("module_bytes").await, 2);

    let StartOutcome::AlreadyExists(_) = store.start(instance("other"), None).await.unwrap() else {
        panic!()
    };
    let number = store.tenant(TENANT).number(&id("other")).await.unwrap().unwrap();
    let mut end = last_turn(number, 1);
    end.summary.module = ModuleNumber(2);
    store.commit(end).await.unwrap();
    let young = NewInstance {
        module: ModuleNumber(2),
        created_at: later(2),
        ..instance("young")
    };
    store.start(young, None).await.unwrap();
    store.sweep_all(later(1)).await;
    assert_eq!(
        store.rows("module_bytes").await,
        2,
        "a turn that has just looked it up may commit a call to it"
    );
    store.sweep_all(later(9)).await;
    assert_eq!(store.module_bytes(ModuleNumber(1)).await.unwrap(), None);
    assert!(
        store.module_bytes(ModuleNumber(2)).await.unwrap().is_some(),
        "the current version always stays"
    );
    assert_eq!(
        store.details("pinned").await.unwrap().summary.module_digest,
        ModuleDigest([1; 32])
    );

    store
        .put_module(PutModule {
            at: later(9),
            ..put_module("orders", 1, &["Order"])
        })
        .await
        .unwrap();
    assert!(
        store.module_bytes(ModuleNumber(1)).await.unwrap().is_some(),
        "uploaded anew, it has its bytes again"
    );
    store.assert_sound().await;
}
