//! Attempts that ran when a host ended uncleanly start again a few at a time.
//!
//! One of them may be what ended the host. If all started at once, the next unclean end would name all of them again;
//! the fewer run, the fewer it names. This must not hold anybody up for long: the places double every minute, so even
//! attempts that never end keep no other from starting.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Places in the first minute for attempts that one unclean end cut off.
const PLACES_AFTER_ONE: usize = 8;

/// Places in the first minute for attempts that several unclean ends in a row cut off.
const PLACES_AFTER_SEVERAL: usize = 1;

/// The places double after this time: the default time-out of an attempt.
const DOUBLE_AFTER: Duration = Duration::from_secs(60);

/// How often they double. There are more places than attempts that a host can run then.
const DOUBLINGS: u32 = 20;

/// The places. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Suspects {
    after_one: Arc<Semaphore>,
    after_several: Arc<Semaphore>,
}

impl Default for Suspects {
    fn default() -> Self {
        Self {
            after_one: Arc::new(Semaphore::new(PLACES_AFTER_ONE)),
            after_several: Arc::new(Semaphore::new(PLACES_AFTER_SEVERAL)),
        }
    }
}

impl Suspects {
    /// Waits for a place for an attempt that so many unclean ends in a row cut off; dropping it gives it back. Who was
    /// not cut off needs none.
    pub(super) async fn enter(&self, cut_offs: u32) -> Option<OwnedSemaphorePermit> {
        let places = match cut_offs {
            0 => return None,
            1 => &self.after_one,
            _ => &self.after_several,
        };
        let place = Arc::clone(places).acquire_owned().await;
        Some(place.expect("the places are never closed"))
    }

    /// Doubles the places from time to time, until the shutdown.
    pub(in crate::engine) async fn admit_more(self, shutdown: CancellationToken) {
        let work = async {
            for doubling in 0..DOUBLINGS {
                tokio::time::sleep(DOUBLE_AFTER).await;
                self.after_one.add_permits(PLACES_AFTER_ONE << doubling);
                self.after_several.add_permits(PLACES_AFTER_SEVERAL << doubling);
            }
        };
        shutdown.run_until_cancelled(work).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn enters(suspects: &Suspects, cut_offs: u32) -> Option<Option<OwnedSemaphorePermit>> {
        suspects.enter(cut_offs).now_or_never()
    }

    #[test]
    fn the_more_often_attempts_were_cut_off_the_fewer_run_at_a_time() {
        let suspects = Suspects::default();
        assert!(enters(&suspects, 0).expect("no wait").is_none());
        let first: Vec<_> = (0..PLACES_AFTER_ONE).map(|_| enters(&suspects, 1)).collect();
        assert!(first.iter().all(Option::is_some));
        assert!(enters(&suspects, 1).is_none());
        let alone = enters(&suspects, 2);
        assert!(alone.is_some() && enters(&suspects, 3).is_none());
        drop(alone);
        assert!(enters(&suspects, 3).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_never_end_keep_no_other_from_starting() {
        let suspects = Suspects::default();
        let shutdown = CancellationToken::new();
        let admitting = tokio::spawn(suspects.clone().admit_more(shutdown));
        let mut running = Vec::new();
        for _ in 0..1_000 {
            running.push((suspects.enter(1).await, suspects.enter(2).await));
        }
        assert!(running.iter().all(|(one, several)| one.is_some() && several.is_some()));
        admitting.abort();
    }
}
