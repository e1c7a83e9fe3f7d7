//! A token bucket to which the caller passes the time. It refills at a rate, up to a burst.

use std::time::Duration;

use crate::model::Timestamp;

/// The maximum debt of a bucket, in bursts. More would punish a mistake for days: a thousand minutes' worth of fuel
/// already delay a tenant for most of a day.
const MOST_BURSTS_OWED: u128 = 1_000;

/// The state of a bucket. Callers pass rate and burst with every call, because a quota may change in between.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Tokens used and not yet refilled, in tokens times milliseconds of the period.
    debt: u128,
    at: Timestamp,
}

impl Bucket {
    /// Takes tokens if there are enough.
    ///
    /// # Errors
    /// How long to wait until there are.
    pub(super) fn take(
        &mut self,
        tokens: u64,
        rate: u64,
        burst: u64,
        period: Duration,
        now: Timestamp,
    ) -> Result<(), Duration> {
        self.refill(rate, now);
        let scale = period.as_millis();
        let full = u128::from(burst.max(tokens)) * scale;
        let wanted = self.debt + u128::from(tokens) * scale;
        if wanted <= full {
            self.debt = wanted;
            return Ok(());
        }
        Err(time_for(wanted - full, rate))
    }

    /// Takes tokens that are spent already, even if the bucket then has a debt.
    pub(super) fn spend(&mut self, tokens: u64, rate: u64, burst: u64, period: Duration, now: Timestamp) {
        self.refill(rate, now);
        let most = u128::from(burst) * period.as_millis() * MOST_BURSTS_OWED;
        self.debt = (self.debt + u128::from(tokens) * period.as_millis()).min(most);
    }

    /// Returns tokens that were not needed.
    pub(super) fn give_back(&mut self, tokens: u64, period: Duration) {
        self.debt = self.debt.saturating_sub(u128::from(tokens) * period.as_millis());
    }

    /// How long until the bucket has no debt beyond the burst; `None` if it has none now.
    pub(super) fn wait(&mut self, rate: u64, burst: u64, period: Duration, now: Timestamp) -> Option<Duration> {
        self.refill(rate, now);
        let full = u128::from(burst) * period.as_millis();
        (self.debt > full).then(|| time_for(self.debt - full, rate))
    }

    /// Refills for the time since the last call. If the clock was set back, refills nothing and continues from the new
    /// time.
    fn refill(&mut self, rate: u64, now: Timestamp) {
        let elapsed = now.since(self.at).as_millis();
        self.debt = self.debt.saturating_sub(elapsed * u128::from(rate));
        self.at = now;
    }
}

fn time_for(debt: u128, rate: u64) -> Duration {
    let millis = debt.div_ceil(u128::from(rate.max(1)));
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn as_many_tokens_are_taken_as_the_rate_allows_regardless_of_the_interval() {
        for step in [1, 7, 100, 999, 2_500] {
            let mut bucket = Bucket::default();
            let mut taken = 0;
            let begin = 1_700_000_000_000;
            for now in (begin..begin + 60_000).step_by(step) {
                while bucket.take(1, 10, 10, SECOND, Timestamp(now)).is_ok() {
                    taken += 1;
                }
            }
            let allowed = if step > 1_000 {
                10 * 60_000 / step as u64 + 10
            } else {
                10 + 600
            };
            // Tokens that would overfill the bucket are lost.
            assert!(
                taken <= allowed && taken * 20 >= allowed * 19,
                "{taken} of {allowed} in steps of {step} ms"
            );
        }
    }

    #[test]
    fn the_reported_wait_is_exact() {
        let mut bucket = Bucket::default();
        let now = Timestamp(1_700_000_000_000);
        for _ in 0..10 {
            bucket.take(1, 10, 10, SECOND, now).unwrap();
        }
        let wait = bucket.take(1, 10, 10, SECOND, now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(
            bucket
                .take(1, 10, 10, SECOND, now.after(wait - Duration::from_millis(1)))
                .is_err()
        );
        assert!(bucket.take(1, 10, 10, SECOND, now.after(wait)).is_ok());
    }

    #[test]
    fn spent_tokens_are_owed_and_setting_the_clock_back_does_not_reduce_the_debt() {
        let mut bucket = Bucket::default();
        let now = Timestamp(1_700_000_000_000);
        bucket.spend(25, 10, 10, SECOND, now);
        assert_eq!(bucket.wait(10, 10, SECOND, now), Some(Duration::from_millis(1_500)));
        let back = Timestamp(now.0 - 5_000);
        assert_eq!(bucket.wait(10, 10, SECOND, back), Some(Duration::from_millis(1_500)));
        assert_eq!(
            bucket.wait(10, 10, SECOND, back.after(Duration::from_millis(1_500))),
            None
        );
    }
}
