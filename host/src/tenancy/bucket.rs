//! A token bucket that is told the time: so much per period, saved up to a burst, and never banked beyond it.

use std::time::Duration;

use crate::model::Timestamp;

/// The most that a bucket owes, in bursts. More would punish a mistake for days: a thousand minutes of fuel are most of one.
const MOST_BURSTS_OWED: u128 = 1_000;

/// How full it is. Rate and burst are handed in with every question, because a quota may change meanwhile.
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

    /// Takes tokens that are spent already; the bucket may owe them.
    pub(super) fn spend(&mut self, tokens: u64, rate: u64, burst: u64, period: Duration, now: Timestamp) {
        self.refill(rate, now);
        let most = u128::from(burst) * period.as_millis() * MOST_BURSTS_OWED;
        self.debt = (self.debt + u128::from(tokens) * period.as_millis()).min(most);
    }

    /// Puts tokens back that were taken for nothing.
    pub(super) fn give_back(&mut self, tokens: u64, period: Duration) {
        self.debt = self.debt.saturating_sub(u128::from(tokens) * period.as_millis());
    }

    /// How long until the bucket owes nothing; none if it does not.
    pub(super) fn wait(&mut self, rate: u64, burst: u64, period: Duration, now: Timestamp) -> Option<Duration> {
        self.refill(rate, now);
        let full = u128::from(burst) * period.as_millis();
        (self.debt > full).then(|| time_for(self.debt - full, rate))
    }

    /// Clocks jump: one that goes back refills nothing, and counts from there on.
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
    fn as_many_are_taken_as_the_rate_allows_whatever_the_rhythm() {
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
            // What is left of a token when the bucket is full is lost.
            assert!(
                taken <= allowed && taken * 20 >= allowed * 19,
                "{taken} of {allowed} in steps of {step} ms"
            );
        }
    }

    #[test]
    fn the_wait_is_as_long_as_it_says() {
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
    fn what_is_spent_is_owed_and_a_clock_that_goes_back_forgives_nothing() {
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
