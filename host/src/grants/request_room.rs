//! What the outgoing requests of several attempts may take together.
//!
//! Whoever starts attempts decides which of them share a room; here it is only kept. It outlives them, and its limit may
//! change meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Most names that are looked up at the same time for those who share a room: a quarter of what the whole host looks up,
/// so that those who wait for servers that never answer leave something to others.
pub(crate) const MAX_LOOKUPS: usize = 16;

/// Most attempts to connect that may go on beside the first one of each request, for those who share a room. Sockets are
/// bounded by the limit of open requests and this.
const MAX_ATTEMPTS_BESIDE: usize = 64;

/// Room for the outgoing requests of all attempts that share it.
#[derive(Debug)]
pub struct RequestRoom {
    /// What people call its limit.
    name: &'static str,
    limit: AtomicUsize,
    open: AtomicUsize,
    lookups: Arc<Semaphore>,
    attempts_beside: Semaphore,
}

/// As many requests are open as may be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is reached: {limit}")]
pub(crate) struct RoomIsFull {
    name: &'static str,
    limit: usize,
}

/// The place of one open request, until it is dropped.
#[derive(Debug)]
pub(crate) struct RequestPlace(Arc<RequestRoom>);

/// The place of one lookup of a name, until it is dropped.
#[derive(Debug)]
pub(crate) struct LookupPlace {
    _permit: OwnedSemaphorePermit,
}

impl RequestRoom {
    /// Room for any number of requests. The name is that of the limit, for the logs of those whom it refuses.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            limit: AtomicUsize::new(usize::MAX),
            open: AtomicUsize::new(0),
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            attempts_beside: Semaphore::new(MAX_ATTEMPTS_BESIDE),
        }
    }

    /// Sets how many requests may be open at the same time, from now on; what is open stays.
    pub fn set_limit(&self, limit: Option<usize>) {
        self.limit.store(limit.unwrap_or(usize::MAX), Relaxed);
    }

    /// How many requests are open.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// A place for one more request.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<RequestPlace, RoomIsFull> {
        let limit = self.limit.load(Relaxed);
        let one_more = |open: usize| (open < limit).then_some(open + 1);
        match self.open.fetch_update(Relaxed, Relaxed, one_more) {
            Ok(_) => Ok(RequestPlace(self.clone())),
            Err(_) => Err(RoomIsFull { name: self.name, limit }),
        }
    }

    /// A place for an attempt to connect beside another one of the same request, as soon as there is one.
    pub(crate) async fn attempt_beside(&self) -> SemaphorePermit<'_> {
        let permit = self.attempts_beside.acquire().await;
        permit.expect("the semaphore is never closed")
    }

    /// A place for one more lookup, as soon as there is one.
    pub(crate) async fn look_up(&self) -> LookupPlace {
        let permit = self.lookups.clone().acquire_owned().await;
        LookupPlace {
            _permit: permit.expect("the semaphore is never closed"),
        }
    }
}

impl Default for RequestRoom {
    /// For attempts that share it with nobody, and so need no limit beyond their own.
    fn default() -> Self {
        Self::new("the limit of requests")
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
