//! Broadcasts: each piece is written once, with its events.

use super::*;
use crate::model::Event;

over_every_backend! {
    with_module:
    a_piece_raises_the_event_once_for_each_live_instance,
    a_repeated_broadcast_is_recognized,
    a_tenant_has_a_bounded_number_of_broadcasts,
    finished_broadcasts_are_forgotten,
    the_broadcasts_of_each_tenant_are_found,
    instances_created_later_are_not_reached,
    a_cancelled_broadcast_raises_nothing_more,
    broadcasts_are_listed_by_id,
}

fn new(tenant: TenantId, id: &str) -> NewBroadcast {
    NewBroadcast {
        tenant,
        key: key(id, 1).unwrap(),
        event: Event {
            name: "Stop".parse().unwrap(),
            payload: payload("[1.0]"),
        },
        filter: ListFilter {
            function: Some("Order".parse().unwrap()),
            ..ListFilter::default()
        },
        at: NOW,
    }
}

async fn create(store: &TestStore, id: &str) -> Broadcast {
    let outcome = store.create_broadcast(new(TENANT, id)).await.unwrap();
    assert_eq!(outcome, BroadcastOutcome::Created);
    store.tenant(TENANT).broadcast(id).await.unwrap().unwrap()
}

fn piece(of: &Broadcast, instances: Vec<InstanceNumber>, next: Option<Cursor>) -> BroadcastPiece {
    BroadcastPiece {
        tenant: of.tenant,
        id: of.id.clone(),
        event: of.event.clone(),
        from: of.from.clone(),
        instances,
        max_bytes: u64::MAX,
        refused: 0,
        next,
        at: NOW,
    }
}

async fn next(store: &TestStore, after: Option<TenantId>) -> Option<Broadcast> {
    match store.next_broadcast(after).await.unwrap()? {
        NextBroadcast::Readable(broadcast) => Some(*broadcast),
        unreadable @ NextBroadcast::Unreadable { .. } => panic!("{unreadable:?}"),
    }
}

async fn finish(store: &TestStore, broadcast: &Broadcast) {
    store.broadcast(piece(broadcast, vec![], None)).await.unwrap().unwrap();
}

async fn a_piece_raises_the_event_once_for_each_live_instance(store: TestStore) {
    let (live, ended) = (store.running("live").await, store.ended("ended").await);
    let other = NewInstance {
        tenant: TenantId(2),
        ..instance("other")
    };
    store.start(other, None).await.unwrap();
    let other = store.tenant(TenantId(2)).number(&id("other")).await.unwrap().unwrap();
    let broadcast = create(&store, "b").await;
    let first = piece(&broadcast, vec![live, ended, other], Some(Cursor::below(live)));
    let first = BroadcastPiece { refused: 3, ..first };
    let raised = store.broadcast(first.clone()).await.unwrap().unwrap();
    assert_eq!(raised.iter().map(|event| event.instance).collect::<Vec<_>>(), [live]);
    assert!(!raised[0].is_at_rest);
    // The host ended after the commit, and does the piece again.
    let store = store.reopen().await;
    assert!(store.broadcast(first).await.unwrap().is_none());
    assert_eq!(store.rows("events").await, 1);
    let now = store.tenant(TENANT).broadcast("b").await.unwrap().unwrap();
    let expected = Broadcast {
        from: Cursor::below(live),
        raised: 1,
        skipped: 5,
        ..broadcast
    };
    assert_eq!(format!("{now:?}"), format!("{expected:?}"));
    let full = BroadcastPiece {
        max_bytes: 1,
        ..piece(&now, vec![live], None)
    };
    assert!(store.broadcast(full).await.unwrap().unwrap().is_empty());
    let now = store.tenant(TENANT).broadcast("b").await.unwrap().unwrap();
    assert_eq!((now.raised, now.skipped, now.finished_at), (1, 6, Some(NOW)));
    assert!(store.broadcast(piece(&now, vec![live], None)).await.unwrap().is_none());
    assert_eq!(store.rows("events").await, 1);
    store.assert_sound().await;
}

async fn a_repeated_broadcast_is_recognized(store: TestStore) {
    create(&store, "b").await;
    let bytes = store.stored_bytes(TENANT);
    let again = store.create_broadcast(new(TENANT, "b")).await.unwrap();
    assert_eq!(again, BroadcastOutcome::Repeated);
    let other = NewBroadcast {
        key: key("b", 2).unwrap(),
        ..new(TENANT, "b")
    };
    assert_eq!(
        store.create_broadcast(other).await.unwrap(),
        BroadcastOutcome::KeyReused
    );
    let gone = store.create_broadcast(new(TenantId(99), "b")).await.unwrap();
    assert_eq!(gone, BroadcastOutcome::TenantGone);
    assert_eq!(store.stored_bytes(TENANT), bytes);
    assert_eq!(store.rows("broadcasts").await, 1);
    store.assert_sound().await;
}

async fn a_tenant_has_a_bounded_number_of_broadcasts(store: TestStore) {
    for number in 0..MAX_UNFINISHED_BROADCASTS {
        create(&store, &number.to_string()).await;
    }
    let refused = store.create_broadcast(new(TENANT, "more")).await.unwrap();
    assert_eq!(refused, BroadcastOutcome::TooMany(MAX_UNFINISHED_BROADCASTS));
    let oldest = next(&store, None).await.unwrap();
    assert_eq!(oldest.id, "0");
    finish(&store, &oldest).await;
    create(&store, "more").await;
}

async fn finished_broadcasts_are_forgotten(store: TestStore) {
    let bytes = store.stored_bytes(TENANT);
    let finished = create(&store, "finished").await;
    finish(&store, &finished).await;
    create(&store, "unfinished").await;
    assert_eq!(store.forget_broadcasts(NOW).await.unwrap(), 0);
    assert_eq!(store.forget_broadcasts(Timestamp(NOW.0 + 1)).await.unwrap(), 1);
    assert!(store.tenant(TENANT).broadcast("finished").await.unwrap().is_none());
    let left = next(&store, None).await.unwrap();
    assert_eq!(left.id, "unfinished");
    assert_eq!(store.stored_bytes(TENANT), bytes + new(TENANT, "unfinished").bytes());
    store.assert_sound().await;
}

async fn the_broadcasts_of_each_tenant_are_found(store: TestStore) {
    let change = Change::CreateTenant {
        name: "second".parse().unwrap(),
        quotas: "{}".into(),
        at: NOW,
    };
    let Changed::Done(Some(second)) = store.administer(change).await.unwrap() else {
        panic!("the tenant was not created");
    };
    store.create_broadcast(new(second, "a")).await.unwrap();
    create(&store, "b").await;
    create(&store, "c").await;
    let first = next(&store, None).await.unwrap();
    assert_eq!((first.tenant, first.id.as_str()), (TENANT, "b"));
    let other = next(&store, Some(TENANT)).await.unwrap();
    assert_eq!((other.tenant, other.id.as_str()), (second, "a"));
    assert!(next(&store, Some(second)).await.is_none());
    assert!(store.tenant(second).broadcast("b").await.unwrap().is_none());
    store.administer(Change::DeleteTenant(second)).await.unwrap();
    assert!(next(&store, Some(TENANT)).await.is_none());
    store.assert_sound().await;
}

async fn instances_created_later_are_not_reached(store: TestStore) {
    store.running("before").await;
    let broadcast = create(&store, "b").await;
    store.running("after").await;
    let page = store
        .tenant(TENANT)
        .list(&broadcast.filter, Some(&broadcast.from), 10)
        .await
        .unwrap();
    let ids: Vec<_> = page.instances.iter().map(|instance| instance.id.as_str()).collect();
    assert_eq!(ids, ["before"]);
}

fn cancel(id: &str) -> EndBroadcast {
    EndBroadcast {
        tenant: TENANT,
        id: id.to_owned(),
        end: BroadcastEnd::Cancelled,
        at: NOW,
    }
}

async fn a_cancelled_broadcast_raises_nothing_more(store: TestStore) {
    let (first, second) = (store.running("a").await, store.running("b").await);
    let broadcast = create(&store, "b").await;
    let begin = piece(&broadcast, vec![second], Some(Cursor::below(second)));
    store.broadcast(begin).await.unwrap().unwrap();
    assert_eq!(store.end_broadcast(cancel("b")).await.unwrap(), EndOfBroadcast::Ended);
    assert_eq!(
        store.end_broadcast(cancel("b")).await.unwrap(),
        EndOfBroadcast::EndedBefore
    );
    assert_eq!(store.end_broadcast(cancel("c")).await.unwrap(), EndOfBroadcast::Unknown);
    let store = store.crash().await;
    // The piece that was on its way.
    let now = store.tenant(TENANT).broadcast("b").await.unwrap().unwrap();
    assert!(store.broadcast(piece(&now, vec![first], None)).await.unwrap().is_none());
    assert_eq!(store.rows("events").await, 1);
    assert!(next(&store, None).await.is_none());
    let summary = store.tenant(TENANT).broadcast_summary("b").await.unwrap().unwrap();
    assert_eq!(
        (summary.raised, summary.ended),
        (1, Some((NOW, BroadcastEnd::Cancelled)))
    );
    store.assert_sound().await;
}

async fn broadcasts_are_listed_by_id(store: TestStore) {
    for id in ["c", "a", "b"] {
        create(&store, id).await;
    }
    let page = async |after: Option<&str>| {
        let page = store.tenant(TENANT).broadcasts(after, 2).await.unwrap();
        let ids: Vec<_> = page.broadcasts.into_iter().map(|broadcast| broadcast.id).collect();
        (ids.join(" "), page.next)
    };
    assert_eq!(page(None).await, ("a b".to_owned(), Some("b".to_owned())));
    assert_eq!(page(Some("b")).await, ("c".to_owned(), None));
    assert_eq!(page(Some("c")).await, (String::new(), None));
}
