//! The types of the failures that the host and the SDK give out, for `failure.is(…)`.
//!
//! ```
//! # use windlass_sdk::prelude::*;
//! # fn outcome() -> Result<()> { Err(Failure::new("windlass.timeout", "too slow")) }
//! match outcome() {
//!     Err(failure) if failure.is(failure_types::TIMEOUT) => println!("no answer in time"),
//!     other => other?,
//! }
//! # Ok::<(), Failure>(())
//! ```

/// An attempt or a whole call took longer than it was allowed.
pub const TIMEOUT: &str = "windlass.timeout";
/// The orchestration cancelled the task.
pub const CANCELLED: &str = "windlass.cancelled";
/// The sub-orchestration was ended from outside.
pub const TERMINATED: &str = "windlass.terminated";
/// The code panicked or broke another rule of the sandbox.
pub const TRAP: &str = "windlass.trap";
/// The code used up its fuel.
pub const FUEL_EXHAUSTED: &str = "windlass.fuel-exhausted";
/// The code wanted more memory than it may have.
pub const MEMORY_EXHAUSTED: &str = "windlass.memory-exhausted";
/// The attempt ran at several unclean ends of the host in a row.
pub const POISONOUS: &str = "windlass.poisonous";
/// No module offers the function.
pub const UNKNOWN_FUNCTION: &str = "windlass.unknown-function";
/// The input does not fit the function's schema.
pub const INVALID_INPUT: &str = "windlass.invalid-input";
/// The payload is larger than the host takes.
pub const PAYLOAD_REFUSED: &str = "windlass.invalid-payload";
/// The instance id belongs to an instance that has not ended.
pub const ALREADY_EXISTS: &str = "windlass.already-exists";
/// The orchestration asked for more than its limits allow.
pub const LIMIT: &str = "windlass.limit";
/// The orchestration waits although nothing that it asked for is outstanding.
pub const WAITS_FOR_NOTHING: &str = "windlass.waits-for-nothing";
/// From the SDK: `?` on an error to which nobody gave a type.
pub const ERROR: &str = "Error";
/// From the SDK: an input, output or event is not what the function's Rust type asks for.
pub const INVALID_PAYLOAD: &str = "InvalidPayload";
/// From the SDK: an activity asked for a setting that is not there.
pub const MISSING_CONFIG: &str = "MissingConfig";
/// From the SDK: an activity asked for a secret that is not there.
pub const MISSING_SECRET: &str = "MissingSecret";
