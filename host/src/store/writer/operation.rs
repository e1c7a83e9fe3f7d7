//! The writer's operations and their outcomes.
//!
//! To add an operation, add a variant here, an arm to [`describe`](Operation::describe), which returns what the writer
//! must know before it executes the operation, and an arm to the writer's `step`, which executes it.
//!
//! Callers encode the values to store, so that this work runs on their threads, and the single writer only moves bytes.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::description::Whose;
use crate::{
    model::{InboxItem, InboxRow, InstanceId, InstanceNumber, LogLine, StuckReason, TenantId, Timestamp, codec},
    store::{
        AppendOutcome, AttemptRow, BroadcastOutcome, BroadcastPiece, Change, Changed, Completion, CompletionChange,
        CompletionOutcome, EndBroadcast, EndOfBroadcast, Error, Heartbeat, IdempotencyKey, InboxAppend, NewBroadcast,
        NewInstance, OldVersion, PurgeOutcome, PutModule, PutModuleOutcome, RaisedByBroadcast, ScheduleChanged,
        TurnCommit, TurnReceipt, Used, schedules::ScheduleWork,
    },
};

/// A queued operation.
pub(in crate::store) struct Job {
    pub(in crate::store) operation: Operation,
    pub(in crate::store) whose: Whose,
    /// The approximate bytes that it writes.
    pub(in crate::store) bytes: usize,
    /// Its share of the queue's byte budget.
    pub(in crate::store) room: OwnedSemaphorePermit,
    pub(in crate::store) reply: oneshot::Sender<Result<Outcome, Error>>,
}

/// An operation; see the method of [`Store`](crate::store::Store) with the same name.
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
    NoteHeartbeat {
        instance: InstanceNumber,
        heartbeat: Box<Heartbeat>,
    },
    ChangeCompletion(Box<EncodedCompletion>),
    NoteUsage(Box<Used>),
    MarkStuck {
        instance: InstanceNumber,
        reason: StuckReason,
        at: Timestamp,
    },
    Purge {
        tenant: TenantId,
        id: InstanceId,
    },
    PurgeMany {
        tenant: TenantId,
        instances: Vec<InstanceNumber>,
        /// Whether it is the host's upkeep, for which nobody waits.
        is_upkeep: bool,
    },
    Administer(Box<Change>),
    CreateBroadcast(Box<NewBroadcast>),
    /// Raise the event of a broadcast for some instances.
    Broadcast {
        piece: Box<BroadcastPiece>,
        item: EncodedItem,
    },
    EndBroadcast(EndBroadcast),
    ForgetBroadcasts {
        before: Timestamp,
    },
    PutModule(Box<PutModule>),
    DeleteModule {
        tenant: TenantId,
        name: String,
        at: Timestamp,
    },
    DeleteModuleBytes(OldVersion),
    /// Change a schedule, and perhaps create an instance with it.
    Schedule(Box<ScheduleWork>),
    /// Delete some attempts of a task that has more than are kept.
    PruneAttempts {
        limit: u64,
    },
    /// Check that the database can be written.
    Probe,
    Sweep {
        now: Timestamp,
        limit: u64,
    },
}

/// The outcome of the [`Operation`] with the same name.
#[derive(Debug)]
pub(in crate::store) enum Outcome {
    Append(AppendOutcome),
    Deliver(Option<InboxRow>),
    Commit(TurnReceipt),
    NoteAttempt(bool),
    NoteHeartbeat(bool),
    ChangeCompletion(CompletionOutcome),
    NoteUsage,
    MarkStuck(bool),
    Purge(PurgeOutcome),
    PurgeMany(u64),
    Administer(Changed),
    CreateBroadcast(BroadcastOutcome),
    /// The events that were raised; `None` if the broadcast is not where the piece begins.
    Broadcast(Option<Vec<RaisedByBroadcast>>),
    EndBroadcast(EndOfBroadcast),
    /// How many were deleted.
    ForgetBroadcasts(usize),
    PutModule(PutModuleOutcome),
    DeleteModule(bool),
    DeleteModuleBytes(bool),
    Schedule(ScheduleChanged),
    /// Whether there was a task to prune.
    PruneAttempts(bool),
    Probe,
    /// Whether there may be more to delete.
    Sweep(bool),
}

/// A message and its encoding.
pub(in crate::store) struct EncodedItem {
    pub(in crate::store) item: InboxItem,
    pub(in crate::store) bytes: Vec<u8>,
}

/// A change to a call that may be completed from outside, and the encoding of its message.
pub(in crate::store) struct EncodedCompletion {
    pub(in crate::store) instance: InstanceNumber,
    pub(in crate::store) completion: Completion,
    pub(in crate::store) change: CompletionChange,
    /// The message of [`CompletionChange::Complete`].
    pub(in crate::store) item: Option<EncodedItem>,
    pub(in crate::store) lines: Vec<LogLine>,
    pub(in crate::store) max_log_bytes: u64,
}

impl EncodedCompletion {
    /// Encodes the message.
    pub(in crate::store) fn new(
        instance: InstanceNumber,
        completion: Completion,
        change: CompletionChange,
        lines: Vec<LogLine>,
        max_log_bytes: u64,
    ) -> Self {
        let item = match &change {
            CompletionChange::Complete(item) => Some(EncodedItem::new(item.clone())),
            _ => None,
        };
        Self {
            instance,
            completion,
            change,
            item,
            lines,
            max_log_bytes,
        }
    }

    /// The attempt that fails.
    pub(in crate::store) fn attempt(&self) -> Option<&AttemptRow> {
        match &self.change {
            CompletionChange::Fail(attempt, _) => Some(attempt),
            _ => None,
        }
    }
}

/// A commit and the encodings of its parts.
pub(in crate::store) struct EncodedCommit {
    pub(in crate::store) commit: TurnCommit,
    /// The `Start` of an instance that is created without a turn.
    pub(in crate::store) start: Option<EncodedItem>,
    pub(in crate::store) turn: Option<Vec<u8>>,
    /// The new state of an entity.
    pub(in crate::store) entity: Option<Vec<u8>>,
    /// The answers of its step that are stored with idempotency keys, in their order.
    pub(in crate::store) answers: Vec<Vec<u8>>,
    /// The `Start` messages of sub-orchestrations that are rewound, in case they are created, in their order.
    pub(in crate::store) rewound: Vec<Vec<u8>>,
    /// The `Start` messages of the children, in their order.
    pub(in crate::store) children: Vec<Vec<u8>>,
    /// The messages, in their order.
    pub(in crate::store) messages: Vec<Vec<u8>>,
    /// The events of [`TurnCommit::kept`], in their order.
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
            entity: commit.entity.as_ref().map(|change| codec::encode(&change.state)),
            answers: commit
                .answers()
                .iter()
                .map(|answer| codec::encode(&answer.outcome))
                .collect(),
            rewound: commit
                .rewound
                .iter()
                .map(|child| encode_start(&child.instance))
                .collect(),
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
