//! Readers for the queries of clients: lists, statuses, histories, logs, usage.
//!
//! They are separate from the engine's readers, so that no list delays a timer or the loading of an instance. They also
//! have limits that the engine's readers do not need: a query that takes too long is interrupted inside SQLite, a
//! tenant can occupy all readers except one, and only a limited number of its queries can wait. An answer that takes
//! several statements reads in one transaction, so that it shows one point in time.

mod queries;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    model::TenantId,
    priority::{self, Background},
    store::Error,
};

/// The maximum number of queries of one asker that run or wait. Further ones are refused at once.
pub(super) const MAX_ASKING: usize = 64;

/// How long a query waits for a reader before it is refused.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The number of instructions of SQLite's virtual machine between two checks of the clock: well below a millisecond.
const INSTRUCTIONS: i32 = 1_000;

/// No time limit, for [`Lane::until`].
const NEVER: u64 = u64::MAX;

/// Who asks: a tenant, or the host's administrator.
pub(super) type Asker = Option<TenantId>;

/// The readers for the queries of clients. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::store) struct People(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: SqliteConnectOptions,
    /// The number of seats.
    readers: u32,
    seats: Arc<Semaphore>,
    /// The right to read a large turn for a status.
    large_turns: Semaphore,
    /// How many seats one asker can occupy.
    share: usize,
    /// How long one answer may take once it has a reader.
    query_time: Duration,
    shares: Mutex<HashMap<Asker, Weak<Share>>>,
    idle: Mutex<Vec<Lane>>,
    /// The point in time that [`Lane::until`] counts from.
    epoch: Instant,
}

#[cfg(test)]
impl People {
    /// How many readers are free. None is while a pause waits for the others.
    pub(super) fn free(&self) -> usize {
        self.0.seats.available_permits()
    }

    /// The right to read a large turn.
    pub(super) fn large_turns(&self) -> &Semaphore {
        &self.0.large_turns
    }
}

/// The concurrent queries of one asker.
#[derive(Debug)]
struct Share {
    turns: Arc<Semaphore>,
    asking: AtomicUsize,
}

/// Counts a query for as long as it runs or waits.
#[derive(Debug)]
struct Asking(Arc<Share>);

impl Asking {
    fn new(share: Arc<Share>) -> Result<Self, Error> {
        let asking = Self(share);
        if asking.0.asking.fetch_add(1, Relaxed) >= MAX_ASKING {
            return Err(Error::TooManyQueries);
        }
        Ok(asking)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Relaxed);
    }
}

/// A connection that interrupts its statements when their time is up.
#[derive(Debug)]
struct Lane {
    connection: SqliteConnection,
    /// When statements are interrupted, in milliseconds since the epoch.
    until: Arc<AtomicU64>,
}

impl Lane {
    async fn open(settings: &SqliteConnectOptions, epoch: Instant) -> Result<Self, sqlx::Error> {
        let mut connection = settings.connect().await?;
        let until = Arc::new(AtomicU64::new(NEVER));
        let limit = Arc::clone(&until);
        let mut has_priority = true;
        connection
            .lock_handle()
            .await?
            .set_progress_handler(INSTRUCTIONS, move || {
                // SQLite calls this on the thread of the connection.
                if std::mem::take(&mut has_priority) {
                    priority::lower(Background::Queries);
                }
                millis_since(epoch) < limit.load(Relaxed)
            });
        Ok(Self { connection, until })
    }
}

fn millis_since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(NEVER)
}

impl People {
    /// Creates the readers, which connect when they are needed.
    pub(super) fn new(settings: SqliteConnectOptions, readers: u32, query_time: Duration) -> Self {
        let readers = readers.max(1);
        let seats = readers as usize;
        Self(Arc::new(Inner {
            settings,
            readers,
            seats: Arc::new(Semaphore::new(seats)),
            large_turns: Semaphore::new(1),
            share: (seats - 1).max(1),
            query_time,
            shares: Mutex::default(),
            idle: Mutex::default(),
            epoch: Instant::now(),
        }))
    }

    /// Waits for a reader for one answer. Everything that it reads is of the time of its first statement.
    pub(super) async fn read(&self, asker: Asker) -> Result<Reader, Error> {
        let asking = Asking::new(self.share(asker))?;
        let waiting = async {
            // The asker's own semaphore comes first, so that an asker never has more than its share in the common
            // queue.
            let turn = Arc::clone(&asking.0.turns).acquire_owned().await;
            let seat = Arc::clone(&self.0.seats).acquire_owned().await;
            Ok::<_, Error>((turn.map_err(|_| Error::Closed)?, seat.map_err(|_| Error::Closed)?))
        };
        let (turn, seat) = timeout(MAX_WAIT, waiting).await.map_err(|_| Error::TooManyQueries)??;
        let idle = lock(&self.0.idle).pop();
        let lane = match idle {
            Some(lane) => lane,
            None => Lane::open(&self.0.settings, self.0.epoch).await?,
        };
        let query_time = u64::try_from(self.0.query_time.as_millis()).unwrap_or(NEVER);
        lane.until
            .store(millis_since(self.0.epoch).saturating_add(query_time), Relaxed);
        let mut reader = Reader {
            lane: Some(lane),
            people: self.clone(),
            _place: (turn, seat, asking),
        };
        sqlx::query("BEGIN").execute(reader.connection()).await?;
        Ok(reader)
    }

    /// Waits until no query runs. Further ones wait until the permit is dropped. Returns `None` if queries still run
    /// after the time that an answer may take.
    pub(super) async fn pause(&self) -> Option<SemaphorePermit<'_>> {
        let all = self.0.seats.acquire_many(self.0.readers);
        timeout(self.0.query_time, all).await.ok()?.ok()
    }

    fn share(&self, asker: Asker) -> Arc<Share> {
        let mut shares = lock(&self.0.shares);
        if let Some(share) = shares.get(&asker).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Share {
            turns: Arc::new(Semaphore::new(self.0.share)),
            asking: AtomicUsize::new(0),
        });
        shares.insert(asker, Arc::downgrade(&share));
        share
    }

    /// Refuses further queries and closes the idle connections; the others close when their answers are complete.
    pub(super) async fn close(&self) {
        self.0.seats.close();
        let idle = std::mem::take(&mut *lock(&self.0.idle));
        for lane in idle {
            // An error does not matter: the connection wrote nothing.
            let _ = lane.connection.close().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A reader for one answer. Dropping it interrupts its statement.
#[derive(Debug)]
pub(super) struct Reader {
    /// None once the answer is complete.
    lane: Option<Lane>,
    people: People,
    _place: (OwnedSemaphorePermit, OwnedSemaphorePermit, Asking),
}

impl Reader {
    /// The connection to run statements on.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.lane.as_mut().expect("the answer is not complete yet").connection
    }

    /// Ends the transaction and keeps the connection for the next answer; if reading failed, closes it.
    pub(super) async fn finish<T>(mut self, answer: Result<T, Error>) -> Result<T, Error> {
        let answer = answer?;
        sqlx::query("COMMIT").execute(self.connection()).await?;
        let lane = self.lane.take().filter(|_| !self.people.0.seats.is_closed());
        if let Some(lane) = lane {
            lane.until.store(NEVER, Relaxed);
            lock(&self.people.0.idle).push(lane);
        }
        Ok(answer)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            // A statement may still run in the connection's thread. This interrupts it; the connection is not used
            // again.
            lane.until.store(0, Relaxed);
        }
    }
}
