//! Limits how many attempts run again at a time after an unclean end of the host.
//!
//! One of them may have ended the host. If all started at once, the next unclean end would implicate all of them again;
//! the fewer run, the fewer are implicated. The limit doubles every minute, so attempts that never end do not block the
//! others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Permits in the first minute for attempts that were cut off by one unclean end.
const PLACES_AFTER_ONE: usize = 8;

/// Permits in the first minute for attempts that were cut off by several unclean ends in a row.
const PLACES_AFTER_SEVERAL: usize = 1;

/// The permits double after this time, the default timeout of an attempt.
const DOUBLE_AFTER: Duration = Duration::from_secs(60);

/// How often the permits double. Afterwards there are more of them than a host can run attempts.
const DOUBLINGS: u32 = 20;

/// The permits. Cheap to clone.
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
    /// Waits for a permit for an attempt that `cut_offs` unclean ends in a row cut off. Dropping the permit returns it.
    /// An attempt that was not cut off needs none and gets `None`.
    pub(super) async fn enter(&self, cut_offs: u32) -> Option<OwnedSemaphorePermit> {
        let places = match cut_offs {
            0 => return None,
            1 => &self.after_one,
            _ => &self.after_several,
        };
        let place = Arc::clone(places).acquire_owned().await;
        Some(place.expect("the semaphores are never closed"))
    }

    /// Doubles the permits every minute until shutdown.
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
    fn fewer_attempts_run_at_a_time_the_more_often_they_were_cut_off() {
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
    async fn attempts_that_never_end_do_not_block_others() {
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
