//! Deleting instances that have ended.

use super::*;

over_every_backend! {
    with_module:
    a_purge_hides_an_ended_instance_and_the_sweep_deletes_its_rows,
    only_existing_ended_instances_are_purged,
    a_purged_id_can_be_started_again_as_if_it_were_new,
    many_instances_are_purged_in_pieces_by_status_and_age,
    many_instances_are_purged_by_the_time_of_their_creation,
    a_tree_is_purged_completely_or_not_at_all,
    an_interrupted_purge_of_a_tree_can_be_continued,
    a_purge_of_many_also_deletes_their_descendants,
    children_of_a_purged_instance_can_be_found,
}

async fn a_purge_hides_an_ended_instance_and_the_sweep_deletes_its_rows(store: TestStore) {
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
    assert_eq!(store.rows("history").await, 2, "the sweep deletes them later");
    store.sweep_all(NOW).await;
    for table in ["instances", "history", "inbox", "attempts", "garbage"] {
        assert_eq!(store.rows(table).await, 0, "{table}");
    }
    store.assert_sound().await;
}

async fn only_existing_ended_instances_are_purged(store: TestStore) {
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

async fn a_purged_id_can_be_started_again_as_if_it_were_new(store: TestStore) {
    let old = store.ended("a").await;
    store.purge(TENANT, id("a")).await.unwrap();
    let new = store.running("a").await;
    assert!(new > old);
    store.sweep_all(NOW).await;
    let turns = store
        .history(new, ExecutionNumber::FIRST, TurnNumber::NONE, 10)
        .await
        .unwrap();
    assert_eq!(turns.len(), 1, "the sweep deletes only turns of the old instance");
    assert_eq!(store.rows("history").await, 1);
}

async fn many_instances_are_purged_in_pieces_by_status_and_age(store: TestStore) {
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
        filter: ListFilter {
            statuses: vec![InstanceStatus::Failed],
            updated_to: Some(Timestamp(NOW.0 + 50)),
            ..ListFilter::default()
        },
        recursive: false,
        from: None,
        limit: 2,
    };
    assert_eq!(
        store.purge_many(purge.clone()).await.unwrap(),
        PurgedMany {
            purged: 0,
            left: 0,
            next: None
        }
    );
    purge.filter.statuses = vec![InstanceStatus::Running];
    assert_eq!(store.purge_many(purge.clone()).await.unwrap().purged, 0);
    purge.filter.statuses.push(InstanceStatus::Completed);
    let mut purged = Vec::new();
    loop {
        let done = store.purge_many(purge.clone()).await.unwrap();
        purged.push(done.purged);
        purge.from = done.next;
        if purge.from.is_none() {
            break;
        }
    }
    assert_eq!(purged, [2, 2, 1]);
    assert_eq!(store.rows("instances").await, 2);
    assert_eq!(store.status("running").await, Some(InstanceStatus::Running));
    assert_eq!(store.status("young").await, Some(InstanceStatus::Completed));
}

/// Starts a child of an instance, and ends it if `end` is set.
async fn child(store: &TestStore, parent: InstanceNumber, name: &str, end: bool) -> InstanceNumber {
    let StartOutcome::Created(number) = store.start(child_of(parent, name), None).await.unwrap() else {
        panic!("{name} was not created")
    };
    store
        .commit(first_turn(number, store.inbox(number).await))
        .await
        .unwrap();
    if end {
        store.commit(last_turn(number, 2)).await.unwrap();
    }
    number
}

async fn many_instances_are_purged_by_the_time_of_their_creation(store: TestStore) {
    for (name, created_at) in [("first", NOW.0), ("second", NOW.0 + 10), ("third", NOW.0 + 20)] {
        let instance = NewInstance {
            created_at: Timestamp(created_at),
            ..instance(name)
        };
        let StartOutcome::Created(number) = store.start(instance, None).await.unwrap() else {
            panic!("{name} was not created");
        };
        store.commit(last_turn(number, 1)).await.unwrap();
    }
    let purge = |created: std::ops::Range<Timestamp>| PurgeMany {
        tenant: TENANT,
        filter: ListFilter {
            created_from: Some(created.start),
            created_to: Some(created.end),
            ..ListFilter::default()
        },
        recursive: false,
        from: None,
        limit: 10,
    };
    for (created, expected) in [
        (Timestamp(NOW.0 + 1)..Timestamp(NOW.0 + 10), 0),
        (Timestamp(NOW.0 + 10)..Timestamp(NOW.0 + 11), 1),
        (Timestamp(NOW.0 + 20)..NOW, 0),
        (Timestamp(0)..Timestamp::MAX, 2),
    ] {
        let done = store.purge_many(purge(created.clone())).await.unwrap();
        assert_eq!((done.purged, done.next), (expected, None), "{created:?}");
    }
}

async fn a_tree_is_purged_completely_or_not_at_all(store: TestStore) {
    let parent = store.ended("parent").await;
    let first = child(&store, parent, "first", true).await;
    child(&store, parent, "second", true).await;
    let grandchild = child(&store, first, "grandchild", false).await;
    store.ended("bystander").await;
    let purge = async || store.purge_tree(TENANT, &id("parent")).await.unwrap();
    assert_eq!(
        purge().await,
        PurgeTreeOutcome::ChildrenNotEnded(vec![id("grandchild")])
    );
    assert_eq!(store.rows("instances").await, 5);

    store.commit(last_turn(grandchild, 2)).await.unwrap();
    assert_eq!(purge().await, PurgeTreeOutcome::Purged(4));
    assert_eq!(purge().await, PurgeTreeOutcome::Unknown);
    assert_eq!(store.rows("instances").await, 1);
    store.sweep_all(NOW).await;
    store.assert_sound().await;

    store.running("parent").await;
    assert_eq!(purge().await, PurgeTreeOutcome::NotEnded(InstanceStatus::Running));
    let foreign = store.purge_tree(TenantId(2), &id("bystander")).await.unwrap();
    assert_eq!(foreign, PurgeTreeOutcome::Unknown);
}

async fn an_interrupted_purge_of_a_tree_can_be_continued(store: TestStore) {
    let root = store.ended("parent").await;
    let mut parents = vec![root];
    for n in 0..30 {
        let number = child(&store, parents[n / 2], &format!("child-{n}"), true).await;
        parents.push(number);
    }
    let tree = store.tenant(TENANT).tree(root).await.unwrap();
    assert_eq!(tree.ended.len(), 31);
    // As if the host had ended after 17 deletions.
    let instances = tree.ended[..17].to_vec();
    store
        .ask(Operation::PurgeMany {
            tenant: TENANT,
            instances,
            is_upkeep: false,
        })
        .await
        .unwrap();
    let rest = store.purge_tree(TENANT, &id("parent")).await.unwrap();
    assert_eq!(rest, PurgeTreeOutcome::Purged(14));
    assert_eq!(store.rows("instances").await, 0);
}

async fn a_purge_of_many_also_deletes_their_descendants(store: TestStore) {
    let old = store.ended("old").await;
    // Ended too late to match the filter, but deleted with its parent.
    let late = child(&store, old, "late", false).await;
    let mut end = last_turn(late, 2);
    end.summary.updated_at = Timestamp(NOW.0 + 1_000);
    store.commit(end).await.unwrap();
    let busy = store.ended("busy").await;
    child(&store, busy, "runs", false).await;
    let purge = PurgeMany {
        tenant: TENANT,
        filter: ListFilter {
            updated_to: Some(Timestamp(NOW.0 + 1)),
            ..ListFilter::default()
        },
        recursive: true,
        from: None,
        limit: 100,
    };
    let done = store.purge_many(purge).await.unwrap();
    assert_eq!((done.purged, done.left, done.next), (2, 1, None));
    assert_eq!(store.status("busy").await, Some(InstanceStatus::Completed));
    assert_eq!(store.rows("instances").await, 2);
}

async fn children_of_a_purged_instance_can_be_found(store: TestStore) {
    let parent = store.ended("parent").await;
    child(&store, parent, "child", true).await;
    child(&store, parent, "second", true).await;
    store.purge(TENANT, id("parent")).await.unwrap();
    let children = async |name: &str| {
        let (tenant, filter) = (store.tenant(TENANT), ListFilter::default());
        let page = tenant.list_children(&id(name), filter, None, 10).await.unwrap()?;
        let ids: Vec<_> = page.instances.iter().map(|instance| instance.id.to_string()).collect();
        Some(ids)
    };
    assert_eq!(children("parent").await, Some(vec!["second".into(), "child".into()]));
    // A prefix of an id does not match.
    assert_eq!(children("paren").await, None);
    store.running("parent").await;
    assert_eq!(
        children("parent").await,
        Some(vec![]),
        "the new instance has no children"
    );
}
