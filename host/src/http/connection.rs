//! The connections of clients: what each is doing, how long it may do nothing, and which one has to go when there is no
//! room for a new one.
//!
//! Only requests count against `--max-connections` ([`admission`](super::admission) gives out these places). Connections
//! beyond it, up to a reserve, wait for a request to be read, for a place, or for nothing at all. When the reserve is used
//! up as well, the host closes the least busy connection to accept a new one.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::socket::Socket;

/// The time in which the head of a request must arrive: of the first one from the moment the connection is there, of
/// further ones from their first byte.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(30);

/// The time in which a connection that must go is gone, unless what was written to it is still being sent.
const CLOSE_TIME: Duration = Duration::from_millis(100);

/// Connections beyond those with a request under way: a quarter as many, and neither fewer nor more than this. Each takes
/// a file descriptor and about 10 KiB.
const RESERVE: (usize, usize) = (16, 256);

/// One connection, as the tasks that deal with it share it.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Option<Socket>,
    peer: IpAddr,
    /// Whether the client does not take what is written.
    stalled: AtomicBool,
    phase: Mutex<Phase>,
    /// Cancelled when the connection must go.
    close: CancellationToken,
    /// Told when a request that waits for its place gets none.
    refused: Notify,
    /// Told when the connection may have become one that can go.
    changed: Arc<Notify>,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request is under way.
    Silent {
        since: Instant,
        /// Whether there was a request before.
        asked: bool,
        /// When the first byte of the next head came.
        head: Option<Instant>,
    },
    /// A request waits for its place.
    Queued { since: Instant },
    /// A request is under way, with a place or without.
    Busy { seated: bool },
    /// It goes.
    Closing {
        /// Whether there was a request before.
        asked: bool,
    },
}

impl Connection {
    pub(super) fn new(socket: Option<Socket>, changed: Arc<Notify>) -> Self {
        let peer = socket.as_ref().and_then(|socket| socket.peer().ok());
        Self {
            peer: peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical()),
            socket,
            stalled: AtomicBool::new(false),
            phase: Mutex::new(Phase::Silent {
                since: Instant::now(),
                asked: false,
                head: None,
            }),
            close: CancellationToken::new(),
            refused: Notify::new(),
            changed,
        }
    }

    /// The address of the client, or of the last proxy before us.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Its socket; none in tests without one.
    pub(super) fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }

    /// Returns when the connection is broken.
    pub(super) async fn broken(&self) {
        match &self.socket {
            Some(socket) => socket.broken().await,
            None => std::future::pending().await,
        }
    }

    /// Whether the client has said that it sends nothing more, and so may be gone.
    pub(super) fn is_half_closed(&self) -> bool {
        self.socket.as_ref().is_some_and(Socket::is_half_closed)
    }

    /// Whether a request is under way that has a place of its own.
    pub(super) fn is_seated(&self) -> bool {
        matches!(*self.phase(), Phase::Busy { seated: true })
    }

    /// The whole head of a request is there and waits for its place. False if the connection is about to be closed: then
    /// nothing must be done for the request.
    pub(super) fn queue(&self) -> bool {
        self.advance(Phase::Queued { since: Instant::now() })
    }

    /// A request is under way from now on. False if the connection is about to be closed.
    pub(super) fn begin(&self, seated: bool) -> bool {
        self.advance(Phase::Busy { seated })
    }

    fn advance(&self, next: Phase) -> bool {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Closing { .. }) {
            return false;
        }
        *phase = next;
        true
    }

    /// The request is answered; the connection waits for the next one.
    pub(super) fn finish(&self) {
        self.advance(Phase::Silent {
            since: Instant::now(),
            asked: true,
            head: None,
        });
        self.changed.notify_one();
    }

    /// TLS has begun: the time for the head of the first request starts over.
    pub(super) fn secured(&self) {
        self.advance(Phase::Silent {
            since: Instant::now(),
            asked: false,
            head: None,
        });
    }

    /// Bytes came from the client.
    pub(super) fn received(&self) {
        if let Phase::Silent { head: head @ None, .. } = &mut *self.phase() {
            *head = Some(Instant::now());
        }
    }

    /// Whether the client takes what is written. What it takes late is no silence.
    pub(super) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
        if let Phase::Silent { since, asked: true, .. } = &mut *self.phase() {
            *since = Instant::now();
        }
    }

    /// Returns when the connection must go because its room is needed. Says whether anything was asked on it, so that an
    /// answer may still be on its way.
    pub(super) async fn must_close(&self) -> bool {
        self.close.cancelled().await;
        matches!(*self.phase(), Phase::Closing { asked: true })
    }

    /// Returns when the request that waits for its place gets none.
    pub(super) async fn refused(&self) {
        loop {
            self.refused.notified().await;
            // Not if that was meant for a request before, which got its place at the same time.
            if !matches!(*self.phase(), Phase::Queued { .. }) {
                return;
            }
        }
    }

    /// Returns when the client has been silent for too long.
    pub(super) async fn silence(&self, idle_timeout: Duration) {
        // A new deadline is at least this far away when it is set, so looking this often misses none, and a request need
        // not wake anybody.
        let shortest = HEAD_TIME.min(idle_timeout);
        loop {
            let now = Instant::now();
            let deadline = self.deadline(idle_timeout);
            if deadline.is_some_and(|deadline| deadline <= now) {
                return;
            }
            let look_again = now + shortest;
            sleep_until(deadline.map_or(look_again, |deadline| deadline.min(look_again))).await;
        }
    }

    fn deadline(&self, idle_timeout: Duration) -> Option<Instant> {
        let Phase::Silent { since, asked, head } = *self.phase() else {
            return None;
        };
        if self.stalled.load(Ordering::Relaxed) {
            // The time for writing has a bound of its own.
            return None;
        }
        Some(match (asked, head) {
            (false, _) => since + HEAD_TIME,
            (true, Some(head)) => head + HEAD_TIME,
            (true, None) => since + idle_timeout,
        })
    }

    /// How readily it is given up, the smallest first; none if it must stay.
    fn worth(&self) -> Option<(Worth, Instant)> {
        let stalled = self.stalled.load(Ordering::Relaxed);
        match *self.phase() {
            Phase::Silent {
                since, asked: false, ..
            } => Some((Worth::NeverAsked, since)),
            Phase::Silent { since, .. } if !stalled => Some((Worth::Idle, since)),
            Phase::Queued { since } => Some((Worth::Queued, since)),
            Phase::Silent { since, .. } => Some((Worth::TakesNothing, since)),
            Phase::Busy { .. } | Phase::Closing { .. } => None,
        }
    }

    /// Lets the connection go, if it still does as little as that.
    fn give_up(&self, worth: Worth) -> bool {
        let mut phase = self.phase();
        match (*phase, worth) {
            (Phase::Queued { .. }, Worth::Queued) => {
                *phase = Phase::Busy { seated: false };
                self.refused.notify_one();
            }
            (Phase::Silent { asked, .. }, Worth::NeverAsked | Worth::Idle | Worth::TakesNothing) => {
                *phase = Phase::Closing { asked };
                self.close.cancel();
            }
            _ => return false,
        }
        true
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a connection that can go does, from the one that goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Nothing was ever asked on it.
    NeverAsked,
    /// It is kept for another request.
    Idle,
    /// Its request waits for a place; it is refused if none becomes free in time.
    Queued,
    /// Its answer is not taken.
    TakesNothing,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    capacity: usize,
    all: Mutex<Table>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    entries: BTreeMap<u64, Arc<Connection>>,
}

/// A connection as long as it is there.
#[derive(Debug)]
pub(super) struct Entry {
    number: u64,
    pub(super) connection: Arc<Connection>,
    all: Arc<Connections>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.table().entries.remove(&self.number);
        self.all.changed.notify_one();
    }
}

impl Connections {
    /// Room for connections with that many requests under way.
    pub(super) fn new(max_requests: usize) -> Self {
        let reserve = (max_requests / 4).clamp(RESERVE.0, RESERVE.1);
        Self {
            capacity: max_requests.saturating_add(reserve),
            all: Mutex::default(),
            changed: Arc::default(),
        }
    }

    /// Takes a connection in as soon as there is room. Others have to go for it, unless each has a request under way.
    pub(super) async fn enter(self: &Arc<Self>, socket: Socket) -> Entry {
        let connection = Arc::new(Connection::new(Some(socket), self.changed.clone()));
        let mut given_up: Option<Instant> = None;
        while !self.has_room() {
            // One at a time: it takes a moment until its room is free.
            if given_up.is_none_or(|at| at.elapsed() >= CLOSE_TIME) && self.make_room() {
                given_up = Some(Instant::now());
            }
            let _ = timeout(CLOSE_TIME, self.changed.notified()).await;
        }
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.entries.insert(number, connection.clone());
        drop(table);
        Entry {
            number,
            connection,
            all: self.clone(),
        }
    }

    fn has_room(&self) -> bool {
        self.table().entries.len() < self.capacity
    }

    /// Lets the connection go that does the least, for the longest time. False if each has a request under way.
    fn make_room(&self) -> bool {
        let table = self.table();
        loop {
            let least = table
                .entries
                .values()
                .filter_map(|connection| Some((connection.worth()?, connection)))
                .min_by_key(|(worth, _)| *worth);
            match least {
                None => return false,
                Some(((worth, _), connection)) if connection.give_up(worth) => return true,
                // A request has begun on it just now.
                Some(_) => {}
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::advance;

    use super::*;

    const IDLE: Duration = Duration::from_secs(75);

    fn connection() -> Connection {
        Connection::new(None, Arc::default())
    }

    /// How long it takes until the silence of a connection is too long.
    async fn silence_of(connection: &Connection) -> Duration {
        let begun = Instant::now();
        connection.silence(IDLE).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_has_thirty_seconds_whatever_arrives_of_it() {
        let connection = connection();
        advance(Duration::from_secs(10)).await;
        connection.received();
        assert_eq!(silence_of(&connection).await.as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_for_the_idle_time_and_a_begun_head_has_thirty_seconds() {
        let connection = connection();
        connection.begin(true);
        connection.finish();
        assert_eq!(silence_of(&connection).await.as_secs(), IDLE.as_secs());

        connection.begin(true);
        connection.finish();
        let silence = silence_of(&connection);
        tokio::pin!(silence);
        assert!(silence.as_mut().now_or_never().is_none());
        advance(Duration::from_secs(70)).await;
        connection.received();
        // Further bytes give no further time.
        advance(Duration::from_secs(10)).await;
        connection.received();
        assert_eq!(silence.await.as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_is_no_silence() {
        let connection = connection();
        connection.begin(true);
        let silence = silence_of(&connection);
        tokio::pin!(silence);
        for _ in 0..100 {
            assert!(silence.as_mut().now_or_never().is_none());
            advance(Duration::from_secs(10)).await;
        }
        connection.finish();
        assert_eq!(silence.await.as_secs(), 1_000 + IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_slowly_is_no_silence() {
        let connection = connection();
        connection.begin(true);
        connection.finish();
        let silence = silence_of(&connection);
        tokio::pin!(silence);
        for _ in 0..100 {
            connection.set_stalled(true);
            assert!(silence.as_mut().now_or_never().is_none());
            advance(Duration::from_secs(20)).await;
            assert!(silence.as_mut().now_or_never().is_none());
            connection.set_stalled(false);
        }
        assert_eq!(silence.await.as_secs(), 2_000 + IDLE.as_secs());
    }

    fn table(connections: usize) -> (Connections, Vec<Arc<Connection>>) {
        let all = Connections::new(1);
        let made: Vec<_> = (0..connections).map(|_| Arc::new(connection())).collect();
        let entries = (0..).zip(made.iter().cloned()).collect();
        all.table().entries = entries;
        (all, made)
    }

    /// The first of them that was told to go.
    fn gone(connections: &[Arc<Connection>]) -> Vec<usize> {
        let gone = connections.iter().enumerate().filter(|(_, connection)| {
            connection.must_close().now_or_never().is_some() || connection.refused().now_or_never().is_some()
        });
        gone.map(|(index, _)| index).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_the_least_goes_first_and_who_is_served_stays() {
        let (all, connections) = table(7);
        let [served, waits, stalled, idle, idle_longer, ..] = &connections[..] else {
            panic!("seven")
        };
        for connection in [served, waits, stalled, idle_longer] {
            assert!(connection.begin(true));
        }
        idle_longer.finish();
        advance(Duration::from_secs(1)).await;
        idle.begin(true);
        idle.finish();
        stalled.finish();
        stalled.set_stalled(true);
        assert!(waits.queue());
        // Both came at the same time; the order of the table decides.
        for expected in [5, 6, 4, 3, 1, 2] {
            let before = gone(&connections);
            assert!(all.make_room());
            let now = gone(&connections);
            // The word to a request that waits is heard once.
            let new: Vec<_> = now.into_iter().filter(|index| !before.contains(index)).collect();
            assert_eq!(new, [expected]);
        }
        assert!(!all.make_room(), "a request under way stays");
        assert!(served.begin(true));
        assert!(!idle.begin(true), "what must go takes no request");
    }
}
