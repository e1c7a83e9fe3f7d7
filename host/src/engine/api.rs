//! What the edges ask of the engine, and how it refuses: plain requests and typed reasons.

use super::waiters::Waiter;
use crate::model::{
    Event, EventName, FunctionKind, FunctionName, InstanceId, InstanceStatus, ModuleDescription, ModuleDigest, Payload,
    TenantId,
};
pub use crate::sandbox::UploadError;
use crate::store::{Error as StoreError, IdempotencyKey};
use crate::tenancy::{Exceeded, SignatureError};

/// Start an orchestration.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// On whose behalf.
    pub tenant: TenantId,
    /// Which orchestration.
    pub function: FunctionName,
    /// Its input.
    pub input: Payload,
    /// The id of the new instance; drawn if none is given.
    pub instance_id: Option<InstanceId>,
    /// Makes a repeat answer as the first did.
    pub idempotency: Option<IdempotencyKey>,
    /// Whether the caller wants to wait for the end.
    pub watch: bool,
}

/// A start that was accepted.
#[derive(Debug)]
pub struct StartAnswer {
    /// The instance, new or that of the first request with the same idempotency key.
    pub instance_id: InstanceId,
    /// Whether it is the answer to an earlier request.
    pub repeated: bool,
    /// The end of the instance, if it is new and was asked for.
    pub end: Option<Waiter>,
}

/// Why a start was refused. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No module offers the function.
    #[error("no module offers the orchestration {name:?}")]
    UnknownFunction {
        /// The name asked for.
        name: FunctionName,
        /// Names that look alike, nearest first.
        near: Vec<FunctionName>,
    },
    /// The input does not fit the function's schema.
    #[error("the input does not fit the schema of {function:?}: {message} (at {path:?})")]
    InvalidInput {
        /// The function.
        function: FunctionName,
        /// JSON Pointer to the part that does not fit; empty for the whole.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// A live instance has the id.
    #[error("an instance with this id exists and is {0}")]
    AlreadyExists(InstanceStatus),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The tenant was deleted meanwhile.
    #[error("the tenant was deleted")]
    TenantGone,
    /// Too many activity calls wait already.
    #[error("the host is overloaded")]
    Overloaded,
    /// The tenant may not start more, now or at all.
    #[error(transparent)]
    Quota(#[from] Exceeded),
    /// The store failed or the host is shutting down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a module comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The id of the API key that it is uploaded with.
    pub key: Option<&'a str>,
    /// A signature of its bytes, in hexadecimal digits.
    pub signature: Option<&'a str>,
}

/// Raise an event or control an instance.
#[derive(Debug, Clone)]
pub enum Message {
    /// An external event.
    Event(Event),
    /// End it without running it again; its children and running activities end too.
    Terminate {
        /// For the record; may be empty.
        reason: String,
    },
    /// Stop taking messages.
    Suspend {
        /// For the record; may be empty.
        reason: String,
    },
    /// Go on after a suspension, or try a stuck instance again.
    Resume {
        /// For the record; may be empty.
        reason: String,
    },
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
        /// JSON Pointer to the part that does not fit; empty for the whole.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// No instance has that id.
    #[error("there is no instance with this id")]
    Unknown,
    /// The instance has ended.
    #[error("the instance has ended: it is {0}")]
    Ended(InstanceStatus),
    /// The tenant may not send so much at once.
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
    /// It has not ended.
    #[error("the instance has not ended: it is {0}")]
    NotEnded(InstanceStatus),
    /// Something that belongs to it has not ended; some of it is named.
    #[error("sub-orchestrations of the instance have not ended")]
    ChildrenNotEnded(Vec<InstanceId>),
    /// The store failed or the host is shutting down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A module that was taken in.
#[derive(Debug, Clone)]
pub struct StoredModule {
    /// SHA-256 of its bytes.
    pub digest: ModuleDigest,
    /// What it says of itself.
    pub description: ModuleDescription,
    /// Whether the bytes were new under this name (a repeated upload changes nothing).
    pub new: bool,
}

/// Why a module was not taken in. What was there before stays.
#[derive(Debug, thiserror::Error)]
pub enum PutModuleError {
    /// The bytes are no module for this host.
    #[error(transparent)]
    Refused(#[from] UploadError),
    /// Another module offers a function of that name.
    #[error("the {} {function:?} belongs to module {module:?}", .kind.name())]
    FunctionTaken {
        /// Kind of the function.
        kind: FunctionKind,
        /// The function.
        function: FunctionName,
        /// The module that offers it.
        module: String,
    },
    /// The tenant was deleted meanwhile.
    #[error("the tenant was deleted")]
    TenantGone,
    /// It is not signed as the tenant's modules must be.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The tenant may not have more modules.
    #[error(transparent)]
    Quota(#[from] Exceeded),
    /// The store failed or the host is shutting down.
    #[error(transparent)]
    Store(#[from] StoreError),
}
