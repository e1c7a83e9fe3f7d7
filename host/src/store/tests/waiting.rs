//! How many messages wait for an entity, and what happens when it accepts no more.

use super::*;
use crate::model::{EntityId, Operation, ReplyTo, SectionId, failure::types};

over_every_backend! {
    with_module:
    an_entity_accepts_no_operation_of_a_client_while_too_many_wait,
    a_call_of_an_orchestration_fails_and_its_signals_are_accepted,
}

const MOST: u64 = 3;

fn counter() -> EntityAddress {
    EntityAddress::new(&EntityId::new("counter", "a").unwrap(), ModuleNumber(1))
}

fn operation(reply_to: Option<ReplyTo>, section: Option<SectionId>) -> InboxItem {
    InboxItem::Operation(Box::new(Operation {
        name: "add".into(),
        input: payload("1"),
        reply_to,
        section,
        due_at: None,
    }))
}

async fn send(store: &Store) -> AppendOutcome {
    send_with(store, 100).await
}

/// Sends an operation with an idempotency key that has this number.
async fn send_with(store: &Store, number: u8) -> AppendOutcome {
    let address = counter();
    let append = InboxAppend {
        id: address.id.clone(),
        entity: Some(address),
        max_waiting: MOST,
        ..append("-", operation(None, None))
    };
    store.append(append, key(&format!("k{number}"), number)).await.unwrap()
}

async fn an_entity_accepts_no_operation_of_a_client_while_too_many_wait(store: TestStore) {
    let mut rows = Vec::new();
    for number in 0..3 {
        let AppendOutcome::Appended { instance, row, .. } = send_with(&store, number).await else {
            panic!("it is refused");
        };
        rows.push((instance, row.seq));
    }
    assert_eq!(send(&store).await, AppendOutcome::TooManyWaiting);
    // A repeated request is none of them, and a refused one does not use its key.
    assert_eq!(send_with(&store, 0).await, AppendOutcome::Repeated);
    let store = store.crash().await;
    assert_eq!(send(&store).await, AppendOutcome::TooManyWaiting);
    let (entity, first) = rows[0];
    let mut step = step(entity, 0);
    step.consumed = vec![first];
    store.commit(step).await.unwrap();
    assert!(matches!(send(&store).await, AppendOutcome::Appended { .. }));
    assert_eq!(send_with(&store, 9).await, AppendOutcome::TooManyWaiting);
    // Another entity has its own queue, and control messages are always accepted.
    let unlock = InboxItem::Unlock {
        section: SectionId {
            instance: entity,
            execution: ExecutionNumber::FIRST,
            task: TaskId(1),
        },
    };
    let append = InboxAppend {
        id: counter().id,
        max_waiting: MOST,
        ..append("-", unlock)
    };
    assert!(matches!(
        store.append(append, None).await,
        Ok(AppendOutcome::Appended { .. })
    ));
    store.assert_sound().await;
}

async fn a_call_of_an_orchestration_fails_and_its_signals_are_accepted(store: TestStore) {
    let caller = store.running("caller").await;
    let reply_to = |task| ReplyTo::Task {
        instance: caller,
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
    };
    let section = SectionId {
        instance: caller,
        execution: ExecutionNumber::FIRST,
        task: TaskId(90),
    };
    let to_counter = |item| OutboundMessage {
        to: Recipient::Entity(counter()),
        item,
    };
    let mut commit = turn(caller, 2, Vec::new(), Vec::new());
    commit.max_waiting_operations = MOST;
    commit.messages = vec![
        to_counter(operation(Some(reply_to(10)), None)),
        to_counter(operation(None, None)),
        to_counter(operation(Some(reply_to(11)), None)),
        to_counter(operation(Some(reply_to(12)), None)),
        to_counter(operation(None, None)),
        to_counter(operation(Some(reply_to(13)), Some(section))),
        to_counter(operation(Some(reply_to(14)), None)),
    ];
    let receipt = store.commit(commit).await.unwrap();
    let failed = receipt.delivered.iter().filter(|(to, _)| *to == caller);
    let failed: Vec<(TaskId, &str, bool)> = failed
        .map(|(_, row)| match &row.item {
            InboxItem::TaskEnded {
                task,
                outcome: Err(failure),
                ..
            } => (*task, failure.error_type.as_str(), failure.non_retryable),
            other => panic!("{other:?}"),
        })
        .collect();
    let failure = types::TOO_MANY_OPERATIONS;
    assert_eq!(failed, [(TaskId(12), failure, false), (TaskId(14), failure, false)]);
    let waiting = receipt.delivered.iter().filter(|(to, _)| *to != caller).count();
    assert_eq!(waiting, 5);
    // The failures are stored with the turn.
    let record = store.load(caller).await.unwrap().unwrap();
    assert_eq!(record.inbox.len(), 2);
    store.assert_sound().await;
    let store = store.crash().await;
    assert_eq!(send(&store).await, AppendOutcome::TooManyWaiting);
}
