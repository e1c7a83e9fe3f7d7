//! The data types of Windlass: ids, payloads, failures, policies, histories and instances.
//!
//! Plain data, without I/O, clock or async, so that every other module can share it. [`codec`] defines the format on
//! disk; `http` defines the format for clients.

pub mod codec;
pub mod completion;
pub mod date_time;
pub mod entity;
pub mod event;
pub mod failure;
pub mod history;
pub mod ids;
pub mod inbox;
pub mod instance;
pub mod log;
pub mod module;
pub mod options;
pub mod partition;
pub mod payload;
pub mod retention;
pub mod rewinds;
pub mod schedule;
pub mod secret;
pub mod tags;
pub mod tenancy;
pub mod time;

pub use completion::CompletionToken;
pub use entity::{
    EntityId, EntityIdError, EntityLock, EntityState, FailedOperation, LockRequest, Operation, Replaces, ReplyTo,
    SectionId, StateChange,
};
pub use event::{Event, EventName};
pub use failure::{Cause, Failure};
pub use history::{Arrival, Decision, ENTRY_BYTES, ObservableLimits, Outcome, Parent, Started, Turn};
pub use ids::{
    ExecutionNumber, FromStored, FunctionName, IdError, InboxSeq, InstanceId, InstanceNumber, ModuleDigest,
    ModuleNumber, TaskId, TenantId, TurnNumber,
};
pub use inbox::{EventPage, InboxItem, InboxRow};
pub use instance::{InstanceStatus, StuckReason};
pub use log::{LogLevel, LogLine};
pub use module::{
    EntityDescription, EventDescription, FunctionDescription, FunctionKind, ModuleDescription, OperationDescription,
};
pub use options::{ActivityOptions, ParentClose, RetryPolicy, SubOrchestrationOptions};
pub use partition::Partition;
pub use payload::{Payload, PayloadError};
pub use retention::{
    EndPosition, Kept, MAX_RETENTION_RULES, RetentionGroup, RetentionRule, RetentionRuleError, RetentionScope,
};
pub use rewinds::{MAX_REWINDS, RewindPoint, Rewinds};
pub use schedule::{Overlap, Schedule, ScheduleName, ScheduleState};
pub use secret::Secret;
pub use tags::{MAX_TAG_BYTES, MAX_TAGS, Tag, TagError, Tags};
pub use tenancy::{Action, Role, TenantName};
pub use time::Timestamp;

#[cfg(test)]
mod fuzz;
