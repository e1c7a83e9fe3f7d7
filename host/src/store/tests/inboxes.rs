//! Inboxes and pending events.

use super::*;

over_every_backend! {
    with_module:
    a_sender_learns_whether_the_recipient_is_at_rest,
    messages_are_stored_in_the_order_of_arrival,
    every_kind_of_message_is_read_as_it_was_written,
    a_message_for_an_ended_or_unknown_instance_is_refused,
    a_message_for_an_old_incarnation_does_not_reach_the_new_one,
    a_repeated_message_with_the_same_key_is_appended_once,
    the_newest_message_is_known_after_opening,
    events_are_found_by_name_in_the_order_of_arrival,
    many_events_are_not_read_with_the_instance_but_on_request,
}

async fn messages_are_stored_in_the_order_of_arrival(store: TestStore) {
    let number = store.running("a").await;
    let first = match store.append(append("a", event("one")), None).await.unwrap() {
        AppendOutcome::Appended { instance, row, .. } if instance == number => row,
        other => panic!("not appended: {other:?}"),
    };
    let second = store.deliver(number, event("two")).await.unwrap().unwrap();
    assert!(first.seq < second.seq);
    assert_eq!(store.inbox(number).await, [first.clone(), second.clone()]);

    let mut commit = turn(number, 2, vec![], vec![]);
    consume(&mut commit, &[first]);
    store.commit(commit).await.unwrap();
    assert_eq!(store.inbox(number).await, [second]);
}

async fn every_kind_of_message_is_read_as_it_was_written(store: TestStore) {
    let number = store.running("a").await;
    let failure = crate::model::Failure::new("Busy", "try later").permanent();
    let items = vec![
        InboxItem::Start(Box::new(started("Order", None))),
        InboxItem::TaskEnded {
            execution: ExecutionNumber(1),
            task: TaskId(3),
            attempt: 2,
            outcome: Err(failure),
        },
        event("go"),
        terminate(),
        InboxItem::Suspend { reason: "wait".into() },
        InboxItem::Resume { reason: String::new() },
    ];
    for item in &items {
        store.deliver(number, item.clone()).await.unwrap().unwrap();
    }
    let read: Vec<_> = store.inbox(number).await.into_iter().map(|row| row.item).collect();
    assert_eq!(read, items);
}

async fn a_message_for_an_ended_or_unknown_instance_is_refused(store: TestStore) {
    assert_eq!(
        store.append(append("a", event("x")), None).await.unwrap(),
        AppendOutcome::Unknown
    );
    let number = store.ended("a").await;
    let outcome = store.append(append("a", event("x")), None).await.unwrap();
    assert_eq!(outcome, AppendOutcome::Ended(InstanceStatus::Completed));
    assert_eq!(store.deliver(number, event("x")).await.unwrap(), None);
    assert_eq!(store.deliver(InstanceNumber(999_999), event("x")).await.unwrap(), None);
    store.purge(TENANT, id("a")).await.unwrap();
    assert_eq!(
        store.append(append("a", event("x")), None).await.unwrap(),
        AppendOutcome::Unknown
    );
    assert_eq!(store.deliver(number, event("x")).await.unwrap(), None);
    assert_eq!(store.rows("inbox").await, 0);
}

async fn a_message_for_an_old_incarnation_does_not_reach_the_new_one(store: TestStore) {
    let old = store.ended("a").await;
    let new = store.running("a").await;
    assert_eq!(store.deliver(old, event("late")).await.unwrap(), None);
    assert_eq!(store.inbox(new).await, []);
}

async fn a_repeated_message_with_the_same_key_is_appended_once(store: TestStore) {
    let number = store.running("a").await;
    let outcome = store.append(append("a", event("x")), key("k", 1)).await.unwrap();
    assert!(matches!(outcome, AppendOutcome::Appended { .. }));
    assert_eq!(
        store.append(append("a", event("x")), key("k", 1)).await.unwrap(),
        AppendOutcome::Repeated
    );
    assert_eq!(
        store.append(append("a", event("y")), key("k", 2)).await.unwrap(),
        AppendOutcome::KeyReused
    );
    assert_eq!(store.inbox(number).await.len(), 1);
}

async fn the_newest_message_is_known_after_opening(store: TestStore) {
    let number = store.running("a").await;
    let first = store.deliver(number, event("one")).await.unwrap().unwrap();
    assert_eq!(store.newest_message(), first.seq);
    let store = store.crash().await;
    assert!(store.newest_message() >= first.seq);
    let second = store.deliver(number, event("two")).await.unwrap().unwrap();
    assert!(second.seq > first.seq);
    assert_eq!(store.newest_message(), second.seq);
}

fn numbered(name: &str, number: u32) -> Event {
    Event {
        name: name.parse().unwrap(),
        payload: Payload::of(&number),
    }
}

async fn events_are_found_by_name_in_the_order_of_arrival(store: TestStore) {
    let number = store.running("a").await;
    for (name, payload) in [("Go", 1), ("ÄRGER", 2), ("gO", 3), ("other", 4)] {
        let item = InboxItem::Event(numbered(name, payload));
        store.deliver(number, item).await.unwrap().unwrap();
    }
    let mut commit = turn(number, 2, vec![], vec![]);
    commit.kept = vec![numbered("go", 5), numbered("new", 6)];
    let kept = store.commit(commit).await.unwrap().kept;
    assert!(kept[0] < kept[1]);

    let names = ["go", "ärger", "nobody's"].map(str::to_owned);
    let pages = store.events(number, &names).await.unwrap();
    let found: Vec<Vec<String>> = pages
        .iter()
        .map(|page| page.events.iter().map(|(_, event)| event.payload.to_string()).collect())
        .collect();
    assert_eq!(found, [vec!["1", "3", "5"], vec!["2"], vec![]]);
    assert!(pages.iter().all(|page| !page.more));

    let mut commit = turn(number, 3, vec![], vec![]);
    consume(&mut commit, &store.inbox(number).await[..3]);
    store.commit(commit).await.unwrap();
    let left = store.inbox(number).await;
    assert_eq!(left.len(), 3);
    store.assert_sound().await;
    assert_eq!(waking::at_start(&store, None, 9).await, [number]);
    store.commit(last_turn(number, 4)).await.unwrap();
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("events").await, 0);
    store.assert_sound().await;
}

async fn many_events_are_not_read_with_the_instance_but_on_request(store: TestStore) {
    let number = store.running("a").await;
    let large = |name: &str| Event {
        payload: Payload::of(&"x".repeat(1 << 20)),
        ..numbered(name, 0)
    };
    for round in 0..10 {
        store.deliver(number, InboxItem::Event(large("noise"))).await.unwrap();
        store
            .deliver(number, InboxItem::Event(numbered("go", round)))
            .await
            .unwrap();
    }
    store.deliver(number, terminate()).await.unwrap();
    let record = store.load(number).await.unwrap().unwrap();
    assert!(record.more_events && !record.more_inbox);
    assert_eq!(record.inbox.len(), 1, "only the message that is not an event");
    assert!(record.history_bytes < 1 << 20 && record.event_bytes > 10 << 20);
    assert_eq!(record.first_turns.len(), 1);

    let pages = store.events(number, &["go".to_owned()]).await.unwrap();
    assert_eq!((pages[0].events.len(), pages[0].more), (10, false));
    let both = ["noise".to_owned(), "go".to_owned()];
    let pages = store.events(number, &both).await.unwrap();
    assert!(pages[0].more && (1..10).contains(&pages[0].events.len()));
    assert_eq!(pages[1].events.len(), 10);
    // Like an owner that takes the events that it has read.
    let taken = pages[0].events.iter().map(|(seq, event)| InboxRow {
        seq: *seq,
        item: InboxItem::Event(event.clone()),
    });
    let taken: Vec<InboxRow> = taken.collect();
    let mut commit = turn(number, 2, vec![], vec![]);
    consume(&mut commit, &taken);
    store.commit(commit).await.unwrap();
    let again = store.events(number, &both).await.unwrap();
    assert!(again[0].events[0].0 > taken.last().unwrap().seq);
    store.assert_sound().await;
}

async fn a_sender_learns_whether_the_recipient_is_at_rest(store: TestStore) {
    let sender = store.running("sender").await;
    let mut last = 1;
    let mut send = async |to: InstanceNumber| {
        last += 1;
        let mut commit = turn(sender, last, vec![], vec![]);
        commit.messages = vec![OutboundMessage {
            to: Recipient::Number(to),
            item: event("go"),
        }];
        let receipt = store.commit(commit).await.unwrap();
        assert_eq!(receipt.delivered.len(), 1, "the message is stored in any case");
        !receipt.at_rest.is_empty()
    };
    let appended = async |name: &str| match store.append(append(name, event("go")), None).await.unwrap() {
        AppendOutcome::Appended { is_at_rest, .. } => is_at_rest,
        other => panic!("{other:?}"),
    };
    let addressed = async |name: &str| {
        let addressee = store.tenant(TENANT).addressee(&id(name)).await.unwrap();
        addressee.unwrap().is_at_rest
    };

    let ready = store.started("ready").await;
    assert!(!send(ready).await && !appended("ready").await && !addressed("ready").await);
    let delayed = NewInstance {
        started: Started {
            not_before: Some(Timestamp(NOW.0 + 1_000)),
            ..started("Order", None)
        },
        ..instance("delayed")
    };
    let StartOutcome::Created(delayed) = store.start(delayed, None).await.unwrap() else {
        panic!("not created")
    };
    assert!(send(delayed).await && appended("delayed").await && addressed("delayed").await);
    let inbox = store.inbox(delayed).await;
    assert_eq!(inbox.len(), 3, "it reads them when it begins");
    let mut first = first_turn(delayed, inbox);
    first.summary.wake_at = Some(Timestamp(NOW.0 + 9_000));
    store.commit(first).await.unwrap();
    assert!(!send(delayed).await && !appended("delayed").await && !addressed("delayed").await);

    let mut suspended = step(delayed, 1);
    suspended.summary.status = InstanceStatus::Suspended;
    store.commit(suspended).await.unwrap();
    assert!(send(delayed).await && appended("delayed").await && addressed("delayed").await);
}
