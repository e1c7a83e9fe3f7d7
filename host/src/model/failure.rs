//! Why a task or an instance failed, and the names of the failures that the host itself produces.

use serde::{Deserialize, Serialize};

use super::Payload;

/// A failure: returned and received by guests, stored in histories, and shown to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Machine-readable type, for example `PaymentDeclined` or one of [`types`].
    pub error_type: String,
    /// One sentence for people.
    pub message: String,
    /// Further data for programs.
    pub details: Option<Payload>,
    /// Set by the code that failed: retrying is pointless.
    pub non_retryable: bool,
    /// The causes, from the direct one to the root.
    pub causes: Vec<Cause>,
}

/// One link of the chain of causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Machine-readable type.
    pub error_type: String,
    /// One sentence for people.
    pub message: String,
    /// Further data for programs.
    pub details: Option<Payload>,
}

/// Maximum number of causes of one failure. A longer chain, through many sub-orchestrations, loses the causes at its
/// far end.
pub const MAX_CAUSES: usize = 32;

/// Maximum length of a message, and of details, in an [abridged](Failure::abridged) failure, in bytes.
const ABRIDGED_BYTES: usize = 2 << 10;

/// Maximum number of causes of an abridged failure.
const ABRIDGED_CAUSES: usize = 4;

/// The error types of failures that the host produces. They are stable: orchestrations and clients branch on them.
pub mod types {
    /// An attempt or a whole call took longer than allowed.
    pub const TIMEOUT: &str = "windlass.timeout";
    /// An attempt sent no heartbeat for longer than allowed.
    pub const HEARTBEAT_TIMEOUT: &str = "windlass.heartbeat-timeout";
    /// The activity ended without an outcome, because somebody completes its call later.
    pub const COMPLETES_LATER: &str = "windlass.completes-later";
    /// The host cannot do it now.
    pub const UNAVAILABLE: &str = "windlass.unavailable";
    /// The guest trapped (a panic, out-of-bounds access, …).
    pub const TRAP: &str = "windlass.trap";
    /// The guest used up its fuel.
    pub const FUEL: &str = "windlass.fuel-exhausted";
    /// The guest asked for more memory or tables than its limit.
    pub const MEMORY: &str = "windlass.memory-exhausted";
    /// A payload was not JSON or too large.
    pub const PAYLOAD: &str = "windlass.invalid-payload";
    /// The input does not fit the function's schema.
    pub const INPUT: &str = "windlass.invalid-input";
    /// No module offers the function.
    pub const UNKNOWN_FUNCTION: &str = "windlass.unknown-function";
    /// A name, id or option passed to the host is malformed.
    pub const ARGUMENT: &str = "windlass.invalid-argument";
    /// The task was cancelled, or the instance after its cancellation was requested.
    pub const CANCELLED: &str = "windlass.cancelled";
    /// The sub-orchestration was terminated.
    pub const TERMINATED: &str = "windlass.terminated";
    /// The sub-orchestration could not start: its id belongs to an instance that has not ended.
    pub const ALREADY_EXISTS: &str = "windlass.already-exists";
    /// The attempt was cut off by the end of the host. It is recorded, but does not count as an attempt.
    pub const CUT_OFF: &str = "windlass.cut-off";
    /// Only this attempt was running at several unclean shutdowns of the host in a row.
    pub const POISONOUS: &str = "windlass.poisonous";
    /// The orchestration waits although no task is outstanding.
    pub const WAITS_FOR_NOTHING: &str = "windlass.waits-for-nothing";
    /// A turn asked for more than its limits allow.
    pub const LIMIT: &str = "windlass.limit";
    /// The entity has no such operation.
    pub const UNKNOWN_OPERATION: &str = "windlass.unknown-operation";
    /// In a critical section, the orchestration called an entity that it has not locked, or signalled one that it has.
    pub const NOT_LOCKED: &str = "windlass.not-locked";
    /// The orchestration is in a critical section and asked for another one.
    pub const LOCKED_ALREADY: &str = "windlass.locked-already";
    /// The orchestration is in a critical section, in which it cannot call sub-orchestrations.
    pub const IN_CRITICAL_SECTION: &str = "windlass.in-critical-section";
    /// So many operations wait for the entity that it accepts no call. Trying again later may work.
    pub const TOO_MANY_OPERATIONS: &str = "windlass.too-many-operations";
    /// The state of an entity would be larger than allowed, or is not JSON.
    pub const STATE: &str = "windlass.invalid-state";
    /// The module to run cannot be loaded any more.
    pub const MODULE: &str = "windlass.module-unavailable";
}

impl Failure {
    /// Bytes of the texts and details of the failure and of its causes.
    pub fn bytes(&self) -> u64 {
        let size = |error_type: &str, message: &str, details: &Option<Payload>| {
            (error_type.len() + message.len()) as u64 + details.as_ref().map_or(0, Payload::bytes)
        };
        let causes = self.causes.iter();
        let causes = causes.map(|cause| size(&cause.error_type, &cause.message, &cause.details));
        size(&self.error_type, &self.message, &self.details) + causes.sum::<u64>()
    }

    /// The type and the beginning of the message, at most about 1 KiB, for summaries.
    pub fn brief(&self) -> Self {
        /// Maximum length of the type and of the message, in bytes.
        const BRIEF_BYTES: usize = 512;
        let brief = |text: &str| text[..text.floor_char_boundary(BRIEF_BYTES)].to_owned();
        Self {
            error_type: brief(&self.error_type),
            message: brief(&self.message),
            details: None,
            non_retryable: self.non_retryable,
            causes: Vec::new(),
        }
    }

    /// The failure with long parts truncated or omitted, at most about 20 KiB, for lists of many failures.
    pub fn abridged(&self) -> Self {
        let message = |text: &str| text[..text.floor_char_boundary(ABRIDGED_BYTES)].to_owned();
        let details = |details: &Option<Payload>| {
            details
                .clone()
                .filter(|details| details.as_str().len() <= ABRIDGED_BYTES)
        };
        let causes = self.causes.iter().take(ABRIDGED_CAUSES).map(|cause| Cause {
            error_type: cause.error_type.clone(),
            message: message(&cause.message),
            details: details(&cause.details),
        });
        Self {
            error_type: self.error_type.clone(),
            message: message(&self.message),
            details: details(&self.details),
            non_retryable: self.non_retryable,
            causes: causes.collect(),
        }
    }

    /// Creates a retryable failure with a type and a message.
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error_type: error_type.into(),
            message: message.into(),
            details: None,
            non_retryable: false,
            causes: Vec::new(),
        }
    }

    /// Marks the failure as not retryable.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.non_retryable = true;
        self
    }

    /// Adds the failure that caused this one.
    #[must_use]
    pub fn caused_by(mut self, cause: Self) -> Self {
        let Self {
            error_type,
            message,
            details,
            causes,
            ..
        } = cause;
        self.causes.push(Cause {
            error_type,
            message,
            details,
        });
        self.causes.extend(causes);
        self.causes.truncate(MAX_CAUSES);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abridged_failure_is_short() {
        let long = "ä".repeat(100_000);
        let mut failure = Failure::new("Busy", long.clone()).permanent();
        failure.details = Some(Payload::of(&long));
        for _ in 0..MAX_CAUSES {
            failure = Failure::new("Busy", long.clone()).caused_by(failure);
        }
        let size = |failure: &Failure| crate::model::codec::encode(failure).len();
        assert!(size(&failure) > 1_000_000);
        assert!(size(&failure.abridged()) < 24 << 10);
        let short = Failure::new("Busy", "try later")
            .permanent()
            .caused_by(Failure::new("Down", ""));
        assert_eq!(short.abridged(), short);
    }
}
