//! Starting instances.

use super::*;

over_every_backend! {
    with_module:
    a_start_creates_a_pending_instance_with_its_first_message,
    a_start_does_not_change_a_live_instance_with_its_id,
    the_first_of_two_starts_with_one_id_in_a_batch_wins,
    a_start_replaces_an_ended_instance_under_a_new_number,
    a_start_replaces_an_instance_that_ended_earlier_in_its_batch,
    a_repeated_start_with_the_same_key_gets_the_first_answer,
    a_key_that_an_earlier_version_stored_is_recognized,
    a_key_is_known_within_its_own_batch,
    an_expired_key_may_be_used_again,
    a_start_that_changed_nothing_does_not_use_up_its_key,
    numbers_are_not_reused_even_after_a_purge_and_a_crash,
}

async fn a_start_creates_a_pending_instance_with_its_first_message(store: TestStore) {
    let number = store.started("a").await;
    let record = store.load(number).await.unwrap().unwrap();
    assert_eq!((record.id.as_str(), record.function.as_str()), ("a", "Order"));
    assert_eq!(
        (record.status, record.last_turn),
        (InstanceStatus::Pending, TurnNumber::NONE)
    );
    let items: Vec<_> = record.inbox.into_iter().map(|row| row.item).collect();
    assert_eq!(items, [InboxItem::Start(Box::new(started("Order", None)))]);
    let details = store.details("a").await.unwrap();
    assert_eq!(details.input, Some(payload(r#"{"order": 7}"#)));
    assert_eq!(details.outcome, None);
    store.assert_sound().await;
}

async fn a_start_does_not_change_a_live_instance_with_its_id(store: TestStore) {
    let number = store.started("a").await;
    let outcome = store.start(instance("a"), None).await.unwrap();
    assert_eq!(outcome, StartOutcome::AlreadyExists(InstanceStatus::Pending));
    assert_eq!(store.inbox(number).await.len(), 1);
    assert_eq!(store.rows("instances").await, 1);
}

async fn the_first_of_two_starts_with_one_id_in_a_batch_wins(store: TestStore) {
    let outcomes = in_batches(
        &store,
        1,
        vec![store.start(instance("a"), None), store.start(instance("a"), None)],
    )
    .await;
    assert!(matches!(outcomes[0], Ok(StartOutcome::Created(_))));
    assert!(matches!(
        outcomes[1],
        Ok(StartOutcome::AlreadyExists(InstanceStatus::Pending))
    ));
    assert_eq!(store.rows("inbox").await, 1);
}

async fn a_start_replaces_an_ended_instance_under_a_new_number(store: TestStore) {
    let old = store.ended("a").await;
    let new = store.started("a").await;
    assert!(new > old);
    assert!(store.load(old).await.unwrap().is_none());
    assert_eq!(store.status("a").await, Some(InstanceStatus::Pending));
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("history").await, 0);
    assert_eq!(store.rows("inbox").await, 1);
    store.assert_sound().await;
}

async fn a_start_replaces_an_instance_that_ended_earlier_in_its_batch(store: TestStore) {
    let old = store.running("a").await;
    let batches = store.stats().batches;
    let (end, start) = tokio::join!(store.commit(last_turn(old, 2)), store.start(instance("a"), None));
    assert_eq!(store.stats().batches, batches + 1);
    assert!(!end.unwrap().instance_gone);
    assert!(matches!(start.unwrap(), StartOutcome::Created(new) if new > old));
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("history").await, 0);
    store.assert_sound().await;
}

async fn a_repeated_start_with_the_same_key_gets_the_first_answer(store: TestStore) {
    assert!(matches!(
        store.start(instance("a"), key("k", 1)).await.unwrap(),
        StartOutcome::Created(_)
    ));
    assert_eq!(
        store.start(instance("a"), key("k", 1)).await.unwrap(),
        StartOutcome::Repeated(id("a"))
    );
    assert_eq!(
        store.start(instance("drawn"), key("k", 1)).await.unwrap(),
        StartOutcome::Repeated(id("a"))
    );
    assert_eq!(
        store.start(instance("b"), key("k", 2)).await.unwrap(),
        StartOutcome::KeyReused
    );
    assert_eq!(store.rows("instances").await, 1);

    let other = NewInstance {
        tenant: TenantId(2),
        ..instance("a")
    };
    assert!(
        matches!(store.start(other, key("k", 3)).await.unwrap(), StartOutcome::Created(_)),
        "keys are a tenant's"
    );
}

async fn a_key_that_an_earlier_version_stored_is_recognized(store: TestStore) {
    // The only fingerprint that the earlier version stored is now the earlier fingerprint of the same request.
    let stored = [1, 2].map(|fingerprint| key("k", fingerprint).unwrap().earlier_fingerprint);
    let mut old = key("k", 7);
    old.as_mut().unwrap().fingerprint = stored[0];
    assert!(matches!(
        store.start(instance("a"), old).await.unwrap(),
        StartOutcome::Created(_)
    ));
    assert_eq!(
        store.start(instance("b"), key("k", 1)).await.unwrap(),
        StartOutcome::Repeated(id("a"))
    );
    assert_eq!(
        store.start(instance("b"), key("k", 2)).await.unwrap(),
        StartOutcome::KeyReused
    );
}

async fn a_key_is_known_within_its_own_batch(store: TestStore) {
    let asks = vec![
        store.start(instance("a"), key("k", 1)),
        store.start(instance("b"), key("k", 1)),
        store.start(instance("c"), key("k", 2)),
    ];
    let outcomes = in_batches(&store, 1, asks).await;
    assert!(matches!(outcomes[0], Ok(StartOutcome::Created(_))));
    assert!(matches!(&outcomes[1], Ok(StartOutcome::Repeated(first)) if *first == id("a")));
    assert!(matches!(outcomes[2], Ok(StartOutcome::KeyReused)));
}

async fn an_expired_key_may_be_used_again(store: TestStore) {
    store.start(instance("a"), key("k", 1)).await.unwrap();
    let later = NewInstance {
        created_at: Timestamp(NOW.0 + 1_001),
        ..instance("b")
    };
    assert!(matches!(
        store.start(later, key("k", 2)).await.unwrap(),
        StartOutcome::Created(_)
    ));
    assert_eq!(store.rows("idempotency_keys").await, 1);
}

async fn a_start_that_changed_nothing_does_not_use_up_its_key(store: TestStore) {
    store.started("a").await;
    let outcome = store.start(instance("a"), key("k", 1)).await.unwrap();
    assert_eq!(outcome, StartOutcome::AlreadyExists(InstanceStatus::Pending));
    assert!(matches!(
        store.start(instance("b"), key("k", 2)).await.unwrap(),
        StartOutcome::Created(_)
    ));
}

async fn numbers_are_not_reused_even_after_a_purge_and_a_crash(store: TestStore) {
    let first = store.ended("a").await;
    assert_eq!(store.purge(TENANT, id("a")).await.unwrap(), PurgeOutcome::Purged);
    let store = store.crash().await;
    let second = store.started("a").await;
    assert!(second > first);
    let seq = store.inbox(second).await[0].seq;
    let store = store.reopen().await;
    assert!(store.started("b").await > second);
    let row = store.deliver(second, event("go")).await.unwrap().unwrap();
    assert!(row.seq > seq);
}
