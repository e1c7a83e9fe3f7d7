//! The requests that the engine accepts, and the typed errors with which it refuses them.

use std::time::Duration;

use super::waiters::Waiter;
use super::waiting_operations::OperationWaiter;
use crate::model::{
    EntityId, Event, EventName, Failure, FunctionKind, FunctionName, InstanceId, InstanceStatus, ModuleDescription,
    ModuleDigest, Payload, Replaces, Schedule, ScheduleName, StuckReason, Tags, TenantId, Timestamp,
};
pub use crate::sandbox::UploadError;
use crate::store::{BroadcastSummary, Cursor, Error as StoreError, IdempotencyKey, ListFilter};
use crate::tenancy::{Exceeded, SignatureError};

/// A request to start an orchestration.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// The tenant of the new instance.
    pub tenant: TenantId,
    /// The orchestration to start.
    pub function: FunctionName,
    /// Its input.
    pub input: Payload,
    /// The id of the new instance; generated if `None`.
    pub instance_id: Option<InstanceId>,
    /// When to start it.
    pub start: StartTime,
    /// The tags of the new instance.
    pub tags: Tags,
    /// A repeated request with the same key gets the answer of the first.
    pub idempotency: Option<IdempotencyKey>,
    /// Whether the caller wants to wait for the end.
    pub watch: bool,
}

/// When an instance starts, that is, when its first turn runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StartTime {
    /// As soon as possible.
    #[default]
    Now,
    /// Not before this time. A time in the past means as soon as possible.
    At(Timestamp),
    /// After this time has passed since the host accepted the request.
    After(Duration),
}

impl StartRequest {
    /// A request to start an orchestration now, under a generated id.
    pub fn new(tenant: TenantId, function: FunctionName, input: Payload) -> Self {
        Self {
            tenant,
            function,
            input,
            instance_id: None,
            start: StartTime::Now,
            tags: Tags::default(),
            idempotency: None,
            watch: false,
        }
    }
}

impl StartTime {
    /// The time before which no turn runs; `None` if it is not in the future.
    pub(super) fn not_before(self, now: Timestamp) -> Option<Timestamp> {
        let at = match self {
            Self::Now => return None,
            Self::At(at) => at,
            Self::After(delay) => now.after(delay),
        };
        Some(at).filter(|at| *at > now)
    }
}

/// The answer to an accepted start.
#[derive(Debug)]
pub struct StartAnswer {
    /// The new instance, or that of the first request with the same idempotency key.
    pub instance_id: InstanceId,
    /// Whether this repeats the answer to an earlier request.
    pub repeated: bool,
    /// Waits for the end of the instance, if it is new and the request set `watch`. What it returns has no tags.
    pub end: Option<Waiter>,
    /// The tags of the instance, if it is new.
    pub tags: Tags,
}

/// Why a start was refused. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No module offers the function.
    #[error("no module offers the orchestration {name:?}")]
    UnknownFunction {
        /// The requested name.
        name: FunctionName,
        /// Similar names, most similar first.
        near: Vec<FunctionName>,
    },
    /// The input does not fit the function's schema.
    #[error("the input does not fit the schema of {function:?}: {message} (at {path:?})")]
    InvalidInput {
        /// The function.
        function: FunctionName,
        /// JSON Pointer to the part that does not fit; empty for the whole input.
        path: String,
        /// Why it does not fit.
        message: String,
    },
    /// An active instance has this id.
    #[error("an instance with this id exists and is {0}")]
    AlreadyExists(InstanceStatus),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The tenant was deleted in the meantime.
    #[error("the tenant was deleted")]
    TenantGone,
    /// Too many activity calls are waiting already, or the checks of many tenants' inputs.
    #[error("the host is overloaded")]
    Overloaded,
    /// The checks of the tenant's inputs take all its places.
    #[error("too many inputs and events of the tenant are being checked")]
    TooManyChecks,
    /// A quota does not allow another start, now or at all.
    #[error(transparent)]
    Quota(#[from] Exceeded),
    /// The store failed or the host is shutting down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request to create a schedule, or to replace its definition.
#[derive(Debug, Clone)]
pub struct PutSchedule {
    /// The tenant of the schedule.
    pub tenant: TenantId,
    /// Its name.
    pub name: ScheduleName,
    /// Its definition.
    pub schedule: Schedule,
    /// Pauses it with a note, or lets it go on; `None` leaves it as it is.
    pub pause: Option<Option<String>>,
    /// Whether it must not exist yet.
    pub must_be_new: bool,
}

/// Why a request about a schedule was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// There is no such schedule.
    #[error("there is no schedule {0}")]
    Unknown(ScheduleName),
    /// There is one, but the request is to create it.
    #[error("there is a schedule {0} already")]
    Exists(ScheduleName),
    /// The instance that it started last has not ended, and its overlap policy does not allow another one.
    #[error("the instance {running} of the schedule has not ended")]
    Overlaps {
        /// The instance.
        running: InstanceId,
    },
    /// Others change the schedule at the same time.
    #[error("the schedule is being changed by others")]
    Busy,
    /// Its orchestration could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<StoreError> for ScheduleError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

impl From<Exceeded> for ScheduleError {
    fn from(exceeded: Exceeded) -> Self {
        Self::Start(exceeded.into())
    }
}

/// A request to send an operation to an entity.
#[derive(Debug, Clone)]
pub struct OperateRequest {
    /// The tenant of the entity.
    pub tenant: TenantId,
    /// The entity.
    pub entity: EntityId,
    /// The name of the operation.
    pub operation: String,
    /// Its input.
    pub input: Payload,
    /// When to apply it. A call is not delayed.
    pub when: StartTime,
    /// Whether the caller waits for the outcome.
    pub is_call: bool,
    /// A repeated request with the same key sends nothing.
    pub idempotency: Option<IdempotencyKey>,
}

/// A request of an operator to replace or delete the state of an entity.
#[derive(Debug, Clone)]
pub struct SetStateRequest {
    /// The tenant of the entity.
    pub tenant: TenantId,
    /// The entity.
    pub entity: EntityId,
    /// The new state; `None` deletes it.
    pub state: Option<Payload>,
    /// The state that it may replace.
    pub replaces: Replaces,
    /// The id of the API key of the operator, for the log of the entity.
    pub key: Option<String>,
    /// A repeated request with the same key changes nothing again, and gets the same outcome.
    pub idempotency: Option<IdempotencyKey>,
}

/// The answer to an operation that was accepted.
#[derive(Debug)]
pub struct OperateAnswer {
    /// Waits for the outcome of a call.
    pub outcome: Option<OperationWaiter>,
}

/// Why an operation was refused. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// No module offers the entity, it has no such operation, or the input does not fit its schema.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The checks of many tenants' inputs take all places.
    #[error("the host is overloaded")]
    Overloaded,
    /// The checks of the tenant's inputs take all its places.
    #[error("too many inputs and events of the tenant are being checked")]
    TooManyChecks,
    /// A quota does not allow the operation.
    #[error(transparent)]
    Quota(#[from] Exceeded),
    /// The store failed or the host is shutting down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OperateError {
    /// The refusal with the failure that an orchestration would get.
    pub(super) fn of(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// A request to run an instance again.
#[derive(Debug, Clone)]
pub struct RestartRequest {
    /// The tenant of the instance.
    pub tenant: TenantId,
    /// The instance that has run.
    pub id: InstanceId,
    /// The id of the new instance.
    pub restart_as: RestartAs,
    /// A repeated request with the same key gets the answer of the first.
    pub idempotency: Option<IdempotencyKey>,
    /// Whether the caller wants to wait for the end.
    pub watch: bool,
}

/// The id under which an instance runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartAs {
    /// The same id. The instance must have ended, and the new one replaces it.
    SameId,
    /// Another id, generated if `None`. The instance stays as it is, ended or not.
    NewId(Option<InstanceId>),
}

/// Why an instance was not run again. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// No instance has that id.
    #[error("there is no instance with this id")]
    Unknown,
    /// The instance has not ended, so it cannot be replaced.
    #[error("the instance has not ended: it is {0}")]
    NotEnded(InstanceStatus),
    /// The start was refused.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A request to rewind a failed instance.
#[derive(Debug, Clone)]
pub struct RewindRequest {
    /// The tenant of the instance.
    pub tenant: TenantId,
    /// Its id.
    pub id: InstanceId,
    /// Recorded in the history; may be empty.
    pub reason: String,
    /// The client's idempotency key.
    pub idempotency: Option<IdempotencyKey>,
}

/// Why an instance was not rewound. It stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum RewindError {
    /// No instance has that id.
    #[error("there is no instance with this id")]
    Unknown,
    /// It is an entity, which never fails.
    #[error("it is an entity, which never fails")]
    Entity,
    /// The instance has not failed.
    #[error("only a failed instance can be rewound; this one is {0}")]
    NotFailed(InstanceStatus),
    /// The execution was rewound [as often as possible](crate::model::MAX_REWINDS).
    #[error("the execution was rewound too often")]
    TooMany,
    /// A quota of the tenant is exhausted.
    #[error(transparent)]
    Quota(#[from] Exceeded),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A request to move an instance to the current version of its function's module.
#[derive(Debug)]
pub struct MoveRequest {
    /// The tenant.
    pub tenant: TenantId,
    /// The instance.
    pub id: InstanceId,
    /// Only find out whether the history fits.
    pub dry_run: bool,
}

/// A move that was made, or would be possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The version before.
    pub from: ModuleDigest,
    /// The current version.
    pub to: ModuleDigest,
    /// Whether the instance changed its version. False if it had the current one already, or if nothing was to change.
    pub moved: bool,
}

/// Why an instance was not moved. It stays on its version.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// No instance has that id.
    #[error("there is no instance with this id")]
    Unknown,
    /// It is an entity, which has no version of its own.
    #[error("entities always run the current version of their module")]
    Entity,
    /// It has ended.
    #[error("the instance has ended: it is {0}")]
    Ended(InstanceStatus),
    /// No module offers the function any more.
    #[error("no module offers the orchestration {:?}", .0.as_str())]
    NoFunction(FunctionName),
    /// The current version does not repeat the history.
    #[error("the history does not fit version {to}: {}", .reason.message)]
    Misfit {
        /// The version of the instance.
        from: ModuleDigest,
        /// The current version.
        to: ModuleDigest,
        /// The first difference.
        reason: StuckReason,
    },
    /// The instance could not be judged in time. It may have been moved.
    #[error("the instance is busy")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where an uploaded module comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The id of the API key of the upload.
    pub key: Option<&'a str>,
    /// A signature of the module's bytes, in hexadecimal digits.
    pub signature: Option<&'a str>,
}

/// An event for an instance, or a control message.
#[derive(Debug, Clone)]
pub enum Message {
    /// An external event.
    Event(Event),
    /// Terminate the instance without running it again, with its children and running activities.
    Terminate {
        /// Recorded in the history; may be empty.
        reason: String,
    },
    /// Ask the instance to cancel itself. Its code sees the request and ends as it likes.
    Cancel {
        /// Recorded in the history; may be empty.
        reason: String,
    },
    /// Run no turns until the instance is resumed.
    Suspend {
        /// Stored with the message; may be empty.
        reason: String,
    },
    /// Continue after a suspension, or retry a stuck instance.
    Resume {
        /// Stored with the message; may be empty.
        reason: String,
    },
}

/// What a client can do to an instance besides raising events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlAction {
    /// Terminate it without running it again.
    Terminate,
    /// Ask it to cancel itself.
    Cancel,
    /// Run no turns until it is resumed.
    Suspend,
    /// Continue after a suspension, or retry if it is stuck.
    Resume,
    /// Let it go on after it failed.
    Rewind,
}

/// A request to control many instances.
#[derive(Debug, Clone)]
pub struct BulkRequest {
    /// The tenant of the instances.
    pub tenant: TenantId,
    /// What to do.
    pub action: ControlAction,
    /// The reason; may be empty.
    pub reason: String,
    /// Selects the instances.
    pub filter: ListFilter,
    /// Where to begin: the `next` of the previous request.
    pub from: Option<Cursor>,
    /// Only count the instances.
    pub dry_run: bool,
}

/// A request to raise an event for many instances.
#[derive(Debug, Clone)]
pub struct BroadcastRequest {
    /// The tenant of the instances.
    pub tenant: TenantId,
    /// The event.
    pub event: Event,
    /// Selects the instances.
    pub filter: ListFilter,
    /// Its id, and the fingerprint of the request; generated if `None`.
    pub idempotency: Option<IdempotencyKey>,
}

/// The answer to an accepted broadcast.
#[derive(Debug)]
pub struct BroadcastAnswer {
    /// The broadcast as it is stored.
    pub broadcast: BroadcastSummary,
}

/// Why a broadcast was refused. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum BroadcastError {
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The tenant has this many broadcasts, the maximum.
    #[error("the tenant has {0} broadcasts")]
    TooMany(u64),
    /// The tenant was deleted.
    #[error("the tenant was deleted")]
    TenantGone,
    /// A quota does not allow it.
    #[error(transparent)]
    Quota(#[from] Exceeded),
    /// The store failed or the host is shutting down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How much of a request about many instances was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkDone {
    /// The instances that were reached or counted.
    pub instances: u64,
    /// Where to continue; `None` at the end.
    pub next: Option<Cursor>,
}

/// Why a message was refused. Nothing was delivered.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The event does not fit what the instance's orchestration declares.
    #[error("the event {event:?} does not fit what {function:?} declares: {message} (at {path:?})")]
    InvalidEvent {
        /// The event.
        event: EventName,
        /// The orchestration.
        function: FunctionName,
        /// JSON Pointer to the part that does not fit; empty for the whole payload.
        path: String,
        /// Why it does not fit.
        message: String,
    },
    /// No instance has that id.
    #[error("there is no instance with this id")]
    Unknown,
    /// It is an entity, which takes operations only.
    #[error("it is an entity, which takes operations only")]
    Entity,
    /// The instance has ended.
    #[error("the instance has ended: it is {0}")]
    Ended(InstanceStatus),
    /// The checks of many tenants' events take all places.
    #[error("the host is overloaded")]
    Overloaded,
    /// The checks of the tenant's events take all its places.
    #[error("too many inputs and events of the tenant are being checked")]
    TooManyChecks,
    /// A quota does not allow the event.
    #[error(transparent)]
    Quota(#[from] Exceeded),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The store failed or the host is shutting down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an instance was not purged.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// No instance has that id.
    #[error("there is no instance with this id")]
    Unknown,
    /// The instance has not ended.
    #[error("the instance has not ended: it is {0}")]
    NotEnded(InstanceStatus),
    /// Sub-orchestrations of the instance have not ended; contains some of them.
    #[error("sub-orchestrations of the instance have not ended")]
    ChildrenNotEnded(Vec<InstanceId>),
    /// The store failed or the host is shutting down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A module that was uploaded.
#[derive(Debug, Clone)]
pub struct StoredModule {
    /// The SHA-256 digest of its bytes.
    pub digest: ModuleDigest,
    /// The description that the module contains.
    pub description: ModuleDescription,
    /// Whether the bytes are new under this name. A repeated upload changes nothing.
    pub new: bool,
}

/// Why a module was refused. The previous version stays.
#[derive(Debug, thiserror::Error)]
pub enum PutModuleError {
    /// The bytes are not a valid module for this host.
    #[error(transparent)]
    Refused(#[from] UploadError),
    /// Another module offers a function of that name.
    #[error("the {} {function:?} belongs to module {module:?}", .kind.name())]
    FunctionTaken {
        /// The kind of the function.
        kind: FunctionKind,
        /// The function.
        function: FunctionName,
        /// The module that offers it.
        module: String,
    },
    /// The tenant was deleted in the meantime.
    #[error("the tenant was deleted")]
    TenantGone,
    /// The module does not have the signature that the tenant requires.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A quota does not allow another module.
    #[error(transparent)]
    Quota(#[from] Exceeded),
    /// The store failed or the host is shutting down.
    #[error(transparent)]
    Store(#[from] StoreError),
}
