//! Which instances must be woken, and when.

use super::*;

over_every_backend! {
    with_module:
    instances_with_messages_or_activities_in_flight_are_woken_at_the_start,
    due_instances_are_found_earliest_first,
    a_stuck_instance_is_not_woken_by_time,
    a_time_too_large_to_store_becomes_the_largest_one,
    a_delayed_first_turn_has_a_wake_up_time,
    the_time_of_a_delayed_start_is_shown_until_its_first_turn,
}

/// The numbers of the instances to wake when the host starts.
pub(super) async fn at_start(store: &TestStore, after: Option<InstanceNumber>, limit: u32) -> Vec<InstanceNumber> {
    let found = store.to_wake_at_start(after, limit).await.unwrap();
    assert!(found.iter().all(|(tenant, _)| *tenant == TENANT));
    found.into_iter().map(|(_, number)| number).collect()
}

async fn wake_ups(
    store: &TestStore,
    after: Option<(Timestamp, InstanceNumber)>,
    limit: u32,
) -> Vec<(Timestamp, InstanceNumber)> {
    let found = store.wake_ups(after, &[], limit).await.unwrap();
    assert!(found.iter().all(|found| found.tenant == TENANT));
    found.into_iter().map(|found| (found.at, found.instance)).collect()
}

async fn with(
    store: &TestStore,
    name: &str,
    status: InstanceStatus,
    in_flight: u32,
    wake_at: Option<u64>,
) -> InstanceNumber {
    let number = store.running(name).await;
    let mut commit = step(number, 1);
    commit.summary.status = status;
    commit.summary.in_flight = in_flight;
    commit.summary.wake_at = wake_at.map(|ms| Timestamp(NOW.0 + ms));
    store.commit(commit).await.unwrap();
    number
}

async fn instances_with_messages_or_activities_in_flight_are_woken_at_the_start(store: TestStore) {
    use InstanceStatus::{Running, Suspended};
    let pending = store.started("pending").await;
    let _idle = with(&store, "idle", Running, 0, Some(5)).await;
    let in_flight = with(&store, "in-flight", Running, 1, None).await;
    let message = with(&store, "message", Running, 0, None).await;
    store.deliver(message, event("go")).await.unwrap().unwrap();
    let both = with(&store, "both", Running, 2, None).await;
    store.deliver(both, event("go")).await.unwrap().unwrap();
    let suspended = with(&store, "suspended", Suspended, 0, None).await;
    store.deliver(suspended, event("go")).await.unwrap().unwrap();
    let resumed = with(&store, "resumed", Suspended, 0, None).await;
    store.deliver(resumed, event("go")).await.unwrap().unwrap();
    store
        .deliver(resumed, InboxItem::Resume { reason: String::new() })
        .await
        .unwrap()
        .unwrap();
    let terminated = with(&store, "terminated", Suspended, 0, None).await;
    store.deliver(terminated, terminate()).await.unwrap().unwrap();
    let ended = with(&store, "ended", Running, 1, None).await;
    store.deliver(ended, event("go")).await.unwrap().unwrap();
    store.commit(last_turn(ended, 2)).await.unwrap();

    let store = store.crash().await;
    let expected = [pending, in_flight, message, both, resumed, terminated];
    assert_eq!(at_start(&store, None, 100).await, expected);
    let mut paged = Vec::new();
    while let page @ [_, ..] = &at_start(&store, paged.last().copied(), 2).await[..] {
        assert!(page.len() <= 2);
        paged.extend_from_slice(page);
    }
    assert_eq!(paged, expected);
}

async fn due_instances_are_found_earliest_first(store: TestStore) {
    let late = with(&store, "late", InstanceStatus::Running, 0, Some(30)).await;
    let early = with(&store, "early", InstanceStatus::Running, 0, Some(10)).await;
    let ended = with(&store, "ended", InstanceStatus::Running, 0, Some(5)).await;
    let mut commit = last_turn(ended, 2);
    commit.summary.wake_at = Some(NOW);
    store.commit(commit).await.unwrap();
    let at = |ms| Timestamp(NOW.0 + ms);
    assert_eq!(wake_ups(&store, None, 10).await, [(at(10), early), (at(30), late)]);
    assert_eq!(wake_ups(&store, None, 1).await, [(at(10), early)]);
    assert_eq!(wake_ups(&store, Some((at(10), early)), 10).await, [(at(30), late)]);
    assert_eq!(wake_ups(&store, Some((at(30), late)), 10).await, []);
}

async fn a_stuck_instance_is_not_woken_by_time(store: TestStore) {
    let number = with(&store, "a", InstanceStatus::Running, 0, Some(10)).await;
    let reason = StuckReason {
        code: "trap-on-replay".into(),
        message: String::new(),
    };
    store.mark_stuck(number, reason, NOW).await.unwrap();
    assert_eq!(wake_ups(&store, None, 10).await, []);
}

async fn a_time_too_large_to_store_becomes_the_largest_one(store: TestStore) {
    let number = store.running("a").await;
    let mut commit = step(number, 1);
    commit.summary.wake_at = Some(Timestamp(u64::MAX));
    store.commit(commit).await.unwrap();
    assert_eq!(wake_ups(&store, None, 10).await, [(Timestamp::MAX, number)]);
}

async fn a_delayed_first_turn_has_a_wake_up_time(store: TestStore) {
    let not_before = Some(Timestamp(NOW.0 + 10));
    let mut later = instance("later");
    later.started.not_before = not_before;
    let StartOutcome::Created(number) = store.start(later, None).await.unwrap() else {
        panic!("not created")
    };
    assert_eq!(wake_ups(&store, None, 10).await, [(Timestamp(NOW.0 + 10), number)]);
    let to_wake_of = async |ms| {
        let now = Timestamp(NOW.0 + ms);
        store.to_wake_of(TENANT, now, None, 10).await.unwrap()
    };
    // Neither its start nor an event is a reason to load it before.
    for message in [None, Some(event("early"))] {
        if let Some(message) = message {
            store.deliver(number, message).await.unwrap().unwrap();
        }
        assert_eq!(at_start(&store, None, 10).await, []);
        assert_eq!(to_wake_of(0).await, []);
        assert_eq!(to_wake_of(10).await, [number]);
    }
    store.deliver(number, terminate()).await.unwrap().unwrap();
    assert_eq!(at_start(&store, None, 10).await, [number]);
    assert_eq!(to_wake_of(0).await, [number]);
}

async fn the_time_of_a_delayed_start_is_shown_until_its_first_turn(store: TestStore) {
    let at = Timestamp(NOW.0 + 10);
    let mut later = instance("later");
    later.started.not_before = Some(at);
    let StartOutcome::Created(number) = store.start(later, None).await.unwrap() else {
        panic!("not created")
    };
    let shown = async || {
        let tenant = store.tenant(TENANT);
        let list = tenant.list(&ListFilter::default(), None, 10).await.unwrap();
        let details = tenant.instance(&id("later")).await.unwrap().unwrap();
        (list.instances[0].start_at, details.summary.start_at)
    };
    assert_eq!(shown().await, (Some(at), Some(at)));
    // A suspended instance does not wake, but its time is in its start message.
    let mut suspend = step(number, 0);
    (suspend.summary.status, suspend.summary.in_flight) = (InstanceStatus::Suspended, 0);
    store.commit(suspend).await.unwrap();
    assert_eq!(shown().await, (None, Some(at)));
    let mut first = first_turn(number, store.inbox(number).await);
    first.summary.wake_at = Some(at);
    store.commit(first).await.unwrap();
    assert_eq!(shown().await, (None, None), "a timer is no start");
}
