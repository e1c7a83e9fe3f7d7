//! Why a task or an instance failed, and the names of the failures that the host itself produces.

use serde::{Deserialize, Serialize};

use super::Payload;

/// Why something failed: what guests return and receive, what histories keep and what clients are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Machine-readable name, for example `PaymentDeclined` or one of [`types`].
    pub error_type: String,
    /// One sentence for a person.
    pub message: String,
    /// Anything a program may want to know.
    pub details: Option<Payload>,
    /// Set by whoever failed: trying again is pointless.
    pub non_retryable: bool,
    /// What led to it, nearest first.
    pub causes: Vec<Cause>,
}

/// One link of the chain of causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Machine-readable name.
    pub error_type: String,
    /// One sentence for a person.
    pub message: String,
    /// Anything a program may want to know.
    pub details: Option<Payload>,
}

/// Most causes kept of one failure; a chain that passes through many sub-orchestrations loses its far end.
pub const MAX_CAUSES: usize = 32;

/// Most bytes of a message, and of details, in an [abridged](Failure::abridged) failure.
const ABRIDGED_BYTES: usize = 2 << 10;

/// Most causes of an abridged failure.
const ABRIDGED_CAUSES: usize = 4;

/// The error types of failures that come from the host. Stable: orchestrations and clients branch on them.
pub mod types {
    /// An attempt or a whole call took longer than it was allowed.
    pub const TIMEOUT: &str = "windlass.timeout";
    /// The guest trapped (a panic, out-of-bounds access, …).
    pub const TRAP: &str = "windlass.trap";
    /// The guest used up its fuel.
    pub const FUEL: &str = "windlass.fuel-exhausted";
    /// The guest wanted more memory or tables than it may have.
    pub const MEMORY: &str = "windlass.memory-exhausted";
    /// A payload was not JSON or too large.
    pub const PAYLOAD: &str = "windlass.invalid-payload";
    /// The input does not fit the function's schema.
    pub const INPUT: &str = "windlass.invalid-input";
    /// No module offers the function.
    pub const UNKNOWN_FUNCTION: &str = "windlass.unknown-function";
    /// A name, id or option passed to the host is malformed.
    pub const ARGUMENT: &str = "windlass.invalid-argument";
    /// The task was cancelled.
    pub const CANCELLED: &str = "windlass.cancelled";
    /// The sub-orchestration was terminated by a person.
    pub const TERMINATED: &str = "windlass.terminated";
    /// The sub-orchestration could not start: its id belongs to an instance that has not ended.
    pub const ALREADY_EXISTS: &str = "windlass.already-exists";
    /// An attempt that the end of the host cut off. Noted, and not counted as an attempt.
    pub const CUT_OFF: &str = "windlass.cut-off";
    /// The attempt ran at several unclean ends of the host in a row.
    pub const POISONOUS: &str = "windlass.poisonous";
    /// The orchestration waits although nothing is outstanding.
    pub const WAITS_FOR_NOTHING: &str = "windlass.waits-for-nothing";
    /// A turn asked for more than its limits allow.
    pub const LIMIT: &str = "windlass.limit";
    /// The module that is to run cannot be loaded any more.
    pub const MODULE: &str = "windlass.module-unavailable";
}

impl Failure {
    /// Bytes of its message and details.
    pub fn bytes(&self) -> u64 {
        self.message.len() as u64 + self.details.as_ref().map_or(0, Payload::bytes)
    }

    /// The failure with its long parts cut or left out: some 20 KiB at most, for lists of many failures.
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

    /// A failure with a type and a message, worth another attempt.
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error_type: error_type.into(),
            message: message.into(),
            details: None,
            non_retryable: false,
            causes: Vec::new(),
        }
    }

    /// The same, not worth another attempt.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.non_retryable = true;
        self
    }

    /// A failure that was led to by another one.
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
    fn an_abridged_failure_is_short_whatever_it_was() {
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
