//! Retry policies and the other options of a call.
//!
//! Only descriptions: the host repeats attempts and keeps the count, so that a crash does not start it anew.

use std::time::Duration;

use crate::instance_id::InstanceId;

/// When and how often a failed attempt is repeated.
///
/// ```
/// use windlass_sdk::prelude::*;
///
/// // Waits 5, 10, 20, 30, 30 … seconds; stops at once when the card is declined.
/// let retry = Retry::exponential(secs(5))
///     .max_interval(secs(30))
///     .max_attempts(10)
///     .non_retryable("PaymentDeclined");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    pub(crate) first_interval: Duration,
    pub(crate) coefficient: f64,
    pub(crate) max_interval: Option<Duration>,
    pub(crate) max_attempts: u32,
    pub(crate) non_retryable: Vec<String>,
}

/// Attempts in all when a policy does not say otherwise.
const DEFAULT_MAX_ATTEMPTS: u32 = 3;

impl Retry {
    /// Waits `first` before the second attempt and twice as long before each further one; 3 attempts in all.
    pub fn exponential(first: Duration) -> Self {
        Self {
            first_interval: first,
            coefficient: 2.0,
            max_interval: None,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            non_retryable: Vec::new(),
        }
    }

    /// Waits the same time before each further attempt; 3 attempts in all.
    pub fn fixed(interval: Duration) -> Self {
        Self {
            coefficient: 1.0,
            ..Self::exponential(interval)
        }
    }

    /// A single attempt: for a call of an activity that declares retries by default.
    pub fn never() -> Self {
        Self {
            max_attempts: 1,
            ..Self::fixed(Duration::ZERO)
        }
    }

    /// Attempts in all, the first included. 0 counts as 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// The factor from one wait to the next. Below 1 counts as 1.
    #[must_use]
    pub fn coefficient(mut self, coefficient: f64) -> Self {
        self.coefficient = if coefficient.is_finite() {
            coefficient.max(1.0)
        } else {
            1.0
        };
        self
    }

    /// No wait is longer than this. Without it: one day.
    #[must_use]
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = Some(interval);
        self
    }

    /// A failure of this type ends the retries at once. May be called several times.
    #[must_use]
    pub fn non_retryable(mut self, error_type: impl Into<String>) -> Self {
        self.non_retryable.push(error_type.into());
        self
    }
}

/// How a call of an activity is carried out; made by the builder methods of a call or by the options of
/// `#[activity]`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ActivityOptions {
    /// Without it: one attempt.
    pub retry: Option<Retry>,
    /// Longest time one attempt may run, counted from its start.
    pub attempt_timeout: Option<Duration>,
    /// Longest time from scheduling to the final outcome, waits and queues included.
    pub timeout: Option<Duration>,
}

/// How a sub-orchestration is carried out; made by the builder methods of a call.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SubOrchestrationOptions {
    /// The child's id. Without it the host derives one.
    pub instance_id: Option<InstanceId>,
    /// Without it: one attempt.
    pub retry: Option<Retry>,
    /// Longest time from scheduling to the final outcome.
    pub timeout: Option<Duration>,
}
