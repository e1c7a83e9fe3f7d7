//! Lets small operations pass after a batch that took long.
//!
//! A step of an instance waits for the batch that is being written, and a workflow takes many steps. If one large operation
//! followed the other, such as turns with many megabytes or deletions of old histories, each step would wait for one of
//! them. So only small operations are written for a while after a large one that took long, as long as some come: a
//! workflow takes several steps in that time.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{SMALL_BYTES, operation::Job};

/// Large operations that take less time are not followed by a rest.
const LONG: Duration = Duration::from_millis(100);

/// A rest is as long as the operation before it took, but no longer than this.
const MAX_REST: Duration = Duration::from_millis(500);

/// A rest ends when no small operation has come for this long.
const QUIET: Duration = Duration::from_millis(50);

/// When only small operations are written because a large one took long.
#[derive(Debug, Default)]
pub(in crate::store) struct Rest {
    /// When the rest is over if small operations come until then.
    until: Option<Instant>,
    /// When the last small operation came, or the rest began.
    busy_at: Option<Instant>,
}

impl Rest {
    /// Notes an operation that came.
    pub(super) fn note(&mut self, job: &Job, now: Instant) {
        if job.bytes <= SMALL_BYTES {
            self.small_came(now);
        }
    }

    fn small_came(&mut self, now: Instant) {
        self.busy_at = Some(now);
    }

    /// Begins a rest after a batch with a large operation, if it took long. (A batch of small operations begins none:
    /// otherwise rests would follow each other for ever on a slow disk.)
    pub(super) fn after_large(&mut self, begun: Instant, now: Instant) {
        let took = now.duration_since(begun);
        let were_there = self.busy_at.is_some_and(|at| begun.duration_since(at) <= MAX_REST);
        if took >= LONG && were_there {
            self.until = Some(now + took.min(MAX_REST));
            self.busy_at = Some(now);
        }
    }

    /// Ends the rest.
    pub(super) fn end_early(&mut self) {
        self.until = None;
    }

    /// When the rest is over, unless further small operations come; `None` if there is none at `now`.
    fn end(&self, now: Instant) -> Option<Instant> {
        let end = self.until?.min(self.busy_at? + QUIET);
        (now < end).then_some(end)
    }

    /// Whether only small operations may be written at `now`.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.end(now).is_some()
    }

    /// Waits until the rest is over, if no further small operation comes.
    pub(super) async fn over(&self) {
        if let Some(end) = self.end(Instant::now()) {
            sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A rest after a batch that took this long. A small operation came `before` it began.
    fn rest_after(took: Duration, before: Option<Duration>) -> (Rest, Instant) {
        let begun = Instant::now() + Duration::from_secs(10);
        let mut rest = Rest::default();
        if let Some(before) = before {
            rest.small_came(begun - before);
        }
        rest.after_large(begun, begun + took);
        (rest, begun + took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_lasts_as_long_as_the_batch_while_small_operations_come() {
        let (mut rest, begun) = rest_after(200 * MS, Some(MS));
        let came_until = |rest: &mut Rest, ms: u32| {
            (0..ms).step_by(10).for_each(|ms| rest.small_came(begun + ms * MS));
            rest.is_on(begun + ms * MS)
        };
        assert!(came_until(&mut rest, 199));
        assert!(!came_until(&mut rest, 200));
        let (rest, begun) = rest_after(Duration::from_secs(9), Some(MS));
        assert_eq!(rest.until, Some(begun + MAX_REST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_ends_when_nothing_small_comes() {
        let (rest, begun) = rest_after(200 * MS, Some(MS));
        assert!(rest.is_on(begun + QUIET - MS) && !rest.is_on(begun + QUIET));
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_rest_after_a_short_batch_or_if_nothing_small_came_before() {
        for (took, before) in [(LONG - MS, Some(MS)), (LONG, None), (LONG, Some(MAX_REST + MS))] {
            let (rest, begun) = rest_after(took, before);
            assert!(!rest.is_on(begun), "{took:?} {before:?}");
        }
        let (rest, begun) = rest_after(LONG, Some(MAX_REST));
        assert!(rest.is_on(begun));
    }
}
