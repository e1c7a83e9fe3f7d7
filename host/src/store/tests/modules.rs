//! Modules and their versions.

use super::*;

over_every_backend! {
    empty:
    a_module_is_found_by_name_and_by_number,
    uploading_the_same_bytes_again_changes_nothing,
    a_new_version_supersedes_the_old_one_and_takes_over_its_functions,
    a_function_belongs_to_one_module_of_a_tenant,
    deleting_a_module_frees_its_functions_but_instances_on_it_continue,
    compiled_code_and_descriptions_count_as_stored_while_the_bytes_of_the_version_are_kept,
}

async fn put(store: &TestStore, put: PutModule) -> (ModuleNumber, bool) {
    match store.put_module(put).await.unwrap() {
        PutModuleOutcome::Stored { number, new } => (number, new),
        other => panic!("not stored: {other:?}"),
    }
}

async fn a_module_is_found_by_name_and_by_number(store: TestStore) {
    let module = put_module("orders", 1, &["Order"]);
    let (number, new) = put(&store, module.clone()).await;
    assert!(new);
    let version = store.module(number).await.unwrap().unwrap();
    assert_eq!(
        (version.name.as_str(), version.digest, version.size),
        ("orders", module.digest, 10)
    );
    assert_eq!(
        (version.description.clone(), version.superseded_at),
        (module.description, None)
    );
    assert_eq!(store.module_bytes(number).await.unwrap(), Some(module.bytes));
    let tenant = store.tenant(TENANT);
    assert_eq!(tenant.module("orders").await.unwrap(), Some(version.clone()));
    assert_eq!(tenant.modules(None, 100).await.unwrap().modules, [version]);
    assert_eq!(tenant.module("others").await.unwrap(), None);
    assert_eq!(store.module(ModuleNumber(99)).await.unwrap(), None);
    assert_eq!(store.module_bytes(ModuleNumber(99)).await.unwrap(), None);
    assert_eq!(store.tenant(TenantId(2)).modules(None, 100).await.unwrap().modules, []);
}

async fn uploading_the_same_bytes_again_changes_nothing(store: TestStore) {
    let (first, _) = put(&store, put_module("orders", 1, &["Order"])).await;
    let later = PutModule {
        at: Timestamp(NOW.0 + 1),
        ..put_module("orders", 1, &["Order"])
    };
    assert_eq!(put(&store, later).await, (first, false));
    assert_eq!(store.module(first).await.unwrap().unwrap().uploaded_at, NOW);
    assert_eq!(store.rows("modules").await, 1);
}

async fn a_new_version_supersedes_the_old_one_and_takes_over_its_functions(store: TestStore) {
    let (old, _) = put(&store, put_module("orders", 1, &["Order", "Gone"])).await;
    let later = Timestamp(NOW.0 + 1);
    let (new, _) = put(
        &store,
        PutModule {
            at: later,
            ..put_module("orders", 2, &["Order", "More"])
        },
    )
    .await;
    assert_ne!(old, new);
    assert_eq!(store.module(old).await.unwrap().unwrap().superseded_at, Some(later));
    assert_eq!(
        store.tenant(TENANT).module("orders").await.unwrap().unwrap().number,
        new
    );
    assert!(
        store.module_bytes(old).await.unwrap().is_some(),
        "instances may still run on it"
    );
    put(&store, put_module("others", 3, &["Gone"])).await;

    let (back, changed) = put(&store, put_module("orders", 1, &["Order"])).await;
    assert_eq!(
        (back, changed),
        (old, true),
        "an old version can become the current one again"
    );
    assert_eq!(store.module(old).await.unwrap().unwrap().superseded_at, None);
}

async fn a_function_belongs_to_one_module_of_a_tenant(store: TestStore) {
    put(&store, put_module("orders", 1, &["Order"])).await;
    let outcome = store
        .put_module(put_module("others", 2, &["Fine", "Order"]))
        .await
        .unwrap();
    let taken = PutModuleOutcome::FunctionTaken {
        function: "Order".parse().unwrap(),
        module: "orders".into(),
    };
    assert_eq!(outcome, taken);
    assert_eq!((store.rows("modules").await, store.rows("functions").await), (1, 1));

    let mut activity = put_module("activities", 2, &["Order"]);
    activity.description.kind = FunctionKind::Activity;
    put(&store, activity).await;
    let other = Change::CreateTenant {
        name: "other".parse().unwrap(),
        quotas: "{}".into(),
        at: NOW,
    };
    let Changed::Done(Some(other)) = store.administer(other).await.unwrap() else {
        panic!("not created")
    };
    put(
        &store,
        PutModule {
            tenant: other,
            ..put_module("others", 2, &["Order"])
        },
    )
    .await;
}

async fn deleting_a_module_frees_its_functions_but_instances_on_it_continue(store: TestStore) {
    put(&store, put_module("orders", 1, &["Order", "Child"])).await;
    let number = store.running("a").await;
    assert!(store.delete_module(TENANT, "orders", NOW).await.unwrap());
    assert!(!store.delete_module(TENANT, "orders", NOW).await.unwrap());
    assert_eq!(store.tenant(TENANT).modules(None, 100).await.unwrap().modules, []);
    put(&store, put_module("others", 2, &["Order"])).await;
    assert!(store.module_bytes(ModuleNumber(1)).await.unwrap().is_some());
    store.commit(last_turn(number, 2)).await.unwrap();
    assert_eq!(
        store.details("a").await.unwrap().summary.module_digest,
        ModuleDigest([1; 32])
    );
    store.assert_sound().await;
}

async fn compiled_code_and_descriptions_count_as_stored_while_the_bytes_of_the_version_are_kept(store: TestStore) {
    let first = put_module("orders", 1, &["Order"]);
    let second = PutModule {
        compiled_bytes: 7_000,
        ..put_module("orders", 2, &["Order", "Child"])
    };
    let (of_first, of_second) = (first.counted_bytes(), second.counted_bytes());
    assert!((5_010..5_100).contains(&of_first), "{of_first}");
    put(&store, first.clone()).await;
    put(&store, first).await;
    assert_eq!(store.stored_bytes(TENANT), of_first);
    put(&store, second).await;
    assert_eq!(store.stored_bytes(TENANT), of_first + of_second);
    store.assert_sound().await;

    let other = Change::CreateTenant {
        name: "other".parse().unwrap(),
        quotas: "{}".into(),
        at: NOW,
    };
    let Changed::Done(Some(other)) = store.administer(other).await.unwrap() else {
        panic!("not created")
    };
    let of_other = PutModule {
        tenant: other,
        ..put_module("orders", 1, &["Order"])
    };
    put(&store, of_other).await;
    assert_eq!(
        store.stored_bytes(other),
        of_first,
        "the same bytes count for each tenant"
    );

    let later = Timestamp(NOW.0 + 60 * 60 * 1_000);
    let old = store.next_old_version(None, later).await.unwrap().unwrap();
    // In one batch with statements of their own before and after: no count is lost in between.
    let (deleted, swept, again) = tokio::join!(
        store.delete_module_bytes(old),
        store.sweep(NOW, 10),
        store.delete_module_bytes(old)
    );
    assert_eq!((deleted.unwrap(), swept.unwrap(), again.unwrap()), (true, false, false));
    assert_eq!(store.stored_bytes(TENANT), of_second);
    let version = store.module(old.number).await.unwrap().unwrap();
    assert_eq!(version.description.functions, [], "nothing can call it any more");
    store.assert_sound().await;
    let digests = [1, 2].map(|content| ModuleDigest([content; 32]));
    let kept = store.kept_digests(None, 100).await.unwrap();
    assert_eq!(
        kept.iter().map(|(_, digest)| *digest).collect::<Vec<_>>(),
        [digests[1], digests[0]]
    );
    assert_eq!(store.kept_digests(Some(kept[0].0), 1).await.unwrap(), kept[1..]);

    let store = store.crash().await;
    assert_eq!(store.stored_bytes(TENANT), of_second);
    assert_eq!(
        store.administer(Change::DeleteTenant(other)).await.unwrap(),
        Changed::Done(None)
    );
    assert_eq!(store.kept_digests(None, 100).await.unwrap(), kept[..1]);
    store.assert_sound().await;
}
