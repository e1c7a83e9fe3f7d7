//! How calls are carried out: retries, backoff and time-outs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Failure;

/// The longest wait between two attempts when a policy sets none, in milliseconds: one day.
pub const DEFAULT_MAX_INTERVAL_MS: u64 = 24 * 60 * 60 * 1000;

/// When and how often a failed attempt is repeated.
///
/// The wait before attempt `n + 1` is `first_interval × coefficient^(n-1)`, at most `max_interval`: the formula of the
/// Durable Functions retry options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Wait before the second attempt, in milliseconds.
    pub first_interval_ms: u64,
    /// Factor from one wait to the next; finite, at least 1.
    pub backoff_coefficient: f64,
    /// No wait is longer than this, in milliseconds.
    pub max_interval_ms: u64,
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// A failure of one of these types ends the retries at once.
    pub non_retryable_error_types: Vec<String>,
}

/// How an activity call is carried out: what the call asked for, over what the activity declares.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ActivityOptions {
    /// Without it: one attempt.
    pub retry: Option<RetryPolicy>,
    /// Longest time one attempt may run, in milliseconds from its start.
    pub attempt_timeout_ms: Option<u64>,
    /// Longest time from scheduling to the final outcome, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// How a sub-orchestration is carried out. (Its id is part of the decision.)
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SubOrchestrationOptions {
    /// Without it: one attempt.
    pub retry: Option<RetryPolicy>,
    /// Longest time from scheduling to the final outcome, in milliseconds.
    pub timeout_ms: Option<u64>,
}

impl RetryPolicy {
    /// Says what is wrong with the policy, if anything is.
    ///
    /// # Errors
    /// A sentence for the author of the call.
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

    /// How long to wait after that many failed attempts before the next one; none when there is to be no next one.
    pub fn wait_after(&self, failed_attempts: u32, failure: &Failure) -> Option<Duration> {
        let last = failed_attempts >= self.max_attempts;
        if last || failure.non_retryable || self.non_retryable_error_types.contains(&failure.error_type) {
            return None;
        }
        let exponent = f64::from(failed_attempts.saturating_sub(1));
        let wait_ms = self.first_interval_ms as f64 * self.backoff_coefficient.powf(exponent);
        // A float that is too large or NaN saturates or becomes zero in the cast; both are bounded by the next step.
        Some(Duration::from_millis((wait_ms as u64).min(self.max_interval_ms)))
    }
}

impl ActivityOptions {
    /// These options, with `defaults` for what they leave open.
    #[must_use]
    pub fn over(self, defaults: &Self) -> Self {
        Self {
            retry: self.retry.or_else(|| defaults.retry.clone()),
            attempt_timeout_ms: self.attempt_timeout_ms.or(defaults.attempt_timeout_ms),
            timeout_ms: self.timeout_ms.or(defaults.timeout_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn waits_double_up_to_the_longest_and_end_with_the_last_attempt() {
        let failure = Failure::new("Busy", "try later");
        let waits: Vec<_> = (1..=6)
            .map(|n| policy().wait_after(n, &failure).map(|w| w.as_secs()))
            .collect();
        assert_eq!(waits, [Some(5), Some(10), Some(15), Some(15), None, None]);
    }

    #[test]
    fn some_failures_are_not_tried_again() {
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
