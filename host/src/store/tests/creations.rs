//! Instances that are created by the commit of their first step.

use super::*;

over_every_backend! {
    with_module:
    an_instance_is_created_with_its_first_turn,
    an_instance_created_without_a_turn_has_its_start_in_the_inbox,
    a_creation_is_refused_like_a_start,
    the_first_of_two_creations_with_one_id_in_a_batch_wins,
    a_creation_replaces_an_ended_instance,
    a_repeated_creation_is_refused_after_the_instance_has_ended,
    a_creation_that_the_database_rejects_leaves_nothing_and_does_not_fail_its_neighbours,
    numbers_are_never_allocated_twice,
    a_repeated_creation_is_refused_after_the_instance_was_purged,
    an_instance_can_be_created_ended_and_purged_in_one_batch,
}

/// The first commit of an instance that is not stored: its first turn calls an activity.
fn creation(store: &TestStore, name: &str, key: Option<IdempotencyKey>) -> TurnCommit {
    let creation = Creation {
        instance: instance(name),
        key,
        tags: Tags::default(),
    };
    let start = InboxRow {
        seq: InboxSeq(0),
        item: InboxItem::Start(Box::new(creation.instance.started.clone())),
    };
    let mut commit = first_turn(store.new_number(TENANT, &id(name)), vec![start]);
    commit.consumed.clear();
    commit.creation = Some(Box::new(creation));
    commit
}

async fn an_instance_is_created_with_its_first_turn(store: TestStore) {
    let commit = creation(&store, "a", None);
    let number = commit.instance;
    let receipt = store.commit(commit).await.unwrap();
    assert_eq!(receipt, TurnReceipt::default());
    let record = store.load(number).await.unwrap().unwrap();
    assert_eq!(
        (
            record.status,
            record.last_turn,
            record.inbox.len(),
            record.first_turns.len()
        ),
        (InstanceStatus::Running, TurnNumber(1), 0, 1)
    );
    assert_eq!((record.created_at, record.fuel), (NOW, 1_000));
    assert_eq!(
        store.details("a").await.unwrap().input,
        Some(payload(r#"{"order": 7}"#))
    );
    store.commit(last_turn(number, 2)).await.unwrap();
    store.assert_sound().await;
}

async fn an_instance_created_without_a_turn_has_its_start_in_the_inbox(store: TestStore) {
    let number = store.new_number(TENANT, &id("a"));
    let new = Creation {
        instance: instance("a"),
        key: None,
        tags: Tags::default(),
    };
    let receipt = store.commit(TurnCommit::of_creation(number, new)).await.unwrap();
    assert_eq!(receipt.delivered.len(), 1);
    let inbox = store.inbox(number).await;
    assert_eq!(inbox, [receipt.delivered[0].1.clone()]);
    assert_eq!(store.status("a").await, Some(InstanceStatus::Pending));
    store.commit(first_turn(number, inbox)).await.unwrap();
    store.assert_sound().await;
}

async fn a_creation_is_refused_like_a_start(store: TestStore) {
    let number = store.started("a").await;
    let refused = store.commit(creation(&store, "a", None)).await.unwrap().refused;
    assert_eq!(refused, Some(StartOutcome::AlreadyExists(InstanceStatus::Pending)));
    assert_eq!(store.inbox(number).await.len(), 1);

    let first = store.commit(creation(&store, "b", key("k", 1))).await.unwrap();
    assert_eq!(first.refused, None);
    let repeated = store.commit(creation(&store, "c", key("k", 1))).await.unwrap().refused;
    assert_eq!(repeated, Some(StartOutcome::Repeated(id("b"))));
    let reused = store.commit(creation(&store, "c", key("k", 2))).await.unwrap().refused;
    assert_eq!(reused, Some(StartOutcome::KeyReused));
    assert_eq!(store.details("c").await, None);
    assert_eq!(store.rows("instances").await, 2);
}

async fn the_first_of_two_creations_with_one_id_in_a_batch_wins(store: TestStore) {
    let commits = [creation(&store, "a", None), creation(&store, "a", None)];
    let asks = commits.into_iter().map(|commit| store.commit(commit)).collect();
    let receipts = in_batches(&store, 1, asks).await;
    let refused: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap().refused).collect();
    assert_eq!(
        refused,
        [None, Some(StartOutcome::AlreadyExists(InstanceStatus::Running))]
    );
    store.assert_sound().await;
}

async fn a_creation_replaces_an_ended_instance(store: TestStore) {
    let old = store.ended("a").await;
    let commit = creation(&store, "a", None);
    let new = commit.instance;
    store.commit(commit).await.unwrap();
    assert!(store.load(old).await.unwrap().is_none());
    assert_eq!(store.load(new).await.unwrap().unwrap().last_turn, TurnNumber(1));
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("history").await, 1);
}

async fn a_repeated_creation_is_refused_after_the_instance_has_ended(store: TestStore) {
    let commit = creation(&store, "a", None);
    let (number, late) = (commit.instance, commit.clone());
    let new = Creation {
        instance: instance("a"),
        key: None,
        tags: Tags::default(),
    };
    let without_turn = TurnCommit::of_creation(number, new);
    store.commit(without_turn.clone()).await.unwrap();
    let late = store.commit(late).await.unwrap();
    assert_eq!(
        late.refused,
        Some(StartOutcome::Created(number)),
        "its turn is not written"
    );
    store
        .commit(first_turn(number, store.inbox(number).await))
        .await
        .unwrap();
    store.commit(last_turn(number, 2)).await.unwrap();
    let again = store.commit(without_turn).await.unwrap();
    assert_eq!(again.refused, Some(StartOutcome::Created(number)));
    assert_eq!(store.status("a").await, Some(InstanceStatus::Completed));
    store.assert_sound().await;
}

async fn a_creation_that_the_database_rejects_leaves_nothing_and_does_not_fail_its_neighbours(store: TestStore) {
    let bad = poisoned(creation(&store, "bad", None));
    let commits = [creation(&store, "a", None), bad, creation(&store, "b", None)];
    let asks = commits.into_iter().map(|commit| store.commit(commit));
    let receipts = futures::future::join_all(asks).await;
    assert!(
        receipts[0].is_ok() && receipts[1].is_err() && receipts[2].is_ok(),
        "{receipts:?}"
    );
    assert_eq!(store.details("bad").await, None);
    store.commit(creation(&store, "bad", None)).await.unwrap();
    store.assert_sound().await;
}

async fn numbers_are_never_allocated_twice(store: TestStore) {
    let stored = creation(&store, "a", None);
    let (first, unused) = (stored.instance, store.new_number(TENANT, &id("b")));
    store.commit(stored).await.unwrap();
    let store = store.crash().await;
    let next = store.new_number(TENANT, &id("c"));
    assert!(next > first, "{next} after {first} and {unused}, which was not used");
    store.assert_sound().await;
}

async fn a_repeated_creation_is_refused_after_the_instance_was_purged(store: TestStore) {
    let mut commit = creation(&store, "a", None);
    let late = TurnCommit::of_creation(commit.instance, *commit.creation.clone().unwrap());
    commit.summary.status = InstanceStatus::Completed;
    commit.summary.in_flight = 0;
    store.commit(commit).await.unwrap();
    assert_eq!(store.purge(TENANT, id("a")).await.unwrap(), PurgeOutcome::Purged);
    let number = late.instance;
    let receipt = store.commit(late).await.unwrap();
    assert_eq!(receipt.refused, Some(StartOutcome::Created(number)));
    assert_eq!(store.status("a").await, None);
    store.assert_sound().await;
}

async fn an_instance_can_be_created_ended_and_purged_in_one_batch(store: TestStore) {
    let mut commit = creation(&store, "a", None);
    commit.summary.status = InstanceStatus::Completed;
    commit.summary.in_flight = 0;
    let batches = store.stats().batches;
    let (created, purged) = tokio::join!(store.commit(commit), store.purge(TENANT, id("a")));
    assert_eq!(store.stats().batches - batches, 1);
    assert_eq!(created.unwrap().refused, None);
    assert_eq!(purged.unwrap(), PurgeOutcome::Purged);
    assert_eq!(store.status("a").await, None);
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("history").await, 0);
    store.assert_sound().await;
}
