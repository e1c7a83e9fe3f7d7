//! The retry schedule, which must match that of the host.

use crate::failure::Failure;
use crate::retry::Retry;
use crate::time::whole_millis;

/// The longest wait of a policy that does not set one, in milliseconds: one day, as the WIT specifies.
const DEFAULT_MAX_INTERVAL_MS: f64 = 24.0 * 60.0 * 60.0 * 1000.0;

/// The wait before the next attempt in milliseconds; `None` if there is no further attempt.
pub(super) fn wait_before_next(retry: Option<&Retry>, attempt: u32, failure: &Failure) -> Option<u64> {
    let retry = retry?;
    let is_final = attempt >= retry.max_attempts
        || failure.is_non_retryable()
        || retry.non_retryable.iter().any(|error_type| failure.is(error_type));
    if is_final {
        return None;
    }
    let longest = retry
        .max_interval
        .map_or(DEFAULT_MAX_INTERVAL_MS, |interval| whole_millis(interval) as f64);
    let exponent = i32::try_from(attempt - 1).unwrap_or(i32::MAX);
    let wait = whole_millis(retry.first_interval) as f64 * retry.coefficient.powi(exponent);
    Some(wait.min(longest) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::secs;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_last_attempt() {
        let retry = Retry::exponential(secs(5)).max_interval(secs(15)).max_attempts(5);
        let failure = Failure::new("A", "b");
        let waits: Vec<_> = (1..=5)
            .map(|attempt| wait_before_next(Some(&retry), attempt, &failure))
            .collect();
        assert_eq!(waits, [Some(5_000), Some(10_000), Some(15_000), Some(15_000), None]);
    }

    #[test]
    fn a_non_retryable_failure_is_not_retried() {
        let retry = Retry::fixed(secs(1)).non_retryable("Declined");
        assert_eq!(wait_before_next(Some(&retry), 1, &Failure::new("Declined", "")), None);
        assert_eq!(
            wait_before_next(Some(&retry), 1, &Failure::new("Other", "").non_retryable()),
            None
        );
        assert_eq!(wait_before_next(None, 1, &Failure::new("Other", "")), None);
    }
}
