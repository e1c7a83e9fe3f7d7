//! The types of the failures that the host and the SDK create, for `failure.is(…)`.
//!
//! ```
//! # use windlass_sdk::prelude::*;
//! # fn outcome() -> Result<()> { Err(Failure::new("windlass.timeout", "too slow")) }
//! match outcome() {
//!     Err(failure) if failure.is(failure_types::TIMEOUT) => println!("the call timed out"),
//!     other => other?,
//! }
//! # Ok::<(), Failure>(())
//! ```

/// An attempt or a whole call exceeded its timeout.
pub const TIMEOUT: &str = "windlass.timeout";
/// An attempt sent no heartbeat for longer than its call allows.
pub const HEARTBEAT_TIMEOUT: &str = "windlass.heartbeat-timeout";
/// The orchestration cancelled the task, or the attempt learned that it is cancelled, or the instance was.
pub const CANCELLED: &str = "windlass.cancelled";
/// A client terminated the sub-orchestration.
pub const TERMINATED: &str = "windlass.terminated";
/// The activity leaves its outcome to somebody outside; see `Activity::complete_later`.
pub const COMPLETES_LATER: &str = "windlass.completes-later";
/// The host cannot do it now.
pub const UNAVAILABLE: &str = "windlass.unavailable";
/// The code panicked or violated another rule of the sandbox.
pub const TRAP: &str = "windlass.trap";
/// The code used up its fuel.
pub const FUEL_EXHAUSTED: &str = "windlass.fuel-exhausted";
/// The code exceeded its memory limit.
pub const MEMORY_EXHAUSTED: &str = "windlass.memory-exhausted";
/// The host crashed several times in a row while the attempt ran.
pub const POISONOUS: &str = "windlass.poisonous";
/// No module exports the function or entity.
pub const UNKNOWN_FUNCTION: &str = "windlass.unknown-function";
/// The input does not match the function's schema.
pub const INVALID_INPUT: &str = "windlass.invalid-input";
/// The payload is larger than the host accepts.
pub const PAYLOAD_REFUSED: &str = "windlass.invalid-payload";
/// The instance id belongs to an instance that has not ended.
pub const ALREADY_EXISTS: &str = "windlass.already-exists";
/// The orchestration exceeded one of its limits.
pub const LIMIT: &str = "windlass.limit";
/// The name, id or option that was passed to the host is malformed, or a set of entities to lock is empty.
pub const INVALID_ARGUMENT: &str = "windlass.invalid-argument";
/// The entity has no operation of that name.
pub const UNKNOWN_OPERATION: &str = "windlass.unknown-operation";
/// The state that the operation leaves is larger than the host accepts.
pub const INVALID_STATE: &str = "windlass.invalid-state";
/// In a critical section: the entity is not locked by it, not locked yet, or has another call that has not ended.
pub const NOT_LOCKED: &str = "windlass.not-locked";
/// The orchestration is in a critical section, and asked for another one.
pub const LOCKED_ALREADY: &str = "windlass.locked-already";
/// The orchestration is in a critical section, which cannot call sub-orchestrations.
pub const IN_CRITICAL_SECTION: &str = "windlass.in-critical-section";
/// So many operations wait for the entity that it accepts no call (the quota `maxWaitingOperations`). A later call may
/// succeed.
pub const TOO_MANY_OPERATIONS: &str = "windlass.too-many-operations";
/// The orchestration waits although it has no outstanding task.
pub const WAITS_FOR_NOTHING: &str = "windlass.waits-for-nothing";
/// From the SDK: `?` on an error without a failure type of its own.
pub const ERROR: &str = "Error";
/// From the SDK: an input, output or event does not match the Rust type.
pub const INVALID_PAYLOAD: &str = "InvalidPayload";
/// From the SDK: an activity asked for a setting that does not exist.
pub const MISSING_CONFIG: &str = "MissingConfig";
/// From the SDK: an activity asked for a secret that does not exist.
pub const MISSING_SECRET: &str = "MissingSecret";
