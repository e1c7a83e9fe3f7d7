//! Options of calls: retries, backoff and timeouts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Failure;

/// The default maximum delay between two attempts, in milliseconds: one day.
pub const DEFAULT_MAX_INTERVAL_MS: u64 = 24 * 60 * 60 * 1000;

/// When and how often a failed attempt is retried.
///
/// The delay before attempt `n + 1` is `first_interval × coefficient^(n-1)`, at most `max_interval`: the formula of the
/// Durable Functions retry options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Delay before the second attempt, in milliseconds.
    pub first_interval_ms: u64,
    /// Factor between consecutive delays; finite, at least 1.
    pub backoff_coefficient: f64,
    /// Maximum delay, in milliseconds.
    pub max_interval_ms: u64,
    /// Maximum number of attempts, including the first one; at least 1.
    pub max_attempts: u32,
    /// Error types that are not retried.
    pub non_retryable_error_types: Vec<String>,
}

/// Options of an activity call: those of the call, completed with those that the activity declares.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "StoredOptions", into = "StoredOptions")]
pub struct ActivityOptions {
    /// When to retry; if `None`, there is one attempt.
    pub retry: Option<RetryPolicy>,
    /// Timeout of each attempt, in milliseconds from its start.
    pub attempt_timeout_ms: Option<u64>,
    /// Timeout of the whole call, from scheduling to the final outcome, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// An attempt fails when it has sent no heartbeat for this long, in milliseconds; if `None`, it need not send any.
    pub heartbeat_timeout_ms: Option<u64>,
}

/// The stored form of [`ActivityOptions`].
#[derive(Serialize, Deserialize)]
struct StoredOptions {
    retry: Option<RetryPolicy>,
    attempt_timeout_ms: Option<u64>,
    times: StoredTimes,
}

/// The other times of [`ActivityOptions`]. Older hosts stored an `Option` with the timeout here; the first two variants
/// have the same bytes.
#[derive(Serialize, Deserialize)]
enum StoredTimes {
    None,
    Timeout(u64),
    WithHeartbeat {
        timeout_ms: Option<u64>,
        heartbeat_timeout_ms: u64,
    },
}

/// Options of a sub-orchestration call. (Its id is part of the decision.)
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SubOrchestrationOptions {
    /// When to retry; if `None`, there is one attempt.
    pub retry: Option<RetryPolicy>,
    /// Timeout of the whole call, from scheduling to the final outcome, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// What happens to a sub-orchestration that has not ended when its parent ends or continues as new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParentClose {
    /// It goes on.
    Abandon,
    /// It is terminated.
    Terminate,
    /// Its cancellation is requested.
    Cancel,
}

impl ParentClose {
    /// The name that clients see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abandon => "abandon",
            Self::Terminate => "terminate",
            Self::Cancel => "cancel",
        }
    }
}

impl RetryPolicy {
    /// Checks the policy.
    ///
    /// # Errors
    /// A sentence that tells the author of the call what is wrong.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_attempts == 0 {
            return Err("max-attempts must be at least 1".into());
        }
        if !self.backoff_coefficient.is_finite() || self.backoff_coefficient < 1.0 {
            return Err(format!(
                "backoff-coefficient must be a number of at least 1, not {}",
                self.backoff_coefficient
            ));
        }
        if self.non_retryable_error_types.len() > 64 {
            return Err("at most 64 non-retryable error types are allowed".into());
        }
        Ok(())
    }

    /// The delay before the next attempt after `failed_attempts` failed ones; `None` if there is no next attempt.
    pub fn wait_after(&self, failed_attempts: u32, failure: &Failure) -> Option<Duration> {
        let last = failed_attempts >= self.max_attempts;
        if last || failure.non_retryable || self.non_retryable_error_types.contains(&failure.error_type) {
            return None;
        }
        let exponent = f64::from(failed_attempts.saturating_sub(1));
        let wait_ms = self.first_interval_ms as f64 * self.backoff_coefficient.powf(exponent);
        // The cast saturates for a float that is too large, and yields zero for NaN; `max_interval_ms` bounds the
        // result.
        Some(Duration::from_millis((wait_ms as u64).min(self.max_interval_ms)))
    }
}

impl ActivityOptions {
    /// These options, completed with `defaults`.
    #[must_use]
    pub fn over(self, defaults: &Self) -> Self {
        Self {
            retry: self.retry.or_else(|| defaults.retry.clone()),
            attempt_timeout_ms: self.attempt_timeout_ms.or(defaults.attempt_timeout_ms),
            timeout_ms: self.timeout_ms.or(defaults.timeout_ms),
            heartbeat_timeout_ms: self.heartbeat_timeout_ms.or(defaults.heartbeat_timeout_ms),
        }
    }
}

impl From<StoredOptions> for ActivityOptions {
    fn from(stored: StoredOptions) -> Self {
        let (timeout_ms, heartbeat_timeout_ms) = match stored.times {
            StoredTimes::None => (None, None),
            StoredTimes::Timeout(timeout_ms) => (Some(timeout_ms), None),
            StoredTimes::WithHeartbeat {
                timeout_ms,
                heartbeat_timeout_ms,
            } => (timeout_ms, Some(heartbeat_timeout_ms)),
        };
        Self {
            retry: stored.retry,
            attempt_timeout_ms: stored.attempt_timeout_ms,
            timeout_ms,
            heartbeat_timeout_ms,
        }
    }
}

impl From<ActivityOptions> for StoredOptions {
    fn from(options: ActivityOptions) -> Self {
        let times = match (options.timeout_ms, options.heartbeat_timeout_ms) {
            (None, None) => StoredTimes::None,
            (Some(timeout_ms), None) => StoredTimes::Timeout(timeout_ms),
            (timeout_ms, Some(heartbeat_timeout_ms)) => StoredTimes::WithHeartbeat {
                timeout_ms,
                heartbeat_timeout_ms,
            },
        };
        Self {
            retry: options.retry,
            attempt_timeout_ms: options.attempt_timeout_ms,
            times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_older_hosts_have_the_same_bytes() {
        type Older = (Option<RetryPolicy>, Option<u64>, Option<u64>);
        let cases: [Older; 3] = [
            (None, None, None),
            (None, Some(7), Some(300)),
            (Some(policy()), None, Some(u64::MAX)),
        ];
        for older in cases {
            let bytes = postcard::to_allocvec(&older).unwrap();
            let read: ActivityOptions = postcard::from_bytes(&bytes).unwrap();
            let (retry, attempt_timeout_ms, timeout_ms) = older;
            let expected = ActivityOptions {
                retry,
                attempt_timeout_ms,
                timeout_ms,
                heartbeat_timeout_ms: None,
            };
            assert_eq!(read, expected);
            assert_eq!(postcard::to_allocvec(&expected).unwrap(), bytes);
        }
        for timeout_ms in [None, Some(5)] {
            let newer = ActivityOptions {
                timeout_ms,
                heartbeat_timeout_ms: Some(9),
                ..ActivityOptions::default()
            };
            let bytes = postcard::to_allocvec(&newer).unwrap();
            assert_eq!(postcard::from_bytes::<ActivityOptions>(&bytes).unwrap(), newer);
        }
    }

    fn policy() -> RetryPolicy {
        RetryPolicy {
            first_interval_ms: 5_000,
            backoff_coefficient: 2.0,
            max_interval_ms: 15_000,
            max_attempts: 5,
            non_retryable_error_types: vec!["Declined".into()],
        }
    }

    #[test]
    fn delays_double_up_to_the_maximum_and_end_with_the_last_attempt() {
        let failure = Failure::new("Busy", "try later");
        let waits: Vec<_> = (1..=6)
            .map(|n| policy().wait_after(n, &failure).map(|w| w.as_secs()))
            .collect();
        assert_eq!(waits, [Some(5), Some(10), Some(15), Some(15), None, None]);
    }

    #[test]
    fn non_retryable_failures_are_not_retried() {
        assert_eq!(policy().wait_after(1, &Failure::new("Declined", "no")), None);
        assert_eq!(policy().wait_after(1, &Failure::new("Busy", "no").permanent()), None);
    }

    #[test]
    fn an_extreme_policy_neither_panics_nor_waits_for_ever() {
        let extreme = RetryPolicy {
            backoff_coefficient: f64::MAX,
            max_attempts: u32::MAX,
            ..policy()
        };
        let wait = extreme.wait_after(u32::MAX - 1, &Failure::new("Busy", "")).unwrap();
        assert_eq!(wait, Duration::from_secs(15));
        assert!(
            RetryPolicy {
                backoff_coefficient: f64::NAN,
                ..policy()
            }
            .validate()
            .is_err()
        );
        assert!(
            RetryPolicy {
                backoff_coefficient: 0.5,
                ..policy()
            }
            .validate()
            .is_err()
        );
        assert!(
            RetryPolicy {
                max_attempts: 0,
                ..policy()
            }
            .validate()
            .is_err()
        );
    }
}
