//! An entity without state, lock and messages is deleted with the commit that leaves it so.

use futures::future::BoxFuture;

use super::*;
use crate::model::{EntityId, EntityState, LogLevel, Operation, codec};

over_every_backend! {
    with_module:
    an_entity_that_ends_leaves_no_row_and_the_next_operation_creates_another_one,
    an_entity_for_which_a_message_waits_does_not_end,
    a_message_in_the_same_batch_is_not_lost,
}

fn operation() -> InboxItem {
    InboxItem::Operation(Box::new(Operation {
        name: "add".into(),
        input: payload("1"),
        reply_to: None,
        section: None,
        due_at: None,
    }))
}

fn address() -> EntityAddress {
    EntityAddress::new(&EntityId::new("counter", "a").unwrap(), ModuleNumber(1))
}

fn to_entity() -> InboxAppend {
    let address = address();
    InboxAppend {
        id: address.id.clone(),
        entity: Some(address),
        ..append("-", operation())
    }
}

async fn send(store: &TestStore) -> (InstanceNumber, InboxRow) {
    match store.append(to_entity(), None).await.unwrap() {
        AppendOutcome::Appended { instance, row, .. } => (instance, row),
        other => panic!("{other:?}"),
    }
}

/// A step that consumes rows and leaves nothing, as its owner sees it.
fn last_step(instance: InstanceNumber, rows: &[InboxRow]) -> TurnCommit {
    let mut commit = step(instance, 0);
    commit.consumed = rows.iter().map(|row| row.seq).collect();
    commit.logs = vec![attempts_and_logs::line(LogLevel::Info, "the last words")];
    commit.entity = Some(EntityChange {
        state: EntityState::default(),
        replaced: 0,
        consumed: rows.iter().map(|row| codec::encode(&row.item).len() as u64).collect(),
        answers: Vec::new(),
        ends: true,
    });
    commit
}

async fn an_entity_that_ends_leaves_no_row_and_the_next_operation_creates_another_one(store: TestStore) {
    let before = store.stored_bytes(TENANT);
    let (first, row) = send(&store).await;
    let receipt = store.commit(last_step(first, &[row])).await.unwrap();
    assert!(receipt.deleted && !receipt.instance_gone);
    assert!(store.load(first).await.unwrap().is_none());
    let entity = store.tenant(TENANT).entity(&address().id).await.unwrap();
    assert!(entity.is_none());
    assert_eq!(store.stored_bytes(TENANT), before);
    store.assert_sound().await;

    let (second, row) = send(&store).await;
    assert_ne!(first, second);
    assert!(store.commit(last_step(first, &[])).await.unwrap().instance_gone);
    let store = store.crash().await;
    assert_eq!(store.inbox(second).await, std::slice::from_ref(&row));
    assert!(store.commit(last_step(second, &[row])).await.unwrap().deleted);
    store.sweep_all(NOW).await;
    assert!(store.load(second).await.unwrap().is_none());
    store.assert_sound().await;
    let store = store.crash().await;
    assert_eq!(store.stored_bytes(TENANT), before);
}

async fn an_entity_for_which_a_message_waits_does_not_end(store: TestStore) {
    let (number, row) = send(&store).await;
    // Its owner does not know of this one yet.
    let (_, late) = send(&store).await;
    let receipt = store
        .commit(last_step(number, std::slice::from_ref(&row)))
        .await
        .unwrap();
    assert!(!receipt.deleted);
    assert_eq!(store.inbox(number).await, std::slice::from_ref(&late));
    // A commit that contradicts itself deletes nothing.
    let twice = last_step(number, &[row, late.clone()]);
    assert!(!store.commit(twice).await.unwrap().deleted);
    let to_itself = TurnCommit {
        messages: vec![OutboundMessage {
            to: Recipient::Entity(address()),
            item: operation(),
        }],
        ..last_step(number, &[])
    };
    assert!(!store.commit(to_itself).await.unwrap().deleted);
    let left = store.inbox(number).await;
    assert_eq!(left.len(), 1);
    assert!(store.commit(last_step(number, &left)).await.unwrap().deleted);
    store.assert_sound().await;
}

async fn a_message_in_the_same_batch_is_not_lost(store: TestStore) {
    for message_first in [true, false] {
        let (number, row) = send(&store).await;
        let commit = async { Ok(store.commit(last_step(number, &[row])).await.unwrap()) };
        let message = async { Err(store.append(to_entity(), None).await.unwrap()) };
        let asks: Vec<BoxFuture<'_, Result<TurnReceipt, AppendOutcome>>> = match message_first {
            true => vec![Box::pin(message), Box::pin(commit)],
            false => vec![Box::pin(commit), Box::pin(message)],
        };
        let mut to = None;
        for answer in in_batches(&store, 1, asks).await {
            match answer {
                Ok(receipt) => assert_eq!(receipt.deleted, !message_first),
                Err(AppendOutcome::Appended { instance, row, .. }) => to = Some((instance, row)),
                Err(other) => panic!("{other:?}"),
            }
        }
        let (recipient, row) = to.unwrap();
        assert_eq!(recipient == number, message_first);
        assert_eq!(store.inbox(recipient).await, std::slice::from_ref(&row));
        assert!(store.commit(last_step(recipient, &[row])).await.unwrap().deleted);
        store.assert_sound().await;
    }
}
