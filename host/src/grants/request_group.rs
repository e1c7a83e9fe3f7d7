//! Limits that the outgoing requests of several attempts share.
//!
//! The caller decides which attempts share a group. A group outlives its attempts, and its limit may change at any time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Maximum concurrent name lookups of a group: a quarter of the limit of the host, so that a group whose name servers never
/// answer does not block all others.
pub(crate) const MAX_LOOKUPS: usize = 16;

/// Maximum concurrent attempts of a group to connect, in addition to the first one of each request. This and the limit of
/// open requests bound the sockets.
const MAX_FURTHER_ATTEMPTS: usize = 64;

/// The limits for the outgoing requests of all attempts that share it.
#[derive(Debug)]
pub struct RequestGroup {
    /// The name of its limit, for messages.
    name: &'static str,
    limit: AtomicUsize,
    open: AtomicUsize,
    lookups: Arc<Semaphore>,
    further_attempts: Semaphore,
}

/// The maximum number of requests is open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is reached: {limit}")]
pub(crate) struct RequestLimitReached {
    name: &'static str,
    limit: usize,
}

/// Counts as one open request until it is dropped.
#[derive(Debug)]
pub(crate) struct RequestPermit(Arc<RequestGroup>);

/// Counts as one name lookup until it is dropped.
#[derive(Debug)]
pub(crate) struct LookupPermit {
    _permit: OwnedSemaphorePermit,
}

impl RequestGroup {
    /// Creates a group without a limit on requests. `name` is the name of the limit, for the logs of refused attempts.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            limit: AtomicUsize::new(usize::MAX),
            open: AtomicUsize::new(0),
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            further_attempts: Semaphore::new(MAX_FURTHER_ATTEMPTS),
        }
    }

    /// Sets the maximum number of open requests; `None` for no limit. Requests that are open already stay open.
    pub fn set_limit(&self, limit: Option<usize>) {
        self.limit.store(limit.unwrap_or(usize::MAX), Relaxed);
    }

    /// The number of open requests.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Takes a place for one more request.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<RequestPermit, RequestLimitReached> {
        let limit = self.limit.load(Relaxed);
        let one_more = |open: usize| (open < limit).then_some(open + 1);
        match self.open.fetch_update(Relaxed, Relaxed, one_more) {
            Ok(_) => Ok(RequestPermit(self.clone())),
            Err(_) => Err(RequestLimitReached { name: self.name, limit }),
        }
    }

    /// Waits for a place for a concurrent attempt to connect, in addition to the first one of the same request.
    pub(crate) async fn further_attempt(&self) -> SemaphorePermit<'_> {
        let permit = self.further_attempts.acquire().await;
        permit.expect("the semaphore is never closed")
    }

    /// Waits for a place for one more lookup.
    pub(crate) async fn look_up(&self) -> LookupPermit {
        let permit = self.lookups.clone().acquire_owned().await;
        LookupPermit {
            _permit: permit.expect("the semaphore is never closed"),
        }
    }
}

impl Default for RequestGroup {
    /// A group of a single attempt, which has its own limit.
    fn default() -> Self {
        Self::new("the limit of requests")
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
