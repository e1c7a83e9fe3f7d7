//! The units of change: each is written as a whole or not at all.
//!
//! Plain data. The engine fills them in, and the store's writer writes them.

use std::collections::BTreeSet;

use super::Used;
use crate::model::{
    Arrival, Decision, ENTRY_BYTES, EntityId, EntityState, Event, ExecutionNumber, Failure, FunctionKind, FunctionName,
    InboxItem, InboxRow, InboxSeq, InstanceId, InstanceNumber, InstanceStatus, LogLine, ModuleNumber, Outcome, Payload,
    Rewinds, Started, StuckReason, Tags, TaskId, TenantId, Timestamp, Turn, TurnNumber,
};

/// An instance to create, with its first message (`Start`) in its inbox.
///
/// An ended instance with the same id is replaced (a new incarnation under a new number); a live one is left alone.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// Its id, unique among the tenant's instances.
    pub id: InstanceId,
    /// The module version it will run on.
    pub module: ModuleNumber,
    /// The start of its first execution, with the function, the input and the parent, if any.
    pub started: Started,
    /// When the host accepted the request.
    pub created_at: Timestamp,
}

/// The outcome of creating a [`NewInstance`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOutcome {
    /// The instance was created under this number.
    Created(InstanceNumber),
    /// A live instance has this id; nothing was changed.
    AlreadyExists(InstanceStatus),
    /// The idempotency key was used before for the same request, which created or addressed this instance.
    Repeated(InstanceId),
    /// The idempotency key was used before for a different request; nothing was changed.
    KeyReused,
    /// The tenant was deleted in the meantime; nothing was changed.
    TenantGone,
}

/// A client's idempotency key: a repeated request gets the answer of the first one.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// The key as the client sent it.
    pub key: String,
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
    /// The fingerprint that an earlier version of the host stored for the same request.
    pub earlier_fingerprint: [u8; 32],
    /// When the key expires.
    pub expires_at: Timestamp,
}

impl IdempotencyKey {
    /// Whether the stored fingerprint belongs to the same request.
    pub(super) fn is_of(&self, stored: &[u8]) -> bool {
        stored == self.fingerprint || stored == self.earlier_fingerprint
    }
}

/// A client's message for the inbox of one instance.
#[derive(Debug, Clone)]
pub struct InboxAppend {
    /// The tenant that owns the instance.
    pub tenant: TenantId,
    /// Its id.
    pub id: InstanceId,
    /// The message.
    pub item: InboxItem,
    /// When the host accepted the request.
    pub at: Timestamp,
    /// The limit for the stored bytes of an execution; at this size, it accepts no more messages except control
    /// messages.
    pub max_bytes: u64,
    /// The limit for the messages that wait for an entity; at this number, it accepts no more except control messages.
    pub max_waiting: u64,
    /// Set for a message to an entity, which begins to exist with it.
    pub entity: Option<EntityAddress>,
}

/// The outcome of an [`InboxAppend`].
#[derive(Debug, Clone, PartialEq)]
pub enum AppendOutcome {
    /// The message is in the inbox of the instance.
    Appended {
        /// The instance.
        instance: InstanceNumber,
        /// The message with its position.
        row: InboxRow,
        /// Whether the instance is suspended or stuck, or its first turn is delayed, so that it does not process the message
        /// for now.
        is_at_rest: bool,
    },
    /// No instance has this id.
    Unknown,
    /// The instance has ended.
    Ended(InstanceStatus),
    /// The message rewinds the instance, which has not failed.
    NotFailed(InstanceStatus),
    /// The execution has reached its limit of stored bytes and accepts no more messages.
    Full,
    /// So many messages wait for the entity that it accepts no more.
    TooManyWaiting,
    /// The idempotency key was used before for the same request.
    Repeated,
    /// The idempotency key was used before for a different request.
    KeyReused,
}

/// A start that was not answered yet: the commit of the instance's first step creates the instance.
#[derive(Debug, Clone)]
pub struct Creation {
    /// The instance.
    pub instance: NewInstance,
    /// The client's idempotency key, stored with the instance.
    pub key: Option<IdempotencyKey>,
    /// The instance's tags.
    pub tags: Tags,
}

/// Everything that one step of an instance makes durable: all of it is written, or none of it.
#[derive(Debug, Clone)]
pub struct TurnCommit {
    /// The instance that took the step.
    pub instance: InstanceNumber,
    /// Set in the first commit of an instance that is not stored yet. Its number was
    /// [allocated](super::Store::new_number) before. Its `Start` goes to its inbox unless the commit has a turn.
    pub creation: Option<Box<Creation>>,
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// The execution that `turn`, `attempts` and `logs` belong to.
    pub execution: ExecutionNumber,
    /// The turn, if the step ran one. Steps without a turn are, for example, a suspension or the retry of a child.
    pub turn: Option<Turn>,
    /// Inbox rows that the step consumed, except events.
    pub consumed: Vec<InboxSeq>,
    /// Stored events that the step took.
    pub taken_events: Vec<TakenEvent>,
    /// Events that the owner received directly and that no task has taken; they are stored as pending events.
    pub kept: Vec<Event>,
    /// Instances to start. If a live instance has the id of one, that one is not started; if it has a parent, the
    /// parent (this instance) gets a `TaskEnded` message with the failure `windlass.already-exists` instead.
    pub children: Vec<NewInstance>,
    /// Messages to other instances. A message is dropped if its recipient does not exist or has ended. The outcome of a task
    /// is also kept for an instance that has failed, because it may be rewound.
    pub messages: Vec<OutboundMessage>,
    /// At this number of waiting messages, an entity accepts no call of an orchestration, except from the holder of its
    /// lock. The caller gets a `TaskEnded` message with the failure `windlass.too-many-operations` instead.
    pub max_waiting_operations: u64,
    /// Sub-orchestrations that run again with the step, because it rewinds the instance.
    pub rewound: Vec<RewoundChild>,
    /// All rewinds of the execution, if the step rewinds it. The store sets up to which message they go.
    pub rewinds: Option<Rewinds>,
    /// The new state, if an entity took the step.
    pub entity: Option<EntityChange>,
    /// Attempts to record, whether they failed or were cut off.
    pub attempts: Vec<AttemptRow>,
    /// Lines of the instance's log.
    pub logs: Vec<LogLine>,
    /// The limit for the log of one execution, in bytes. Lines are dropped when the log is full.
    pub max_log_bytes: u64,
    /// The usage of the step and of the attempts whose results it took.
    pub usage: Vec<Used>,
    /// The instance row after the step, for queries and wake-ups.
    pub summary: Summary,
    /// After continue-as-new: the start of the next execution. Goes to the inbox as `Start`; the history, attempts and
    /// timers of the execution that ended become garbage.
    pub next_execution: Option<Started>,
}

impl TurnCommit {
    /// A commit that changes only the instance row. Callers fill in the rest.
    pub fn new(instance: InstanceNumber, tenant: TenantId, summary: Summary) -> Self {
        Self {
            instance,
            creation: None,
            tenant,
            execution: summary.execution,
            turn: None,
            consumed: Vec::new(),
            taken_events: Vec::new(),
            kept: Vec::new(),
            children: Vec::new(),
            messages: Vec::new(),
            max_waiting_operations: u64::MAX,
            rewound: Vec::new(),
            rewinds: None,
            entity: None,
            attempts: Vec::new(),
            logs: Vec::new(),
            max_log_bytes: u64::MAX,
            usage: Vec::new(),
            summary,
            next_execution: None,
        }
    }

    /// The approximate bytes that the commit takes in memory until it is written, with its encoded form.
    pub fn bytes(&self) -> u64 {
        let entries = |count: usize| count as u64 * ENTRY_BYTES;
        let turn = self.turn.as_ref().map_or(0, |turn| {
            let arrived: u64 = turn.arrivals.iter().map(Arrival::payload_bytes).sum();
            let decided: u64 = turn.decisions.iter().map(Decision::payload_bytes).sum();
            arrived + decided + entries(turn.arrivals.len() + turn.decisions.len())
        });
        let started = |started: &Started| {
            started.input.bytes() + started.events.iter().map(|event| event.payload.bytes()).sum::<u64>()
        };
        let rewound = self.rewound.iter().map(|child| &child.instance);
        let children: u64 = self
            .children
            .iter()
            .chain(rewound)
            .map(|child| started(&child.started))
            .sum();
        let messages: u64 = self.messages.iter().map(|message| message.item.payload_bytes()).sum();
        let kept: u64 = self.kept.iter().map(|event| event.payload.bytes()).sum();
        let attempts: u64 = self.attempts.iter().map(|attempt| attempt.failure.bytes()).sum();
        let logs: u64 = self.logs.iter().map(|line| line.message.len() as u64).sum();
        let creation = self.creation.as_ref();
        let status = self.summary.custom_status.as_ref().and_then(Option::as_ref);
        let single = creation.map_or(0, |creation| {
            started(&creation.instance.started) + creation.tags.bytes()
        }) + self.next_execution.as_ref().map_or(0, started)
            + status.map_or(0, Payload::bytes)
            + self.entity.as_ref().map_or(0, |change| change.state.bytes());
        let rows = self.children.len()
            + self.rewound.len()
            + self.messages.len()
            + self.kept.len()
            + self.attempts.len()
            + self.logs.len();
        let consumed = self.consumed.len() + self.taken_events.len();
        2 * (turn + children + messages + kept + attempts + logs + single + entries(4 * rows + consumed))
    }

    /// The fuel that the guest used in the step, in Wasmtime units; without that of activities.
    pub fn fuel_of_guest(&self) -> u64 {
        match (&self.turn, &self.entity) {
            (Some(turn), _) => turn.fuel,
            (None, Some(_)) => self.summary.fuel,
            (None, None) => 0,
        }
    }

    /// The answers that are stored with idempotency keys.
    pub(super) fn answers(&self) -> &[KeyedAnswer] {
        self.entity.as_ref().map_or(&[], |change| &change.answers)
    }

    /// Adds fuel to what the turn used.
    pub fn add_fuel(&mut self, fuel: u64) {
        let Some(turn) = &mut self.turn else { return };
        turn.fuel = turn.fuel.saturating_add(fuel);
        self.summary.fuel = self.summary.fuel.saturating_add(fuel);
        let of_turn = self
            .usage
            .iter_mut()
            .find(|used| used.kind == FunctionKind::Orchestration);
        if let Some(used) = of_turn {
            used.amount.fuel = used.amount.fuel.saturating_add(fuel);
        }
    }

    /// A commit that creates an instance without running its first turn.
    pub fn of_creation(instance: InstanceNumber, creation: Creation) -> Self {
        let new = &creation.instance;
        let pending = Summary {
            status: InstanceStatus::Pending,
            execution: new.started.execution,
            last_turn: TurnNumber::NONE,
            wake_at: new.started.not_before,
            in_flight: 0,
            custom_status: None,
            stuck: None,
            module: new.module,
            fuel: 0,
            updated_at: new.created_at,
        };
        let commit = Self::new(instance, new.tenant, pending);
        Self {
            creation: Some(Box::new(creation)),
            ..commit
        }
    }
}

/// A sub-orchestration of an instance that is rewound.
#[derive(Debug, Clone)]
pub struct RewoundChild {
    /// Created if no instance has its id, or the one that has it was terminated. If the parent has a sub-orchestration
    /// with the id that failed, that one is rewound instead; one that has not ended is left alone, and so is one that has
    /// completed: its outcome is on the way.
    pub instance: NewInstance,
    /// Why it is rewound.
    pub reason: String,
}

/// A stored event that a turn took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenEvent {
    /// The event's position.
    pub seq: InboxSeq,
    /// The event's folded name.
    pub name: String,
    /// The [bytes](crate::model::inbox::event_bytes) that are stored for the event.
    pub bytes: u64,
}

/// A message that a step sends to another instance.
#[derive(Debug, Clone)]
pub struct OutboundMessage {
    /// The recipient.
    pub to: Recipient,
    /// The content.
    pub item: InboxItem,
}

/// How an [`OutboundMessage`] is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// The incarnation with this number.
    Number(InstanceNumber),
    /// The current incarnation with this id, of the sender's tenant.
    Id(InstanceId),
    /// The same, if the sender started it as a sub-orchestration. Otherwise the message is dropped: the id may belong to
    /// another instance, which is why the sub-orchestration could not be started.
    Child(InstanceId),
    /// An entity of the sender's tenant. If it does not exist, it is created.
    Entity(EntityAddress),
}

/// An entity, and what is stored of it when it is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityAddress {
    /// Its id.
    pub id: InstanceId,
    /// Its name.
    pub name: FunctionName,
    /// A module version that contains it.
    pub module: ModuleNumber,
}

impl EntityAddress {
    /// The address of an entity that this module version contains.
    pub fn new(entity: &EntityId, module: ModuleNumber) -> Self {
        Self {
            id: entity.instance_id(),
            name: entity.name().clone(),
            module,
        }
    }
}

/// What a step of an entity stores of it.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityChange {
    /// The new state.
    pub state: EntityState,
    /// The length of the stored state that it replaces, in bytes; 0 if there is none.
    pub replaced: u64,
    /// The lengths of the messages that the step consumed, as they are stored, in bytes.
    pub consumed: Vec<u64>,
    /// The answers to clients that sent idempotency keys.
    pub answers: Vec<KeyedAnswer>,
    /// The entity has no state and no lock, and its owner knows of no further message: the entity is deleted, unless
    /// messages came that its owner does not know of.
    pub ends: bool,
}

impl TurnCommit {
    /// Whether it is the last one of an entity, as far as its owner knows.
    pub(super) fn ends(&self) -> bool {
        self.entity.as_ref().is_some_and(|change| change.ends)
    }
}

/// The answer to a client that sent an idempotency key. It is stored with the key, unless the key has expired.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyedAnswer {
    /// The key.
    pub key: String,
    /// The fingerprint of the request, as stored with the key.
    pub fingerprint: [u8; 32],
    /// The outcome of the operation.
    pub outcome: Outcome,
}

/// The instance row after a step.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The instance's status.
    pub status: InstanceStatus,
    /// The current execution (the next one, after continue-as-new).
    pub execution: ExecutionNumber,
    /// The last turn written in the current execution; [`TurnNumber::NONE`] before its first.
    pub last_turn: TurnNumber,
    /// When to wake the instance if nothing arrives before: its earliest timer, timeout or retry of a child.
    pub wake_at: Option<Timestamp>,
    /// The number of outstanding activity calls. Recovery wakes instances that have any.
    pub in_flight: u32,
    /// Set when the custom status changed; `Some(None)` clears it.
    pub custom_status: Option<Option<Payload>>,
    /// The reason if the instance is stuck, otherwise `None`.
    pub stuck: Option<StuckReason>,
    /// The module version it runs on (continue-as-new may move to a newer one).
    pub module: ModuleNumber,
    /// Fuel used by this step, added to the instance's total.
    pub fuel: u64,
    /// When the step was taken.
    pub updated_at: Timestamp,
}

/// The time at which an instance wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeUp {
    /// The time.
    pub at: Timestamp,
    /// The instance.
    pub instance: InstanceNumber,
    /// Its tenant.
    pub tenant: TenantId,
}

/// What a [`TurnCommit`] created and delivered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TurnReceipt {
    /// New instances that must be woken; each has a `Start` row in its inbox.
    pub created: Vec<InstanceNumber>,
    /// New inbox rows, whose instances must be woken. May contain the committing instance itself.
    pub delivered: Vec<(InstanceNumber, InboxRow)>,
    /// If the step rewinds the instance: the newest message that was stored before. Failures up to it are void.
    pub rewound_until: Option<InboxSeq>,
    /// Instances of `delivered` that are suspended or stuck, or whose first turn is delayed. Only control messages wake
    /// them.
    pub at_rest: BTreeSet<InstanceNumber>,
    /// The positions of the events of [`TurnCommit::kept`], in their order.
    pub kept: Vec<InboxSeq>,
    /// The instance has ended or was purged, so nothing was written.
    pub instance_gone: bool,
    /// The instance was an entity that [ended](EntityChange::ends), and it was deleted with the commit.
    pub deleted: bool,
    /// Why the instance was not created and nothing was written. [`StartOutcome::Created`] if an earlier commit created
    /// it.
    pub refused: Option<StartOutcome>,
}

/// One attempt of a task that did not produce the final outcome. Not part of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    /// The execution that scheduled the task.
    pub execution: ExecutionNumber,
    /// The task that was attempted.
    pub task: TaskId,
    /// Position among the task's rows, from 1.
    pub ordinal: u32,
    /// The number of the attempt, from 1. Attempts that were cut off by the end of the host do not increase it. 0 for the
    /// note that a rewind voided the final failure: the next attempt has the number 1 again.
    pub number: u32,
    /// Whether the attempt was cut off by the end of the host instead of failing.
    pub cut_off: bool,
    /// Why it failed.
    pub failure: Failure,
    /// The fuel that the attempt used.
    pub fuel: u64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// When the next attempt starts; `None` if the retry policy was not applied to the failure yet.
    pub next_at: Option<Timestamp>,
}

/// All that an owner needs to take over an instance, except the rest of a long history.
#[derive(Debug, Clone)]
pub struct InstanceRecord {
    /// Its number.
    pub number: InstanceNumber,
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// Its id.
    pub id: InstanceId,
    /// The orchestration function.
    pub function: FunctionName,
    /// The module version it runs on.
    pub module: ModuleNumber,
    /// The task that waits for the instance, if any.
    pub parent: Option<crate::model::Parent>,
    /// The instance's status.
    pub status: InstanceStatus,
    /// What is stored of it, if it is an entity that has taken a step.
    pub entity: Option<EntityState>,
    /// The reason if the instance is stuck, otherwise `None`.
    pub stuck: Option<StuckReason>,
    /// The current execution.
    pub execution: ExecutionNumber,
    /// The last turn written in it.
    pub last_turn: TurnNumber,
    /// When the host accepted the request.
    pub created_at: Timestamp,
    /// The progress that the guest reported.
    pub custom_status: Option<Payload>,
    /// The fuel that all its turns have used.
    pub fuel: u64,
    /// Bytes of the history of the current execution and of the messages that were sent to it, except pending events.
    pub history_bytes: u64,
    /// Bytes of the pending events.
    pub event_bytes: u64,
    /// Messages that were not consumed yet, in order.
    pub inbox: Vec<InboxRow>,
    /// Whether pending events may be missing, because they or the other messages are too large to read at once: then
    /// `inbox` contains no events, otherwise all.
    pub more_events: bool,
    /// Whether more messages (except events) are stored than `inbox` contains. It then contains some of the oldest ones
    /// and all control messages, which must not wait for others: the start, and requests to terminate, suspend or
    /// resume.
    pub more_inbox: bool,
    /// Whether more delayed messages are stored than `inbox` contains. It then contains those that are due first, or
    /// none.
    pub more_delayed: bool,
    /// The rewinds of the current execution.
    pub rewinds: Rewinds,
    /// Whether attempts of the current execution are recorded.
    pub has_attempts: bool,
    /// The first turns of the current execution; for most histories, these are all turns.
    pub first_turns: Vec<Turn>,
}
