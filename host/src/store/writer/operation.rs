//! What the writer can be asked to do, and what it answers.
//!
//! A new operation is a variant here, an arm of [`describe`](Operation::describe), which says all that the writer must know
//! of it before it is judged, and an arm of the writer's `step`, which judges it.
//!
//! Whoever asks encodes what is to be stored, so that this work is spread over the callers' threads and the one writer
//! only moves bytes.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::description::Whose;
use crate::{
    model::{InboxItem, InboxRow, InstanceId, InstanceNumber, LogLine, StuckReason, TenantId, Timestamp, codec},
    store::{
        AppendOutcome, AttemptRow, Change, Changed, Error, IdempotencyKey, InboxAppend, NewInstance, OldVersion,
        PurgeOutcome, PutModule, PutModuleOutcome, TurnCommit, TurnReceipt, Used,
    },
};

/// An operation with the place its answer goes to.
pub(in crate::store) struct Job {
    pub(in crate::store) operation: Operation,
    pub(in crate::store) whose: Whose,
    /// About how much it writes, in bytes.
    pub(in crate::store) bytes: usize,
    /// Its part of what may be on its way to the writer.
    pub(in crate::store) room: OwnedSemaphorePermit,
    pub(in crate::store) reply: oneshot::Sender<Result<Outcome, Error>>,
}

/// What can be asked for.
pub(in crate::store) enum Operation {
    Append {
        append: Box<InboxAppend>,
        bytes: Vec<u8>,
        key: Option<IdempotencyKey>,
    },
    Deliver {
        to: InstanceNumber,
        item: EncodedItem,
        used: Option<Box<Used>>,
    },
    Commit(Box<EncodedCommit>),
    NoteAttempt {
        instance: InstanceNumber,
        attempt: Box<AttemptRow>,
        lines: Vec<LogLine>,
        max_log_bytes: u64,
        used: Option<Box<Used>>,
    },
    NoteUsage(Box<Used>),
    MarkStuck {
        instance: InstanceNumber,
        reason: StuckReason,
        at: Timestamp,
    },
    CountUncleanEnd(InstanceNumber),
    Purge {
        tenant: TenantId,
        id: InstanceId,
    },
    PurgeMany {
        tenant: TenantId,
        instances: Vec<InstanceNumber>,
    },
    Administer(Box<Change>),
    PutModule(Box<PutModule>),
    DeleteModule {
        tenant: TenantId,
        name: String,
        at: Timestamp,
    },
    DeleteModuleBytes(OldVersion),
    /// Delete some of the attempts of a task that has more than are kept.
    PruneAttempts {
        limit: u64,
    },
    /// Write something, whatever it is.
    Probe,
    Sweep {
        now: Timestamp,
        limit: u64,
    },
}

/// What comes of an [`Operation`], variant by variant.
#[derive(Debug)]
pub(in crate::store) enum Outcome {
    Append(AppendOutcome),
    Deliver(Option<InboxRow>),
    Commit(TurnReceipt),
    NoteAttempt(bool),
    NoteUsage,
    MarkStuck(bool),
    CountUncleanEnd(Option<u32>),
    Purge(PurgeOutcome),
    PurgeMany(u64),
    Administer(Changed),
    PutModule(PutModuleOutcome),
    DeleteModule(bool),
    DeleteModuleBytes(bool),
    /// Whether there was such a task.
    PruneAttempts(bool),
    Probe,
    /// How many rows were deleted.
    Sweep(u64),
}

/// A message with the bytes that are stored for it.
pub(in crate::store) struct EncodedItem {
    pub(in crate::store) item: InboxItem,
    pub(in crate::store) bytes: Vec<u8>,
}

/// A commit with the bytes that are stored for its parts.
pub(in crate::store) struct EncodedCommit {
    pub(in crate::store) commit: TurnCommit,
    /// The first message of an instance that is created without a turn.
    pub(in crate::store) start: Option<EncodedItem>,
    pub(in crate::store) turn: Option<Vec<u8>>,
    /// The first messages of the children, in their order.
    pub(in crate::store) children: Vec<Vec<u8>>,
    /// The messages, in their order.
    pub(in crate::store) messages: Vec<Vec<u8>>,
    /// The events that are kept, in their order.
    pub(in crate::store) kept: Vec<EncodedItem>,
    pub(in crate::store) next_execution: Option<EncodedItem>,
}

impl EncodedItem {
    /// Encodes a message.
    pub(in crate::store) fn new(item: InboxItem) -> Self {
        Self {
            bytes: codec::encode(&item),
            item,
        }
    }
}

impl EncodedCommit {
    /// Encodes a commit.
    pub(in crate::store) fn new(mut commit: TurnCommit) -> Self {
        let next_execution = commit
            .next_execution
            .take()
            .map(|started| EncodedItem::new(InboxItem::Start(Box::new(started))));
        let start = match (&commit.creation, &commit.turn) {
            (Some(creation), None) => {
                let started = creation.instance.started.clone();
                Some(EncodedItem::new(InboxItem::Start(Box::new(started))))
            }
            _ => None,
        };
        let kept = std::mem::take(&mut commit.kept).into_iter();
        Self {
            start,
            kept: kept.map(|event| EncodedItem::new(InboxItem::Event(event))).collect(),
            turn: commit.turn.as_ref().map(codec::encode),
            children: commit.children.iter().map(encode_start).collect(),
            messages: commit
                .messages
                .iter()
                .map(|message| codec::encode(&message.item))
                .collect(),
            next_execution,
            commit,
        }
    }
}

fn encode_start(instance: &NewInstance) -> Vec<u8> {
    codec::encode(&InboxItem::Start(Box::new(instance.started.clone())))
}
