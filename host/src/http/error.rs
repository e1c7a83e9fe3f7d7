//! Every way to refuse a request, each a named variant with its representation on the wire.
//!
//! The rest of `http` passes these typed reasons, never a bare status code. Clients branch on `code`, which is stable;
//! `detail` is a sentence for people. What only the operator should know is logged here and nowhere else.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::problem::Problem;
use crate::{
    engine::CompleteError,
    engine::api::{
        MessageError, MoveError, OperateError, PurgeError, PutModuleError, RestartAs, RestartError, RewindError,
        ScheduleError, StartError, UploadError,
    },
    model::{
        Action, EventName, FunctionKind, FunctionName, InstanceId, InstanceStatus, MAX_REWINDS, Role, StuckReason,
        failure::types,
    },
    store::Error as StoreError,
    tenancy::{Exceeded, Quota, SignatureError, TenancyError},
};

/// Why a request was refused. A refused request changes nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// No route has this path.
    #[error("no resource has the path {path:?}")]
    UnknownRoute { path: String },
    /// The resource exists, the method does not.
    #[error("this resource does not support {method}")]
    MethodNotAllowed { method: String },
    /// The request target is longer than any valid one.
    #[error("the request target is longer than {limit} bytes")]
    TargetTooLong { limit: usize },
    /// The request came over a plain connection to a host that speaks TLS.
    #[error("this host requires TLS: use https://")]
    TlsRequired,
    /// The request was addressed to a host name that is not this machine's own: a page may have rebound its DNS name.
    #[error("this host serves only its own machine and does not accept the host name {host:?}")]
    ForeignHost { host: String },
    /// A web page of another origin sent the request.
    #[error("requests from web pages of the origin {origin:?} are not accepted")]
    ForeignOrigin { origin: String },
    /// The request has no API key, or an invalid one.
    #[error("this host requires a valid API key: send `Authorization: Bearer wl_…`")]
    Unauthenticated,
    /// The key's role does not allow the action.
    #[error("a key of the role {role} may not {}", .action.description())]
    Forbidden { role: Role, action: Action },
    /// The request to the API of Durable Functions names a task hub that is not the tenant of its key.
    #[error(
        "the API key does not give access to the task hub {name:?}: a task hub is a tenant, and the key selects it"
    )]
    OtherTaskHub { name: String },
    /// The tenant is disabled.
    #[error("the tenant is disabled")]
    TenantDisabled,
    /// This change of tenants or keys is not possible.
    #[error(transparent)]
    Tenancy(TenancyError),
    /// The tenant has reached a quota.
    #[error(transparent)]
    QuotaExceeded(Exceeded),
    /// The module is not signed as required.
    #[error(transparent)]
    Signature(SignatureError),
    /// The body is JSON, but not what the resource expects.
    #[error("the body cannot be used: {message}")]
    InvalidBody { message: String },
    /// The query has a parameter that the resource does not know.
    #[error("unknown query parameter {name:?}")]
    UnknownParameter { name: String },
    /// The query has a parameter more than once.
    #[error("the query parameter {name:?} is given more than once")]
    RepeatedParameter { name: String },
    /// The value of a query parameter is invalid.
    #[error("the query parameter {name:?} {message}")]
    InvalidParameter { name: String, message: String },
    /// An id or name in the path is invalid.
    #[error("the {what} in the path {message}")]
    InvalidPath { what: &'static str, message: String },
    /// The `Idempotency-Key` of a broadcast cannot be its id.
    #[error("the header Idempotency-Key {message}")]
    InvalidBroadcastId { message: String },
    /// The tenant has too many broadcasts.
    #[error("the tenant has {limit} broadcasts; try again when some are finished or forgotten")]
    TooManyBroadcasts { limit: u64 },
    /// There is no such broadcast, or it was forgotten.
    #[error("there is no broadcast with the id {id:?}, or it was finished more than seven days ago")]
    UnknownBroadcast { id: String },
    /// The tenant has no retention rule with this scope.
    #[error("the tenant has no retention rule {scope}")]
    UnknownRetentionRule { scope: String },
    /// The tenant has as many retention rules as it may have.
    #[error("the tenant has {limit} retention rules, the maximum; delete one first")]
    TooManyRetentionRules { limit: u32 },
    /// The broadcast has ended, so it cannot be cancelled.
    #[error("the broadcast {id:?} has ended")]
    BroadcastEnded { id: String },
    /// The `Idempotency-Key` is empty, too long, repeated or not visible ASCII.
    #[error("the header Idempotency-Key must be given once and contain 1 to 255 visible ASCII characters")]
    InvalidIdempotencyKey,
    /// The body is not one JSON value.
    #[error("the body is not JSON: {message}")]
    NotJson {
        message: String,
        line: usize,
        column: usize,
    },
    /// The request takes no body, but has one.
    #[error("this request takes no body")]
    UnexpectedBody,
    /// The body is compressed.
    #[error("the body is encoded as {encoding:?}; send it without Content-Encoding")]
    UnsupportedEncoding { encoding: String },
    /// The body is larger than the limit.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    /// The body ended before its announced length.
    #[error("the body ended before it was complete")]
    BodyCutOff,
    /// The body arrived too slowly.
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    /// No module offers the function.
    #[error("no module offers an orchestration named {:?}", .name.as_str())]
    UnknownFunction {
        name: FunctionName,
        near: Vec<FunctionName>,
    },
    /// The input does not fit the schema of the function.
    #[error("the input does not fit the schema of {:?}: {message}", .function.as_str())]
    InvalidInput {
        function: FunctionName,
        path: String,
        message: String,
    },
    /// The event does not fit what the instance's orchestration declares.
    #[error("the event {:?} does not fit what {:?} declares: {message}", .event.as_str(), .function.as_str())]
    InvalidEvent {
        event: EventName,
        function: FunctionName,
        path: String,
        message: String,
    },
    /// An instance with the id exists and has not ended.
    #[error("the instance {id:?} exists and is {status}")]
    AlreadyExists { id: String, status: InstanceStatus },
    /// The idempotency key was used for another request.
    #[error("the Idempotency-Key was used before for another request")]
    IdempotencyKeyReused,
    /// No instance has the id.
    #[error("there is no instance {:?}", .id.as_str())]
    UnknownInstance { id: InstanceId },
    /// No activity call has this token.
    #[error("no activity call can be completed with this token")]
    UnknownCompletion,
    /// The token was used.
    #[error("the token was used before")]
    CompletionUsed,
    /// The call no longer waits.
    #[error("the activity call no longer waits to be completed")]
    CompletionOver,
    /// There is no such entity, or no module offers it.
    #[error("{message}")]
    UnknownEntity { message: String },
    /// The entity has no such operation.
    #[error("{message}")]
    UnknownOperation { message: String },
    /// The input does not fit the schema of the operation.
    #[error("{message}")]
    InvalidOperationInput { message: String },
    /// The instance is an entity.
    #[error("{id} is an entity: it takes operations, but no events, and is not suspended, terminated or cancelled")]
    IsEntity { id: InstanceId },
    /// No critical section has locked the entity.
    #[error("the entity {id} is not locked")]
    EntityNotLocked { id: String },
    /// The state of the entity is not the one to replace.
    #[error("the state of {id} was not changed: {message}")]
    EntityChanged { id: String, message: String },
    /// A critical section has locked the entity.
    #[error("the state of {id} was not changed: {message}")]
    EntityLocked { id: String, message: String },
    /// The request does not say what it may replace.
    #[error("this request requires the header If-Match, with the ETag of what it replaces, or *")]
    PreconditionRequired,
    /// The headers `If-Match` and `If-None-Match` cannot be used.
    #[error("the header If-Match must be given once, with the ETag of the entity or *; If-None-Match can only be *")]
    InvalidPrecondition,
    /// The cursor belongs to the history of an execution that is over.
    #[error(
        "the cursor for the history of instance {id} is no longer valid: the execution continued as new or was replaced"
    )]
    HistoryOver { id: InstanceId },
    /// The instance has ended, and receives nothing any more.
    #[error("the instance {:?} has ended: it is {status}", .id.as_str())]
    InstanceEnded { id: InstanceId, status: InstanceStatus },
    /// The instance has not failed, so it cannot be rewound.
    #[error("only a failed instance can be rewound; the instance {:?} is {status}", .id.as_str())]
    InstanceNotFailed { id: InstanceId, status: InstanceStatus },
    /// The instance was rewound too often.
    #[error("the execution of the instance {:?} was rewound {MAX_REWINDS} times, which is the maximum", .id.as_str())]
    TooManyRewinds { id: InstanceId },
    /// The current version of the module does not repeat the history of the instance.
    #[error("the history of the instance {:?} does not fit the current version of its module: {}", .id.as_str(), .reason.message)]
    HistoryMisfit { id: InstanceId, reason: StuckReason },
    /// The history could not be judged in time.
    #[error("the history of the instance {:?} could not be judged now; try again, or suspend the instance first", .id.as_str())]
    InstanceBusy { id: InstanceId },
    /// The instance has not ended, so it cannot be purged or replaced.
    #[error("the instance {:?} has not ended: it is {status}; terminate it first", .id.as_str())]
    InstanceNotEnded { id: InstanceId, status: InstanceStatus },
    /// A recursive purge found sub-orchestrations that have not ended.
    #[error("sub-orchestrations of instance {id} have not ended, such as {}", children.first().map_or("?", |child| child.as_str()))]
    ChildrenNotEnded { id: InstanceId, children: Vec<InstanceId> },
    /// No schedule has the name.
    #[error("there is no schedule {name:?}")]
    UnknownSchedule { name: String },
    /// A schedule has the name, and must not be replaced.
    #[error("there is a schedule {name:?} already")]
    ScheduleExists { name: String },
    /// The definition of the schedule is invalid.
    #[error("{parameter} {message}")]
    InvalidSchedule { parameter: &'static str, message: String },
    /// The instance that the schedule started last has not ended.
    #[error("the instance {id:?} of the schedule has not ended; pass overlap=allow to start another one")]
    ScheduleOverlaps { id: String },
    /// No module has the name.
    #[error("there is no module {name:?}")]
    UnknownModule { name: String },
    /// The bytes are not a module that this host can run.
    #[error(transparent)]
    ModuleRefused(UploadError),
    /// Another module offers a function of the same name.
    #[error(
        "the {} {:?} belongs to the module {module:?}; a function can belong to only one module",
        .kind.name(), .function.as_str()
    )]
    FunctionTaken {
        kind: FunctionKind,
        function: FunctionName,
        module: String,
    },
    /// The tenant is already uploading as much as it may; of modules that have arrived, that many are compiled at the
    /// same time.
    #[error("the tenant is already uploading other modules; try again when one of them finishes")]
    TooManyUploads { limit: usize },
    /// The checks of the tenant's inputs and events take all places that it may have.
    #[error("too many inputs and events of the tenant are being checked with large schemas; try again")]
    TooManyChecks,
    /// Too much work is queued to accept more.
    #[error("the host is overloaded; try again")]
    Overloaded,
    /// Too many requests are in progress, or too many connections are open.
    #[error("the host has reached its limit of concurrent requests (--max-connections); try again")]
    TooManyConnections,
    /// Recovery has not finished, or the store is not writable.
    #[error("the host is not ready: {reason}")]
    NotReady { reason: String },
    /// The host is shutting down.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// A query took too long and was interrupted.
    #[error("the query took too long and was interrupted: ask for less, or try again later")]
    QueryTimedOut,
    /// The tenant has too many queries running and waiting, or no reader became free in time.
    #[error("too many queries are waiting")]
    TooManyQueries,
    /// The answers to the tenant, or to all tenants, take too much memory, because clients read them slowly.
    #[error("too many answers are being sent; read them, or ask for less")]
    TooManyAnswers,
    /// The database failed; the cause is in the host's log.
    #[error("the store is unavailable; the cause is in the host's log")]
    StoreUnavailable(#[source] StoreError),
    /// A stored row cannot be read; the cause is in the host's log.
    #[error("a stored row cannot be read; the cause is in the host's log")]
    StoreDamaged(#[source] StoreError),
    /// An internal error of the host; the cause is in its log.
    #[error("internal error; the cause is in the host's log")]
    Internal(String),
}

impl Refusal {
    /// Status, stable code and title. `docs/errors/README.md` lists the codes; a test compares.
    pub(crate) fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::UnknownRoute { .. } => (S::NOT_FOUND, "unknown-route", "No such resource"),
            Self::MethodNotAllowed { .. } => (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::TargetTooLong { .. } => (S::URI_TOO_LONG, "target-too-long", "Request target too long"),
            Self::TlsRequired => (S::BAD_REQUEST, "tls-required", "TLS needed"),
            Self::ForeignHost { .. } => (S::FORBIDDEN, "foreign-host", "Addressed to another host"),
            Self::ForeignOrigin { .. } => (S::FORBIDDEN, "foreign-origin", "Sent by a foreign web page"),
            Self::Unauthenticated => (S::UNAUTHORIZED, "unauthenticated", "API key needed"),
            Self::Forbidden { .. } => (S::FORBIDDEN, "role-forbids", "Not allowed for this key"),
            Self::OtherTaskHub { .. } => (S::FORBIDDEN, "other-task-hub", "Task hub of another tenant"),
            Self::TenantDisabled => (S::FORBIDDEN, "tenant-disabled", "Tenant disabled"),
            Self::Tenancy(error) => tenancy_refused(error),
            Self::QuotaExceeded(exceeded) => (exceeded_status(exceeded), "quota-exceeded", "Quota reached"),
            Self::Signature(SignatureError::Missing) => (S::FORBIDDEN, "signature-missing", "Signature missing"),
            Self::Signature(SignatureError::Wrong) => (S::FORBIDDEN, "signature-wrong", "Signature wrong"),
            Self::InvalidBody { .. } => (S::BAD_REQUEST, "invalid-body", "Body cannot be used"),
            Self::UnknownParameter { .. } => (S::BAD_REQUEST, "unknown-parameter", "Unknown query parameter"),
            Self::RepeatedParameter { .. } => (S::BAD_REQUEST, "repeated-parameter", "Repeated query parameter"),
            Self::InvalidParameter { .. } => (S::BAD_REQUEST, "invalid-parameter", "Invalid query parameter"),
            Self::InvalidPath { .. } => (S::BAD_REQUEST, "invalid-path", "Invalid id or name"),
            Self::TooManyBroadcasts { .. } => (S::TOO_MANY_REQUESTS, "too-many-broadcasts", "Too many broadcasts"),
            Self::UnknownBroadcast { .. } => (S::NOT_FOUND, "unknown-broadcast", "Unknown broadcast"),
            Self::BroadcastEnded { .. } => (S::CONFLICT, "broadcast-ended", "Broadcast has ended"),
            Self::InvalidBroadcastId { .. } => (S::BAD_REQUEST, "invalid-idempotency-key", "Invalid Idempotency-Key"),
            Self::UnknownRetentionRule { .. } => (S::NOT_FOUND, "unknown-retention-rule", "Unknown retention rule"),
            Self::TooManyRetentionRules { .. } => (S::CONFLICT, "too-many-retention-rules", "Too many retention rules"),
            Self::InvalidIdempotencyKey => (S::BAD_REQUEST, "invalid-idempotency-key", "Invalid Idempotency-Key"),
            Self::NotJson { .. } => (S::BAD_REQUEST, "not-json", "Body is not JSON"),
            Self::UnexpectedBody => (S::BAD_REQUEST, "unexpected-body", "Unexpected body"),
            Self::UnsupportedEncoding { .. } => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-encoding",
                "Unsupported encoding",
            ),
            Self::BodyTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::BodyCutOff => (S::BAD_REQUEST, "body-cut-off", "Body cut off"),
            Self::BodyTooSlow => (S::REQUEST_TIMEOUT, "body-too-slow", "Body too slow"),
            Self::UnknownFunction { .. } => (S::NOT_FOUND, "unknown-function", "Unknown orchestration"),
            Self::InvalidInput { .. } => (S::BAD_REQUEST, "invalid-input", "Input does not fit the schema"),
            Self::InvalidEvent { .. } => (S::BAD_REQUEST, "invalid-event", "Event does not fit the schema"),
            Self::AlreadyExists { .. } => (S::CONFLICT, "already-exists", "Instance exists"),
            Self::IdempotencyKeyReused => (
                S::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "Idempotency-Key used for another request",
            ),
            Self::UnknownInstance { .. } => (S::NOT_FOUND, "unknown-instance", "Unknown instance"),
            Self::UnknownCompletion => (S::NOT_FOUND, "unknown-completion", "Unknown token"),
            Self::CompletionUsed => (S::CONFLICT, "completion-used", "The token was used"),
            Self::CompletionOver => (S::GONE, "completion-over", "The call no longer waits"),
            Self::UnknownEntity { .. } => (S::NOT_FOUND, "unknown-entity", "Unknown entity"),
            Self::UnknownOperation { .. } => (S::NOT_FOUND, "unknown-operation", "Unknown operation"),
            Self::InvalidOperationInput { .. } => (S::BAD_REQUEST, "invalid-input", "Input does not fit the schema"),
            Self::IsEntity { .. } => (S::CONFLICT, "is-entity", "It is an entity"),
            Self::EntityNotLocked { .. } => (S::CONFLICT, "entity-not-locked", "Entity is not locked"),
            Self::EntityChanged { .. } => (S::PRECONDITION_FAILED, "entity-changed", "State has changed"),
            Self::EntityLocked { .. } => (S::CONFLICT, "entity-locked", "Entity is locked"),
            Self::PreconditionRequired => (
                S::PRECONDITION_REQUIRED,
                "precondition-required",
                "Precondition required",
            ),
            Self::InvalidPrecondition => (S::BAD_REQUEST, "invalid-precondition", "Invalid precondition"),
            Self::InstanceEnded { .. } => (S::GONE, "instance-ended", "Instance has ended"),
            Self::InstanceNotFailed { .. } => (S::CONFLICT, "instance-not-failed", "Instance has not failed"),
            Self::TooManyRewinds { .. } => (S::CONFLICT, "too-many-rewinds", "Too many rewinds"),
            Self::HistoryMisfit { .. } => (S::CONFLICT, "history-misfit", "History does not fit"),
            Self::InstanceBusy { .. } => (S::SERVICE_UNAVAILABLE, "instance-busy", "Instance is busy"),
            Self::ChildrenNotEnded { .. } => (S::CONFLICT, "children-not-ended", "Sub-orchestrations have not ended"),
            Self::HistoryOver { .. } => (S::GONE, "history-over", "Execution is over"),
            Self::InstanceNotEnded { .. } => (S::CONFLICT, "instance-not-ended", "Instance has not ended"),
            Self::UnknownSchedule { .. } => (S::NOT_FOUND, "unknown-schedule", "Unknown schedule"),
            Self::ScheduleExists { .. } => (S::CONFLICT, "schedule-exists", "Schedule exists"),
            Self::InvalidSchedule { .. } => (S::BAD_REQUEST, "invalid-schedule", "Invalid schedule"),
            Self::ScheduleOverlaps { .. } => (S::CONFLICT, "schedule-overlaps", "Last instance has not ended"),
            Self::UnknownModule { .. } => (S::NOT_FOUND, "unknown-module", "Unknown module"),
            Self::ModuleRefused(error) => module_refused(error),
            Self::FunctionTaken { .. } => (S::CONFLICT, "function-taken", "Function belongs to another module"),
            Self::TooManyUploads { .. } => (S::TOO_MANY_REQUESTS, "too-many-uploads", "Too many uploads"),
            Self::TooManyChecks => (S::TOO_MANY_REQUESTS, "too-many-checks", "Too many checks"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Overloaded"),
            Self::QueryTimedOut => (S::SERVICE_UNAVAILABLE, "query-timeout", "Query took too long"),
            Self::TooManyQueries => (S::SERVICE_UNAVAILABLE, "too-many-queries", "Too many queries"),
            Self::TooManyAnswers => (S::SERVICE_UNAVAILABLE, "too-many-answers", "Too many answers"),
            Self::TooManyConnections => (S::SERVICE_UNAVAILABLE, "too-many-connections", "Too many connections"),
            Self::NotReady { .. } => (S::SERVICE_UNAVAILABLE, "not-ready", "Not ready"),
            Self::ShuttingDown => (S::SERVICE_UNAVAILABLE, "shutting-down", "Shutting down"),
            Self::StoreUnavailable(_) => (S::SERVICE_UNAVAILABLE, "store-unavailable", "Store unavailable"),
            Self::StoreDamaged(_) => (S::INTERNAL_SERVER_ERROR, "store-damaged", "Stored row damaged"),
            Self::Internal(_) => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }

    /// Additional members of the problem document, for programs.
    fn members(&self) -> Map<String, Value> {
        let value = match self {
            Self::UnknownParameter { name } | Self::RepeatedParameter { name } => json!({ "parameter": name }),
            Self::InvalidParameter { name, .. } => json!({ "parameter": name }),
            Self::NotJson { line, column, .. } => json!({ "line": line, "column": column }),
            Self::BodyTooLarge { limit } | Self::TargetTooLong { limit } | Self::TooManyUploads { limit } => {
                json!({ "limit": limit })
            }
            Self::TooManyBroadcasts { limit } => json!({ "limit": limit }),
            Self::TooManyRetentionRules { limit } => json!({ "limit": limit }),
            Self::UnknownFunction { name, near } => json!({ "function": name, "near": near }),
            Self::InvalidInput { function, path, .. } => json!({ "function": function, "path": path }),
            Self::InvalidEvent {
                event, function, path, ..
            } => json!({ "event": event, "function": function, "path": path }),
            Self::AlreadyExists { id, status } => json!({ "instanceId": id, "instanceStatus": status.name() }),
            Self::UnknownInstance { id } | Self::HistoryOver { id } | Self::TooManyRewinds { id } => {
                json!({ "instanceId": id })
            }
            Self::InstanceBusy { id } => json!({ "instanceId": id }),
            Self::HistoryMisfit { id, reason } => {
                json!({ "instanceId": id, "reason": { "code": reason.code, "message": reason.message } })
            }
            Self::InstanceEnded { id, status }
            | Self::InstanceNotEnded { id, status }
            | Self::InstanceNotFailed { id, status } => {
                json!({ "instanceId": id, "instanceStatus": status.name() })
            }
            Self::ChildrenNotEnded { id, children } => json!({ "instanceId": id, "instanceIds": children }),
            Self::UnknownSchedule { name } | Self::ScheduleExists { name } => json!({ "schedule": name }),
            Self::InvalidSchedule { parameter, .. } => json!({ "parameter": parameter }),
            Self::ScheduleOverlaps { id } => json!({ "instanceId": id }),
            Self::UnknownModule { name } => json!({ "module": name }),
            Self::Forbidden { role, .. } => json!({ "role": role }),
            Self::QuotaExceeded(exceeded) => json!({ "quota": exceeded.quota.name(), "limit": exceeded.limit }),
            Self::ModuleRefused(error) => module_members(error),
            Self::FunctionTaken { kind, function, module } => {
                json!({ "kind": kind.name(), "function": function, "module": module })
            }
            _ => return Map::new(),
        };
        match value {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// The problem document that the client gets.
    pub(crate) fn problem(&self) -> Problem {
        let (status, code, title) = self.kind();
        Problem {
            r#type: format!("/docs/errors/{code}"),
            title: title.into(),
            status: status.as_u16(),
            detail: self.to_string(),
            code: code.into(),
            members: self.members(),
        }
    }

    /// Logs refusals that are the host's fault, for its operator.
    fn log(&self) {
        match self {
            Self::StoreUnavailable(cause) | Self::StoreDamaged(cause) => {
                tracing::error!(error = %chain(cause), "a request failed with a store error");
            }
            Self::ModuleRefused(cause @ UploadError::Busy { .. }) => {
                tracing::error!(error = %chain(cause), "a module could not be inspected");
            }
            Self::Internal(cause) => tracing::error!(error = %cause, "a request failed with an internal error"),
            _ => {}
        }
    }
}

/// Each reason why tenants or keys cannot be changed has its own code.
fn tenancy_refused(error: &TenancyError) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match error {
        TenancyError::UnknownTenant(_) => (S::NOT_FOUND, "unknown-tenant", "Unknown tenant"),
        TenancyError::TenantExists(_) => (S::CONFLICT, "tenant-exists", "Tenant exists"),
        TenancyError::NotEmpty { .. } => (S::CONFLICT, "tenant-not-empty", "Tenant has instances"),
        TenancyError::DefaultTenant => (S::CONFLICT, "default-tenant", "Tenant stays"),
        TenancyError::UnknownKey(_) => (S::NOT_FOUND, "unknown-key", "Unknown key"),
        TenancyError::FirstKey => (S::CONFLICT, "first-key", "First key must be an administrator's"),
        TenancyError::LastAdminKey => (S::CONFLICT, "last-admin-key", "Last key of an administrator"),
        TenancyError::UnknownSetting(_) => (S::NOT_FOUND, "unknown-setting", "Unknown setting"),
        TenancyError::Vault(_) => (S::CONFLICT, "no-secrets-key", "No key for secrets"),
        TenancyError::Label | TenancyError::Expired | TenancyError::Setting(_) | TenancyError::Quotas(_) => {
            (S::BAD_REQUEST, "invalid-body", "Body cannot be used")
        }
        TenancyError::Store(_) => (S::SERVICE_UNAVAILABLE, "store-unavailable", "Store unavailable"),
    }
}

/// The status of an exceeded quota: too fast, too large, or too much.
fn exceeded_status(exceeded: &Exceeded) -> StatusCode {
    match exceeded.quota {
        _ if exceeded.retry_after.is_some() => StatusCode::TOO_MANY_REQUESTS,
        Quota::MaxPayload | Quota::MaxModuleBytes | Quota::MaxEntityState => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::FORBIDDEN,
    }
}

/// Each reason to refuse a module has its own code. Mostly the request is valid but its content is not (422).
fn module_refused(error: &UploadError) -> (StatusCode, &'static str, &'static str) {
    let status = match error {
        UploadError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        error if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, error.code(), "Module refused")
}

/// Additional members about a refused module, for programs.
fn module_members(error: &UploadError) -> Value {
    match error {
        UploadError::TooLarge { limit, .. } | UploadError::TooManyFunctions { limit, .. } => json!({ "limit": limit }),
        UploadError::ForbiddenImport { import, .. } | UploadError::UnknownImport { import } => {
            json!({ "import": import })
        }
        UploadError::NoKnownExport { found } | UploadError::SeveralKinds { found } => json!({ "found": found }),
        UploadError::DuplicateFunction { name } | UploadError::BadFunctionName { name, .. } => {
            json!({ "function": name })
        }
        UploadError::BadSchema { function, .. } | UploadError::BadOptions { function, .. } => {
            json!({ "function": function })
        }
        _ => json!({}),
    }
}

/// An error with its chain of causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.log();
        let mut response = self.problem().into_response();
        if matches!(
            self,
            Self::NotReady { .. }
                | Self::ShuttingDown
                | Self::TooManyUploads { .. }
                | Self::TooManyChecks
                | Self::TooManyBroadcasts { .. }
                | Self::Overloaded
                | Self::InstanceBusy { .. }
                | Self::QueryTimedOut
                | Self::TooManyQueries
                | Self::TooManyAnswers
                | Self::TooManyConnections
                | Self::StoreUnavailable(_)
        ) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Self::QuotaExceeded(Exceeded {
            retry_after: Some(wait),
            ..
        }) = &self
        {
            let seconds = wait.as_millis().div_ceil(1_000).max(1);
            let seconds = HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if matches!(self, Self::Unauthenticated) {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        // The connection is closed if the rest of an unread body could be mistaken for the next request, if there is no
        // place for it, or if the client must use TLS.
        if matches!(
            self,
            Self::BodyTooLarge { .. }
                | Self::BodyCutOff
                | Self::BodyTooSlow
                | Self::TooManyUploads { .. }
                | Self::TooManyConnections
                | Self::TlsRequired
        ) {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // The API of Durable Functions replaces the body.
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed | StoreError::NotOwner => Self::ShuttingDown,
            StoreError::Damaged(_) => Self::StoreDamaged(error),
            StoreError::QueryTimedOut => Self::QueryTimedOut,
            StoreError::TooManyQueries => Self::TooManyQueries,
            StoreError::Contradiction(reason) => Self::Internal(reason),
            StoreError::TooLarge => Self::Internal(error.to_string()),
            StoreError::Unusable(_) | StoreError::Backup(_) | StoreError::Database(_) => Self::StoreUnavailable(error),
        }
    }
}

impl From<ScheduleError> for Refusal {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::Unknown(name) => Self::UnknownSchedule { name: name.to_string() },
            ScheduleError::Exists(name) => Self::ScheduleExists { name: name.to_string() },
            ScheduleError::Overlaps { running } => Self::ScheduleOverlaps {
                id: running.to_string(),
            },
            ScheduleError::Busy => Self::Overloaded,
            ScheduleError::Start(error) => Self::of_start(error, None),
        }
    }
}

impl From<CompleteError> for Refusal {
    fn from(error: CompleteError) -> Self {
        match error {
            CompleteError::Unknown => Self::UnknownCompletion,
            CompleteError::Used => Self::CompletionUsed,
            CompleteError::Over => Self::CompletionOver,
            CompleteError::TenantDisabled => Self::TenantDisabled,
            CompleteError::Quota(exceeded) => Self::QuotaExceeded(exceeded),
            CompleteError::Store(error) => error.into(),
        }
    }
}

impl From<TenancyError> for Refusal {
    fn from(error: TenancyError) -> Self {
        match error {
            TenancyError::Store(error) => error.into(),
            TenancyError::Label | TenancyError::Expired | TenancyError::Setting(_) | TenancyError::Quotas(_) => {
                Self::invalid_body(error.to_string())
            }
            error => Self::Tenancy(error),
        }
    }
}

impl Refusal {
    /// The body is JSON, but not what the resource expects.
    pub(crate) fn invalid_body(message: impl Into<String>) -> Self {
        Self::InvalidBody {
            message: message.into(),
        }
    }

    /// Why a start with this id was refused.
    pub(crate) fn of_start(error: StartError, id: Option<&InstanceId>) -> Self {
        match error {
            StartError::UnknownFunction { name, near } => Self::UnknownFunction { name, near },
            StartError::InvalidInput {
                function,
                path,
                message,
            } => Self::InvalidInput {
                function,
                path,
                message,
            },
            StartError::AlreadyExists(status) => Self::AlreadyExists {
                id: id.map(ToString::to_string).unwrap_or_default(),
                status,
            },
            StartError::KeyReused => Self::IdempotencyKeyReused,
            // The tenant's keys are gone as well.
            StartError::TenantGone => Self::Unauthenticated,
            StartError::Overloaded => Self::Overloaded,
            StartError::TooManyChecks => Self::TooManyChecks,
            StartError::Quota(exceeded) => Self::QuotaExceeded(exceeded),
            StartError::Store(error) => error.into(),
        }
    }

    /// Why an operation was refused.
    pub(crate) fn of_operation(error: OperateError) -> Self {
        match error {
            OperateError::Refused(failure) => match failure.error_type.as_str() {
                types::UNKNOWN_OPERATION => Self::UnknownOperation {
                    message: failure.message,
                },
                types::INPUT => Self::InvalidOperationInput {
                    message: failure.message,
                },
                _ => Self::UnknownEntity {
                    message: failure.message,
                },
            },
            OperateError::Overloaded => Self::Overloaded,
            OperateError::TooManyChecks => Self::TooManyChecks,
            OperateError::KeyReused => Self::IdempotencyKeyReused,
            OperateError::Quota(exceeded) => Self::QuotaExceeded(exceeded),
            OperateError::Store(error) => error.into(),
        }
    }

    /// Why this instance was not run again under that id.
    pub(crate) fn of_restart(error: RestartError, id: InstanceId, restart_as: RestartAs) -> Self {
        match (error, restart_as) {
            (RestartError::Unknown, _) => Self::UnknownInstance { id },
            (RestartError::NotEnded(status), _) => Self::InstanceNotEnded { id, status },
            (RestartError::Start(error), RestartAs::NewId(Some(new))) => Self::of_start(error, Some(&new)),
            (RestartError::Start(error), _) => Self::of_start(error, None),
        }
    }

    /// Why a message to this instance was refused.
    pub(crate) fn of_message(error: MessageError, id: InstanceId) -> Self {
        match error {
            MessageError::InvalidEvent {
                event,
                function,
                path,
                message,
            } => Self::InvalidEvent {
                event,
                function,
                path,
                message,
            },
            MessageError::Unknown => Self::UnknownInstance { id },
            MessageError::Entity => Self::IsEntity { id },
            MessageError::Ended(status) => Self::InstanceEnded { id, status },
            MessageError::Overloaded => Self::Overloaded,
            MessageError::TooManyChecks => Self::TooManyChecks,
            MessageError::Quota(exceeded) => Self::QuotaExceeded(exceeded),
            MessageError::KeyReused => Self::IdempotencyKeyReused,
            MessageError::Store(error) => error.into(),
        }
    }

    /// Why this instance was not rewound.
    pub(crate) fn of_rewind(error: RewindError, id: InstanceId) -> Self {
        match error {
            RewindError::Unknown => Self::UnknownInstance { id },
            RewindError::Entity => Self::IsEntity { id },
            RewindError::NotFailed(status) => Self::InstanceNotFailed { id, status },
            RewindError::TooMany => Self::TooManyRewinds { id },
            RewindError::Quota(exceeded) => Self::QuotaExceeded(exceeded),
            RewindError::KeyReused => Self::IdempotencyKeyReused,
            RewindError::Store(error) => error.into(),
        }
    }

    /// Why this instance was not moved.
    pub(crate) fn of_move(error: MoveError, id: InstanceId) -> Self {
        match error {
            MoveError::Unknown => Self::UnknownInstance { id },
            MoveError::Entity => Self::IsEntity { id },
            MoveError::Ended(status) => Self::InstanceEnded { id, status },
            MoveError::NoFunction(name) => Self::UnknownFunction { name, near: Vec::new() },
            MoveError::Misfit { reason, .. } => Self::HistoryMisfit { id, reason },
            MoveError::Busy => Self::InstanceBusy { id },
            MoveError::Store(error) => error.into(),
        }
    }

    /// Why this instance was not purged.
    pub(crate) fn of_purge(error: PurgeError, id: InstanceId) -> Self {
        match error {
            PurgeError::Unknown => Self::UnknownInstance { id },
            PurgeError::NotEnded(status) => Self::InstanceNotEnded { id, status },
            PurgeError::ChildrenNotEnded(children) => Self::ChildrenNotEnded { id, children },
            PurgeError::Store(error) => error.into(),
        }
    }
}

impl From<PutModuleError> for Refusal {
    fn from(error: PutModuleError) -> Self {
        match error {
            PutModuleError::Refused(error) => Self::ModuleRefused(error),
            PutModuleError::FunctionTaken { kind, function, module } => Self::FunctionTaken { kind, function, module },
            // The tenant's keys are gone as well.
            PutModuleError::TenantGone => Self::Unauthenticated,
            PutModuleError::Signature(error) => Self::Signature(error),
            PutModuleError::Quota(exceeded) => Self::QuotaExceeded(exceeded),
            PutModuleError::Store(error) => error.into(),
        }
    }
}
