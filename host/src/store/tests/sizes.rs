//! Stored bytes of instances and tenants, and what happens when a limit is reached.

use futures::FutureExt as _;

use super::*;
use crate::model::{self, LogLevel, codec};

over_every_backend! {
    with_module:
    stored_bytes_are_counted_until_the_purge_and_survive_a_crash,
    what_an_execution_leaves_behind_is_counted_until_it_is_deleted,
    after_continue_as_new_only_pending_events_and_logs_are_counted,
    a_full_instance_accepts_no_events_but_can_be_terminated,
    a_long_inbox_is_read_in_parts_and_control_messages_come_first,
    a_history_of_large_turns_is_read_in_parts,
    a_full_log_warns_once_and_continues_when_the_limit_is_raised,
    idempotency_keys_are_counted_until_they_are_swept,
    answers_are_stored_and_counted_with_their_keys,
    an_answer_does_not_land_on_a_key_that_another_request_takes_over_in_the_same_batch,
    nothing_is_stored_for_a_tenant_that_was_deleted_in_the_meantime,
}

/// Bytes of messages that fill more than one page of an inbox.
const LARGE: usize = 1 << 20;

fn large_event(name: &str) -> InboxItem {
    InboxItem::Event(Event {
        name: name.parse().unwrap(),
        payload: payload(&format!("{:?}", "x".repeat(LARGE))),
    })
}

fn large_outcome(task: u32) -> InboxItem {
    InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
        attempt: 0,
        outcome: Ok(payload(&format!("{:?}", "x".repeat(LARGE)))),
    }
}

fn line(message: &str) -> LogLine {
    LogLine {
        at: NOW,
        execution: ExecutionNumber::FIRST,
        task: None,
        attempt: None,
        level: LogLevel::Info,
        message: message.into(),
    }
}

async fn what_an_execution_leaves_behind_is_counted_until_it_is_deleted(store: TestStore) {
    let empty = store.stored_bytes(TENANT);
    let number = store.running("a").await;
    let mut waiting = Box::pin(store.much_garbage());
    for execution in 1..=3 {
        let again = Decision::ContinueAsNew {
            input: payload(&format!("\"{}\"", "x".repeat(10 << 20))),
            events: vec![],
        };
        let next = Started {
            execution: ExecutionNumber(execution + 1),
            ..started("Order", None)
        };
        let mut commit = turn(number, if execution == 1 { 2 } else { 1 }, vec![], vec![again]);
        commit.execution = ExecutionNumber(execution);
        commit.next_execution = Some(next);
        (commit.summary.execution, commit.summary.last_turn) = (ExecutionNumber(execution + 1), TurnNumber::NONE);
        assert!(waiting.as_mut().now_or_never().is_none(), "execution {execution}");
        store.commit(commit).await.unwrap();
        if execution == 2 {
            assert!(waiting.as_mut().now_or_never().is_some(), "there is much garbage");
            waiting = Box::pin(store.much_garbage());
        }
    }
    assert!(store.stored_bytes(TENANT) - empty < 1_000);
    assert!(store.stored_bytes_with_garbage(TENANT) > 30 << 20);
    store.sweep_all(NOW).await;
    assert_eq!(store.stored_bytes_with_garbage(TENANT), store.stored_bytes(TENANT));
    store.assert_sound().await;
}

async fn stored_bytes_are_counted_until_the_purge_and_survive_a_crash(store: TestStore) {
    let empty = store.stored_bytes(TENANT);
    let number = store.running("a").await;
    let small = store.stored_bytes(TENANT);
    assert!((300..1_000).contains(&(small - empty)), "{small}");
    store.append(append("a", large_event("e")), None).await.unwrap();
    store.deliver(number, event("e")).await.unwrap();
    let attempt = attempt(1, 1);
    store
        .note_attempt(number, attempt, vec![line("hello")], u64::MAX, None)
        .await
        .unwrap();
    let large = store.stored_bytes(TENANT);
    assert!(
        (LARGE as u64..LARGE as u64 + 2_000).contains(&(large - small)),
        "{large}"
    );

    let store = store.crash().await;
    assert_eq!(store.stored_bytes(TENANT), large);
    store.assert_sound().await;
    store.commit(last_turn(number, 2)).await.unwrap();
    let ended = store.stored_bytes(TENANT);
    assert!(
        ended > small && ended < small + 2_000,
        "what waited goes with the end: {ended}"
    );
    // A new instance with the id of an ended one replaces it.
    store.started("a").await;
    assert!(store.stored_bytes(TENANT) < small);
    store.ended("b").await;
    store.purge(TENANT, id("b")).await.unwrap();
    assert!(store.stored_bytes(TENANT) < small);
    store.assert_sound().await;
}

async fn after_continue_as_new_only_pending_events_and_logs_are_counted(store: TestStore) {
    let empty = store.stored_bytes(TENANT);
    let number = store.running("a").await;
    store.deliver(number, event("small")).await.unwrap();
    let waiting = store.load(number).await.unwrap().unwrap().event_bytes;
    assert!(waiting > 32);
    let large = store.deliver(number, large_event("e")).await.unwrap().unwrap();
    let mut commit = turn(number, 2, vec![], vec![]);
    consume(&mut commit, &[large]);
    commit.logs = vec![line(&"x".repeat(LARGE))];
    commit.next_execution = Some(Started {
        execution: ExecutionNumber(2),
        ..started("Order", None)
    });
    commit.summary.execution = ExecutionNumber(2);
    commit.summary.last_turn = TurnNumber::NONE;
    store.commit(commit).await.unwrap();
    let stored = store.stored_bytes(TENANT) - empty;
    assert!((LARGE as u64..LARGE as u64 + 1_000).contains(&stored), "{stored}");
    assert_eq!(store.load(number).await.unwrap().unwrap().event_bytes, waiting);
    store.assert_sound().await;
}

async fn a_full_instance_accepts_no_events_but_can_be_terminated(store: TestStore) {
    store.running("a").await;
    let limited = |item| InboxAppend {
        max_bytes: LARGE as u64,
        ..append("a", item)
    };
    let appended = store.append(limited(large_event("e")), None).await.unwrap();
    assert!(matches!(appended, AppendOutcome::Appended { .. }), "{appended:?}");
    let refused = store.append(limited(event("e")), key("k", 1)).await.unwrap();
    assert_eq!(refused, AppendOutcome::Full);
    let again = store.append(append("a", event("e")), key("k", 1)).await.unwrap();
    assert!(
        matches!(again, AppendOutcome::Appended { .. }),
        "only a successful request uses its key"
    );
    let ended = store.append(limited(terminate()), None).await.unwrap();
    assert!(matches!(ended, AppendOutcome::Appended { .. }), "{ended:?}");
}

async fn a_long_inbox_is_read_in_parts_and_control_messages_come_first(store: TestStore) {
    let number = store.started("a").await;
    for task in 1..=20 {
        store.deliver(number, large_outcome(task)).await.unwrap();
    }
    store.deliver(number, terminate()).await.unwrap();
    let record = store.load(number).await.unwrap().unwrap();
    assert!(record.more_inbox);
    assert!((3..15).contains(&record.inbox.len()), "{}", record.inbox.len());
    assert!(matches!(record.inbox[0].item, InboxItem::Start(_)));
    assert!(matches!(record.inbox.last().unwrap().item, InboxItem::Terminate { .. }));

    let mut commit = first_turn(number, record.inbox);
    commit.summary.status = InstanceStatus::Running;
    store.commit(commit).await.unwrap();
    let rest = store.load(number).await.unwrap().unwrap();
    assert!(rest.inbox.len() > 3 && matches!(rest.inbox[0].item, InboxItem::TaskEnded { .. }));
}

async fn a_history_of_large_turns_is_read_in_parts(store: TestStore) {
    let number = store.running("a").await;
    for last in 2..22 {
        let large = Arrival::EventRaised(match large_event("e") {
            InboxItem::Event(event) => event,
            other => panic!("{other:?}"),
        });
        store.commit(turn(number, last, vec![large], vec![])).await.unwrap();
    }
    let (mut after, mut parts) = (TurnNumber::NONE, 0);
    loop {
        let turns = store
            .history(number, ExecutionNumber::FIRST, after, 1_000)
            .await
            .unwrap();
        let Some(last) = turns.last() else { break };
        assert!(turns.len() < 15, "{}", turns.len());
        (after, parts) = (last.number, parts + 1);
    }
    assert_eq!(after, TurnNumber(21));
    assert!(parts > 1);
    let record = store.load(number).await.unwrap().unwrap();
    assert!((1..15).contains(&record.first_turns.len()));
    assert!(record.history_bytes > 20 * LARGE as u64);
}

async fn a_full_log_warns_once_and_continues_when_the_limit_is_raised(store: TestStore) {
    let number = store.running("a").await;
    let write = async |ordinal, max_bytes| {
        let lines = vec![line("one"), line("two"), line("three")];
        store
            .note_attempt(number, attempt(1, ordinal), lines, max_bytes, None)
            .await
            .unwrap();
    };
    write(1, 80).await;
    write(2, 80).await;
    let read = async || {
        let filter = LogFilter {
            at_least: LogLevel::Trace,
            after: None,
            limit: 100,
        };
        let rows = store.tenant(TENANT).logs(&id("a"), &filter).await.unwrap().unwrap();
        rows.into_iter().map(|row| row.line.message).collect::<Vec<_>>()
    };
    let lines = read().await;
    assert_eq!(&lines[..2], ["one", "two"]);
    assert!(lines[2].starts_with("the log is full"), "{lines:?}");
    assert_eq!(lines.len(), 3);
    write(3, 10_000).await;
    assert_eq!(read().await[3..], ["one", "two", "three"]);
    store.assert_sound().await;
}

async fn idempotency_keys_are_counted_until_they_are_swept(store: TestStore) {
    store.started("a").await;
    let before = store.stored_bytes(TENANT);
    let text = "x".repeat(200);
    let send = async |key: Option<IdempotencyKey>, at: Timestamp| {
        let suspend = InboxItem::Suspend { reason: String::new() };
        let append = InboxAppend {
            at,
            ..append("a", suspend)
        };
        store.append(append, key).await.unwrap()
    };
    assert!(matches!(send(None, NOW).await, AppendOutcome::Appended { .. }));
    let message = store.stored_bytes(TENANT) - before;
    send(key(&text, 1), NOW).await;
    let counted = store.stored_bytes(TENANT) - before - 2 * message;
    assert_eq!(counted, 200 + 1 + 128);
    assert_eq!(send(key(&text, 1), NOW).await, AppendOutcome::Repeated);
    store.assert_sound().await;

    // An expired key is replaced by the next use of its text.
    let later = Timestamp(NOW.0 + 1_001);
    let again = key(&text, 2).map(|key| IdempotencyKey {
        expires_at: Timestamp(later.0 + 1_000),
        ..key
    });
    assert!(matches!(send(again, later).await, AppendOutcome::Appended { .. }));
    assert_eq!(store.stored_bytes(TENANT) - before, 3 * message + counted);
    store.assert_sound().await;
    store.sweep_all(Timestamp(later.0 + 1_001)).await;
    assert_eq!(store.stored_bytes(TENANT) - before, 3 * message);
    let store = store.crash().await;
    assert_eq!(store.stored_bytes(TENANT) - before, 3 * message);
    store.assert_sound().await;
}

async fn answers_are_stored_and_counted_with_their_keys(store: TestStore) {
    let entity = model::EntityId::new("counter", "a").unwrap();
    let address = EntityAddress::new(&entity, ModuleNumber(1));
    let key = |fingerprint| key("k", fingerprint).unwrap();
    let call = InboxItem::Operation(Box::new(model::Operation {
        name: "add".into(),
        input: payload("1"),
        reply_to: None,
        section: None,
        due_at: None,
    }));
    let append = InboxAppend {
        id: address.id.clone(),
        entity: Some(address),
        ..append("-", call)
    };
    let appended = store.append(append, Some(key(1))).await.unwrap();
    let AppendOutcome::Appended { instance, row, .. } = appended else {
        panic!("{appended:?}");
    };
    let answer_of = async |key: IdempotencyKey| store.tenant(TENANT).answer_of(&key).await.unwrap();
    assert_eq!(answer_of(key(1)).await, None);

    let outcome: TaskOutcome = Ok(payload("\"the answer\""));
    let answer = |fingerprint: u8, outcome: &TaskOutcome| KeyedAnswer {
        key: "k".into(),
        fingerprint: [fingerprint; 32],
        outcome: outcome.clone(),
    };
    let step = |answers: Vec<KeyedAnswer>, consumed: Vec<InboxSeq>, replaced: u64| {
        let mut commit = step(instance, 0);
        commit.consumed = consumed;
        commit.entity = Some(EntityChange {
            ends: false,
            state: model::EntityState::default(),
            replaced,
            consumed: Vec::new(),
            answers,
        });
        commit
    };
    let state = codec::encode(&model::EntityState::default()).len() as u64;
    let taken = step(
        vec![answer(2, &Err(model::Failure::new("Own", "no")))],
        vec![row.seq],
        0,
    );
    store.commit(taken).await.unwrap();
    assert_eq!(answer_of(key(1)).await, None, "it belongs to another request");
    let before = store.stored_bytes(TENANT);
    store
        .commit(step(vec![answer(1, &outcome)], Vec::new(), state))
        .await
        .unwrap();
    assert_eq!(
        store.stored_bytes(TENANT) - before,
        codec::encode(&outcome).len() as u64
    );
    assert_eq!(answer_of(key(1)).await.as_ref(), Some(&outcome));
    assert_eq!(answer_of(key(2)).await, None);
    store.assert_sound().await;
    let store = store.crash().await;
    let found = store.tenant(TENANT).answer_of(&key(1)).await.unwrap();
    assert_eq!(found, Some(outcome.clone()));

    store.sweep_all(Timestamp(NOW.0 + 1_001)).await;
    assert_eq!(store.tenant(TENANT).answer_of(&key(1)).await.unwrap(), None);
    store.assert_sound().await;
    // Nobody can ask for the answer any more.
    store
        .commit(step(vec![answer(1, &outcome)], Vec::new(), state))
        .await
        .unwrap();
    store.assert_sound().await;
}

async fn nothing_is_stored_for_a_tenant_that_was_deleted_in_the_meantime(store: TestStore) {
    let created = Change::CreateTenant {
        name: "acme".parse().unwrap(),
        quotas: "{}".into(),
        at: NOW,
    };
    let Changed::Done(Some(acme)) = store.administer(created).await.unwrap() else {
        panic!("not created");
    };
    let of_acme = |name: &str| NewInstance {
        tenant: acme,
        ..instance(name)
    };
    let creation = Creation {
        instance: of_acme("b"),
        key: None,
        tags: Tags::default(),
    };
    let created = TurnCommit::of_creation(store.new_number(acme, &id("b")), creation);
    let module = PutModule {
        tenant: acme,
        ..put_module("orders", 2, &["Order"])
    };
    // All operations are queued before the writer takes the first one, so they form one batch.
    let (deleted, started, created, put) = tokio::join!(
        store.administer(Change::DeleteTenant(acme)),
        store.start(of_acme("a"), None),
        store.commit(created),
        store.put_module(module.clone()),
    );
    assert_eq!(deleted.unwrap(), Changed::Done(None));
    assert_eq!(started.unwrap(), StartOutcome::TenantGone);
    assert_eq!(created.unwrap().refused, Some(StartOutcome::TenantGone));
    assert_eq!(put.unwrap(), PutModuleOutcome::TenantGone);
    assert_eq!(store.start(of_acme("a"), None).await.unwrap(), StartOutcome::TenantGone);
    assert_eq!(store.put_module(module).await.unwrap(), PutModuleOutcome::TenantGone);
    assert_eq!(store.rows("instances").await, 0);
    store.assert_sound().await;
}

async fn an_answer_does_not_land_on_a_key_that_another_request_takes_over_in_the_same_batch(store: TestStore) {
    let address = || EntityAddress::new(&model::EntityId::new("counter", "a").unwrap(), ModuleNumber(1));
    let call = || {
        let item = InboxItem::Operation(Box::new(model::Operation {
            name: "add".into(),
            input: payload("1"),
            reply_to: None,
            section: None,
            due_at: None,
        }));
        InboxAppend {
            id: address().id,
            entity: Some(address()),
            ..append("-", item)
        }
    };
    let appended = store.append(call(), key("k", 1)).await.unwrap();
    let AppendOutcome::Appended { instance, row, .. } = appended else {
        panic!("{appended:?}");
    };
    let mut applied = step(instance, 0);
    applied.consumed = vec![row.seq];
    applied.entity = Some(EntityChange {
        ends: false,
        state: model::EntityState::default(),
        replaced: 0,
        consumed: vec![codec::encode(&row.item).len() as u64],
        answers: vec![KeyedAnswer {
            key: "k".into(),
            fingerprint: [1; 32],
            outcome: Ok(payload("\"of the first request\"")),
        }],
    });
    // The key expires before its answer is written, and another request uses it again.
    let later = Timestamp(NOW.0 + 1_001);
    let again = key("k", 2).map(|key| IdempotencyKey {
        expires_at: Timestamp(later.0 + 1_000),
        ..key
    });
    let other = InboxAppend { at: later, ..call() };
    let asks: Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>> = vec![
        Box::pin(async { drop(store.commit(applied).await.unwrap()) }),
        Box::pin(async {
            let appended = store.append(other, again).await.unwrap();
            assert!(matches!(appended, AppendOutcome::Appended { .. }), "{appended:?}");
        }),
    ];
    in_batches(&store, 1, asks).await;
    for fingerprint in [1, 2] {
        let answer = store.tenant(TENANT).answer_of(&key("k", fingerprint).unwrap()).await;
        assert_eq!(answer.unwrap(), None, "{fingerprint}");
    }
    store.assert_sound().await;
}
