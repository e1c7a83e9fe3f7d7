//! Deleting garbage.

use super::*;

over_every_backend! {
    with_module:
    a_sweep_deletes_at_most_its_limit,
    a_sweep_of_large_rows_deletes_only_some_megabytes,
    expired_keys_are_deleted,
    instances_that_may_need_an_old_version_are_found_in_pieces,
}

const HOUR_MS: u64 = 60 * 60 * 1000;

fn later(hours: u64) -> Timestamp {
    Timestamp(NOW.0 + hours * HOUR_MS)
}

async fn a_sweep_deletes_at_most_its_limit(store: TestStore) {
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

async fn a_sweep_of_large_rows_deletes_only_some_megabytes(store: TestStore) {
    const MIB: usize = 1 << 20;
    let number = store.running("a").await;
    for n in 2..40 {
        let event = Event {
            name: "large".parse().unwrap(),
            payload: payload(&format!("{:?}", "x".repeat(MIB))),
        };
        let commit = turn(number, n, vec![Arrival::EventRaised(event)], vec![]);
        store.commit(commit).await.unwrap();
    }
    store.commit(last_turn(number, 40)).await.unwrap();
    store.purge(TENANT, id("a")).await.unwrap();
    let mut left = vec![store.rows("history").await];
    while store.sweep(NOW, 1_000).await.unwrap() {
        left.push(store.rows("history").await);
    }
    assert_eq!(left[..4], [40, 37, 35, 33]);
    assert!(
        left.is_sorted_by(|before, after| *before == after + 2 || *before == 40),
        "{left:?}"
    );
    assert_eq!((store.rows("history").await, store.rows("garbage").await), (0, 0));
}

async fn expired_keys_are_deleted(store: TestStore) {
    store.start(instance("a"), key("k", 1)).await.unwrap();
    store.sweep_all(Timestamp(NOW.0 + 1_000)).await;
    assert_eq!(store.rows("idempotency_keys").await, 1);
    store.sweep_all(Timestamp(NOW.0 + 1_001)).await;
    assert_eq!(store.rows("idempotency_keys").await, 0);
}

async fn instances_that_may_need_an_old_version_are_found_in_pieces(store: TestStore) {
    let pinned = store.running("pinned").await;
    let again = PutModule {
        at: later(1),
        ..put_module("orders", 2, &["Order"])
    };
    store.put_module(again).await.unwrap();
    let version = async |hours| store.next_old_version(None, later(hours)).await.unwrap();
    assert_eq!(
        version(1).await,
        None,
        "a turn that has just looked up the version may commit a call to it"
    );
    let old = version(2).await.unwrap();
    assert_eq!((old.number, old.superseded_at), (ModuleNumber(1), later(1)));
    assert_eq!(store.next_old_version(Some(old.number), later(2)).await.unwrap(), None);

    // Runs on the new version, but may have made its call before.
    let caller = NewInstance {
        module: ModuleNumber(2),
        ..instance("caller")
    };
    let StartOutcome::Created(caller) = store.start(caller, None).await.unwrap() else {
        panic!("not created")
    };
    let mut called = first_turn(caller, store.inbox(caller).await);
    called.summary.module = ModuleNumber(2);
    store.commit(called).await.unwrap();
    // Not possible users: created too late, waiting for no activity, ended.
    let young = NewInstance {
        module: ModuleNumber(2),
        created_at: later(2),
        ..instance("young")
    };
    let idle = NewInstance {
        module: ModuleNumber(2),
        ..instance("idle")
    };
    for other in [young, idle] {
        store.start(other, None).await.unwrap();
    }
    store.ended("ended").await;
    let users = store.possible_users(&old, None).await.unwrap();
    let found: Vec<_> = users
        .instances
        .iter()
        .map(|user| (user.instance, user.runs_on_it))
        .collect();
    assert_eq!((found, users.next), (vec![(pinned, true), (caller, false)], None));
    let users = store.possible_users(&old, Some(pinned)).await.unwrap();
    assert_eq!(users.instances.len(), 1);

    assert!(store.delete_module_bytes(old).await.unwrap());
    assert_eq!(store.module_bytes(ModuleNumber(1)).await.unwrap(), None);
    assert_eq!(
        store.details("ended").await.unwrap().summary.module_digest,
        ModuleDigest([1; 32])
    );
    let back = PutModule {
        at: later(9),
        ..put_module("orders", 1, &["Order"])
    };
    store.put_module(back).await.unwrap();
    assert!(
        store.module_bytes(ModuleNumber(1)).await.unwrap().is_some(),
        "uploaded anew, it has its bytes again"
    );
    store.assert_sound().await;
}
