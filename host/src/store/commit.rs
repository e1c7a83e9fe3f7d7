//! The units of change: each is written whole or not at all.
//!
//! Plain data. The engine fills these in and the store's writer writes them; nothing else changes the store.

use super::Used;
use crate::model::{
    Event, ExecutionNumber, Failure, FunctionName, InboxItem, InboxRow, InboxSeq, InstanceId, InstanceNumber,
    InstanceStatus, LogLine, ModuleNumber, Payload, Started, StuckReason, TaskId, TenantId, Timestamp, Turn,
    TurnNumber,
};

/// An instance to be created, with its first message (`Start`) in its inbox.
///
/// An ended instance of the same id is replaced (a new incarnation under a new number); a live one is left alone.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// Its owner.
    pub tenant: TenantId,
    /// Its id, unique among the tenant's instances.
    pub id: InstanceId,
    /// The module version it will run on.
    pub module: ModuleNumber,
    /// What its first execution is given; names the function and the parent, if any.
    pub started: Started,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// What happened to a [`NewInstance`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOutcome {
    /// It exists now, under that number.
    Created(InstanceNumber),
    /// A live instance has that id; nothing was changed.
    AlreadyExists(InstanceStatus),
    /// The idempotency key was used before, for the same request, which created or addressed this instance.
    Repeated(InstanceId),
    /// The idempotency key was used before, for another request; nothing was changed.
    KeyReused,
    /// The tenant was deleted meanwhile; nothing was changed.
    TenantGone,
}

/// A client's key that makes a repeated request answer as the first did.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// As the client sent it.
    pub key: String,
    /// SHA-256 over what is asked.
    pub fingerprint: [u8; 32],
    /// What an earlier version would have stored as `fingerprint` of the same request.
    pub earlier_fingerprint: [u8; 32],
    /// The key is forgotten after this time.
    pub expires_at: Timestamp,
}

impl IdempotencyKey {
    /// Whether a stored fingerprint is that of the same request.
    pub(super) fn is_of(&self, stored: &[u8]) -> bool {
        stored == self.fingerprint || stored == self.earlier_fingerprint
    }
}

/// Messages for one instance's inbox, addressed by a client.
#[derive(Debug, Clone)]
pub struct InboxAppend {
    /// The owner of the instance.
    pub tenant: TenantId,
    /// Its id.
    pub id: InstanceId,
    /// What to append.
    pub item: InboxItem,
    /// When it was accepted.
    pub at: Timestamp,
    /// How much may be stored of an execution, in bytes, for it to take messages.
    pub max_bytes: u64,
}

/// What happened to an [`InboxAppend`].
#[derive(Debug, Clone, PartialEq)]
pub enum AppendOutcome {
    /// It is in the inbox of that instance.
    Appended {
        /// Which.
        instance: InstanceNumber,
        /// With its position.
        row: InboxRow,
        /// Whether the instance takes it only once something else happens: it is suspended or stuck.
        is_suspended_or_stuck: bool,
    },
    /// No instance has that id.
    Unknown,
    /// The instance has ended.
    Ended(InstanceStatus),
    /// So much is stored of the instance's execution that it takes no more messages.
    Full,
    /// The idempotency key was used before, for the same request.
    Repeated,
    /// The idempotency key was used before, for another request.
    KeyReused,
}

/// A start that has not been answered: the instance is created by the commit of its first step.
#[derive(Debug, Clone)]
pub struct Creation {
    /// The instance.
    pub instance: NewInstance,
    /// The client's key, to be kept with it.
    pub key: Option<IdempotencyKey>,
}

/// Everything one step of an instance's owner wants made durable: all of it is written, or none of it.
#[derive(Debug, Clone)]
pub struct TurnCommit {
    /// Whose.
    pub instance: InstanceNumber,
    /// Set in the first commit of an instance that is not stored yet, whose number was
    /// [drawn](super::Store::new_number) before. Its `Start` goes to its inbox unless the commit has a turn.
    pub creation: Option<Box<Creation>>,
    /// Its owner.
    pub tenant: TenantId,
    /// The execution that `turn`, `attempts` and `logs` belong to.
    pub execution: ExecutionNumber,
    /// The turn, if the step was one (a suspension or a retry of a child is none).
    pub turn: Option<Turn>,
    /// Inbox rows that were taken, events excepted.
    pub consumed: Vec<InboxSeq>,
    /// Stored events that were taken.
    pub taken_events: Vec<TakenEvent>,
    /// Events that came to the owner and that nobody has taken; stored to wait.
    pub kept: Vec<Event>,
    /// Instances to start. One whose id is taken by a live instance is not started; if it has a parent, that parent
    /// (this instance) gets a `TaskEnded` message with the failure `windlass.already-exists` instead.
    pub children: Vec<NewInstance>,
    /// Messages to others. One whose recipient does not exist or has ended is dropped.
    pub messages: Vec<OutboundMessage>,
    /// Attempts to note, whether they failed or were cut off.
    pub attempts: Vec<AttemptRow>,
    /// Lines of the instance's log.
    pub logs: Vec<LogLine>,
    /// How much the log of one execution may hold, in bytes; lines that come when it is full are dropped.
    pub max_log_bytes: u64,
    /// What the step and the attempts whose results it took have used.
    pub usage: Vec<Used>,
    /// What queries and wake-ups need to know afterwards.
    pub summary: Summary,
    /// After continue-as-new: what the next execution is given. Goes to the inbox as `Start`; the history, attempts
    /// and timers of the execution that ended become garbage.
    pub next_execution: Option<Started>,
}

impl TurnCommit {
    /// A commit that changes the instance row and nothing else, to be filled in.
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
            attempts: Vec::new(),
            logs: Vec::new(),
            max_log_bytes: u64::MAX,
            usage: Vec::new(),
            summary,
            next_execution: None,
        }
    }

    /// The commit that creates an instance which has not taken its first turn.
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

/// A stored event that a turn took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenEvent {
    /// Its position.
    pub seq: InboxSeq,
    /// Its folded name.
    pub name: String,
    /// How many [bytes](crate::model::inbox::event_bytes) are stored for it.
    pub bytes: u64,
}

/// A message that a turn sends.
#[derive(Debug, Clone)]
pub struct OutboundMessage {
    /// To whom.
    pub to: Recipient,
    /// What.
    pub item: InboxItem,
}

/// How an [`OutboundMessage`] is addressed.
#[derive(Debug, Clone)]
pub enum Recipient {
    /// To exactly that incarnation.
    Number(InstanceNumber),
    /// To whichever incarnation of the same tenant has the id now.
    Id(InstanceId),
}

/// The instance row after a step.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its state.
    pub status: InstanceStatus,
    /// The current execution (the next one, after continue-as-new).
    pub execution: ExecutionNumber,
    /// The last turn written in the current execution; [`TurnNumber::NONE`] before its first.
    pub last_turn: TurnNumber,
    /// When the instance must be woken though nothing arrived: its earliest timer, time-out or retry of a child.
    pub wake_at: Option<Timestamp>,
    /// How many activity calls are outstanding; recovery wakes instances with any.
    pub in_flight: u32,
    /// Set when the custom status changed; `Some(None)` clears it.
    pub custom_status: Option<Option<Payload>>,
    /// Why it is stuck, when it is.
    pub stuck: Option<StuckReason>,
    /// The module version it runs on (continue-as-new may move to a newer one).
    pub module: ModuleNumber,
    /// Fuel used by this step, added to the instance's total.
    pub fuel: u64,
    /// When.
    pub updated_at: Timestamp,
}

/// What a [`TurnCommit`] caused elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TurnReceipt {
    /// Instances that exist now and want to be woken; each has a `Start` row in its inbox.
    pub created: Vec<InstanceNumber>,
    /// Inbox rows written, whose instances want to be woken. May name the committing instance itself.
    pub delivered: Vec<(InstanceNumber, InboxRow)>,
    /// Where the events of [`TurnCommit::kept`] are now, in their order.
    pub kept: Vec<InboxSeq>,
    /// Whether the instance existed. If not (it was purged), nothing was written.
    pub instance_gone: bool,
    /// Why an instance was not created, and nothing written. [`StartOutcome::Created`] if it was created before.
    pub refused: Option<StartOutcome>,
}

/// One attempt of a task that did not bring the final outcome. Lives outside replay.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRow {
    /// The execution.
    pub execution: ExecutionNumber,
    /// The task.
    pub task: TaskId,
    /// Position among the task's rows, from 1.
    pub ordinal: u32,
    /// Which attempt it was, from 1. Attempts cut off by the end of the host do not count up.
    pub number: u32,
    /// Whether the end of the host cut it off, rather than a failure of its own.
    pub cut_off: bool,
    /// Why it failed.
    pub failure: Failure,
    /// Fuel it used.
    pub fuel: u64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// When the next one is to start; none while the retry policy was not applied to the failure.
    pub next_at: Option<Timestamp>,
}

/// All that an owner needs to take over an instance, except its history.
#[derive(Debug, Clone)]
pub struct InstanceRecord {
    /// Its number.
    pub number: InstanceNumber,
    /// Its owner.
    pub tenant: TenantId,
    /// Its id.
    pub id: InstanceId,
    /// The orchestration function.
    pub function: FunctionName,
    /// The module version it runs on.
    pub module: ModuleNumber,
    /// Who waits for it.
    pub parent: Option<crate::model::Parent>,
    /// Its state.
    pub status: InstanceStatus,
    /// Why it is stuck, when it is.
    pub stuck: Option<StuckReason>,
    /// The current execution.
    pub execution: ExecutionNumber,
    /// The last turn written in it.
    pub last_turn: TurnNumber,
    /// How often in a row the host ended uncleanly while a turn of it ran.
    pub unclean_ends: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What the guest says about its progress.
    pub custom_status: Option<Payload>,
    /// Fuel that its turns have used.
    pub fuel: u64,
    /// Bytes of the history of the current execution, and of the messages that were sent to it, events that wait excepted.
    pub history_bytes: u64,
    /// Bytes of the events that wait.
    pub event_bytes: u64,
    /// What waits for it, in order.
    pub inbox: Vec<InboxRow>,
    /// Whether many events wait: then none of them is in `inbox`. Otherwise all are.
    pub more_events: bool,
    /// Whether further messages wait that are no events: then those that are there are some of the oldest, and all that
    /// must not be overlooked whatever else waits (its start, and requests to end, suspend or resume it).
    pub more_inbox: bool,
    /// Whether attempts of the current execution are noted.
    pub has_attempts: bool,
    /// The first turns of the current execution: all of most histories.
    pub first_turns: Vec<Turn>,
}
