//! Retry policies and the other options of a call.
//!
//! These types only describe a policy. The host retries and counts attempts, so that the count survives a crash.

use std::time::Duration;

use crate::instance_id::InstanceId;

/// When and how often a failed attempt is retried.
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

/// Total number of attempts if a policy does not set it.
const DEFAULT_MAX_ATTEMPTS: u32 = 3;

impl Retry {
    /// Waits `first` before the second attempt, and doubles the wait before each further one. At most 3 attempts in
    /// total unless set.
    pub fn exponential(first: Duration) -> Self {
        Self {
            first_interval: first,
            coefficient: 2.0,
            max_interval: None,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            non_retryable: Vec::new(),
        }
    }

    /// Waits `interval` before each further attempt. At most 3 attempts in total unless set.
    pub fn fixed(interval: Duration) -> Self {
        Self {
            coefficient: 1.0,
            ..Self::exponential(interval)
        }
    }

    /// A single attempt. Turns off the retries that an activity declares by default.
    pub fn never() -> Self {
        Self {
            max_attempts: 1,
            ..Self::fixed(Duration::ZERO)
        }
    }

    /// Sets the maximum number of attempts, including the first. 0 counts as 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Sets the factor by which each wait is longer than the one before. Values below 1, NaN and infinity count as 1.
    #[must_use]
    pub fn coefficient(mut self, coefficient: f64) -> Self {
        self.coefficient = if coefficient.is_finite() {
            coefficient.max(1.0)
        } else {
            1.0
        };
        self
    }

    /// Sets the longest wait between two attempts. One day unless set.
    #[must_use]
    pub fn max_interval(mut self, interval: Duration) -> Self {
        self.max_interval = Some(interval);
        self
    }

    /// Stops retrying at the first failure of this type. May be called several times.
    #[must_use]
    pub fn non_retryable(mut self, error_type: impl Into<String>) -> Self {
        self.non_retryable.push(error_type.into());
        self
    }
}

/// The options of an activity call, from the builder methods of the call or the options of `#[activity]`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ActivityOptions {
    /// The retry policy; a single attempt if `None`.
    pub retry: Option<Retry>,
    /// Longest time that one attempt may run, from its start.
    pub attempt_timeout: Option<Duration>,
    /// Longest time from scheduling to the final outcome, including waits between attempts and time in queues.
    pub timeout: Option<Duration>,
    /// An attempt fails when it has sent no heartbeat for this long. Only the caller can set it.
    pub heartbeat_timeout: Option<Duration>,
}

/// What happens to a sub-orchestration that has not ended when the execution that called it ends. Used in
/// [`SubCall::on_parent_close`](crate::SubCall::on_parent_close).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParentClose {
    /// It goes on, even if its parent is terminated.
    Abandon,
    /// It is terminated.
    Terminate,
    /// It is asked to [cancel](crate::Orchestration::cancelled) itself.
    Cancel,
}

/// The options of a sub-orchestration, from the builder methods of the call.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SubOrchestrationOptions {
    /// The child's id; the host derives one if `None`.
    pub instance_id: Option<InstanceId>,
    /// The retry policy; a single attempt if `None`.
    pub retry: Option<Retry>,
    /// Longest time from scheduling to the final outcome.
    pub timeout: Option<Duration>,
    /// What happens to it when the execution ends; if `None`, it is terminated with its parent, and goes on otherwise.
    pub parent_close: Option<ParentClose>,
}
