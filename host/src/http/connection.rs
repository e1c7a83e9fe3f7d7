//! The connections of clients: what each one is doing, how long it may be idle, and which one is closed to make room
//! for a new one.
//!
//! Only requests count against `--max-connections` ([`admission`](super::admission) gives out these places). A reserve
//! of further connections may be reading a request, waiting for a place, or idle. When the reserve is used up, the host
//! closes the least useful connection to accept a new one.

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
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{admission::PlaceOptions, proxies::Network, socket::Socket};

/// Time limit for the first byte of a connection, from the moment it is accepted, and again once TLS is established.
pub(super) const FIRST_BYTE_TIME: Duration = Duration::from_secs(5);

/// Time limit for the head of a request: for the first request from the moment the connection is accepted, for later
/// ones from their first byte.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long a closing connection may take, unless data written to it is still being sent.
const CLOSE_TIME: Duration = Duration::from_millis(100);

/// Minimum and maximum number of connections beyond the places for requests; in between, the reserve is a quarter of
/// the places. Each connection takes a file descriptor and about 10 KiB.
const RESERVE: (usize, usize) = (16, 256);

/// The part of the connections without any request that is closed at once, as a divisor: a flood of them must not be
/// slower to close than to open.
const SILENT_AT_ONCE: usize = 16;

/// A connection, shared by the tasks that handle it.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Option<Socket>,
    peer: IpAddr,
    /// Whether the client does not read what is written.
    stalled: AtomicBool,
    phase: Mutex<Phase>,
    /// Cancelled to close the connection.
    close: CancellationToken,
    /// Notified when the queued request is refused.
    refused: Notify,
    /// Notified when the connection may have become one that can be closed.
    changed: Arc<Notify>,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request is in progress.
    Silent {
        since: Instant,
        /// Whether there was an earlier request.
        asked: bool,
        /// When the first byte of the next head arrived.
        head: Option<Instant>,
    },
    /// A request waits for a place.
    Queued { since: Instant },
    /// A request is in progress, with a place or without.
    Busy { seated: bool },
    /// The connection is closing.
    Closing {
        /// Whether there was an earlier request.
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

    /// The address of the client, or of the last proxy in front of the host.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Its socket; `None` in tests that have none.
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

    /// Whether the client has closed its sending half, and so may be gone.
    pub(super) fn is_half_closed(&self) -> bool {
        self.socket.as_ref().is_some_and(Socket::is_half_closed)
    }

    /// Whether the request in progress has a place of its own.
    pub(super) fn is_seated(&self) -> bool {
        matches!(*self.phase(), Phase::Busy { seated: true })
    }

    /// Records that the head of a request is complete and waits for a place. Returns `false` if the connection is
    /// closing: the request must not be handled then.
    pub(super) fn queue(&self) -> bool {
        self.advance(Phase::Queued { since: Instant::now() })
    }

    /// Records that a request is in progress. Returns `false` if the connection is closing.
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

    /// Records that the request has been answered, and the connection waits for the next one.
    pub(super) fn finish(&self) {
        self.advance(Phase::Silent {
            since: Instant::now(),
            asked: true,
            head: None,
        });
        self.changed.notify_one();
    }

    /// Records that TLS has been established: the time limit for the head of the first request starts again.
    pub(super) fn secured(&self) {
        self.advance(Phase::Silent {
            since: Instant::now(),
            asked: false,
            head: None,
        });
    }

    /// Records that bytes arrived from the client.
    pub(super) fn received(&self) {
        if let Phase::Silent { head: head @ None, .. } = &mut *self.phase() {
            *head = Some(Instant::now());
        }
    }

    /// Records whether the client has stopped reading what is written. Reading late does not count as idle.
    pub(super) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
        if let Phase::Silent { since, asked: true, .. } = &mut *self.phase() {
            *since = Instant::now();
        }
    }

    /// Returns when the connection must close to make room. Returns whether there ever was a request on it, whose
    /// response may still be in flight.
    pub(super) async fn must_close(&self) -> bool {
        self.close.cancelled().await;
        matches!(*self.phase(), Phase::Closing { asked: true })
    }

    /// Returns when the queued request is refused.
    pub(super) async fn refused(&self) {
        loop {
            self.refused.notified().await;
            // The notification may have been for an earlier request, which got its place at the same time.
            if !matches!(*self.phase(), Phase::Queued { .. }) {
                return;
            }
        }
    }

    /// Returns when the client has been idle for too long.
    pub(super) async fn silence(&self, idle_timeout: Duration) {
        // A new deadline is at least this far away when it is set. Polling at this interval therefore misses none, and
        // requests need not wake this task.
        let shortest = FIRST_BYTE_TIME.min(idle_timeout);
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
            // Writing has a time limit of its own.
            return None;
        }
        Some(match (asked, head) {
            (false, None) => since + FIRST_BYTE_TIME,
            (false, Some(_)) => since + HEAD_TIME,
            (true, Some(head)) => head + HEAD_TIME,
            (true, None) => since + idle_timeout,
        })
    }

    /// How useful the connection is, and since when; the smallest value is closed first. `None` if it must stay open.
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

    /// Closes the connection, if its usefulness is still `worth`.
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

/// What a connection that can be closed is doing; the first variant is closed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// It never had a request.
    NeverAsked,
    /// It is idle and kept alive for another request.
    Idle,
    /// Its request waits for a place, and is refused if it gets none in time.
    Queued,
    /// The client does not read the response.
    TakesNothing,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    max_requests: usize,
    capacity: usize,
    /// Connections from these addresses are those of many clients.
    trusted_proxies: Vec<Network>,
    all: Mutex<Table>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    entries: BTreeMap<u64, Arc<Connection>>,
}

/// Removes the connection from the table when dropped.
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
    /// Creates a table with room for that many requests in progress, plus the reserve.
    pub(super) fn new(options: &PlaceOptions) -> Self {
        let most = options.max_files / 2;
        let max_requests = options.max_requests.clamp(1, Semaphore::MAX_PERMITS);
        let reserve = (max_requests / 4).clamp(RESERVE.0, RESERVE.1);
        let max_requests = if max_requests.saturating_add(reserve) > most {
            max_requests.min(most / 5 * 4 + most % 5 * 4 / 5).max(1)
        } else {
            max_requests
        };
        Self {
            max_requests,
            capacity: max_requests.saturating_add(reserve).min(most).max(max_requests + 1),
            trusted_proxies: options.trusted_proxies.clone(),
            all: Mutex::default(),
            changed: Arc::default(),
        }
    }

    /// How many requests may be in progress.
    pub(super) fn max_requests(&self) -> usize {
        self.max_requests
    }

    /// Adds a connection as soon as there is room, closing others for it unless each has a request in progress. Returns
    /// `None` if the address of the client has more than its share of connections, each with a request in progress.
    pub(super) async fn enter(self: &Arc<Self>, socket: Socket) -> Option<Entry> {
        let connection = Arc::new(Connection::new(Some(socket), self.changed.clone()));
        if !self.make_room_in_share(connection.peer()) {
            return None;
        }
        // Of a flood of silent connections, several are closed together, and each of them leaves room for one.
        let mut given_up = self.are_silent_ones_closing().then(Instant::now);
        while !self.has_room() {
            // Closes one at a time: it takes a moment until its room is free.
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
        Some(Entry {
            number,
            connection,
            all: self.clone(),
        })
    }

    /// Closes a connection because the process has no more files, and waits until its file is free.
    pub(super) async fn give_back_a_file(&self) {
        self.make_room();
        let _ = timeout(CLOSE_TIME, self.changed.notified()).await;
    }

    /// One client may have at most half of all connections; the next one replaces the least useful of them. Returns
    /// `false` if each of them has a request in progress.
    fn make_room_in_share(&self, client: IpAddr) -> bool {
        let is_shared = client.is_loopback() || self.trusted_proxies.iter().any(|network| network.contains(client));
        let of_client = |connection: &Connection| network_of(connection.peer()) == network_of(client);
        let has_share_left = || {
            let table = self.table();
            let own = table.entries.values().filter(|connection| of_client(connection));
            own.count() < self.capacity.div_ceil(2)
        };
        is_shared || has_share_left() || self.close_least_useful(of_client)
    }

    /// Whether connections without any request are being closed. It takes a moment until they are gone.
    fn are_silent_ones_closing(&self) -> bool {
        let is_closing = |connection: &Arc<Connection>| matches!(*connection.phase(), Phase::Closing { asked: false });
        self.table().entries.values().any(is_closing)
    }

    fn has_room(&self) -> bool {
        self.table().entries.len() < self.capacity
    }

    /// Closes the least useful connection; of several, the one idle for the longest time. In a flood of connections that
    /// have never had a request, closes several of them. Returns `false` if each has a request in progress.
    fn make_room(&self) -> bool {
        self.close_least_useful(|_| true)
    }

    fn close_least_useful(&self, may_close: impl Fn(&Connection) -> bool) -> bool {
        let table = self.table();
        loop {
            let open = table.entries.values().filter(|connection| may_close(connection));
            let mut least: Vec<_> = open
                .filter_map(|connection| Some((connection.worth()?, connection)))
                .collect();
            if least.is_empty() {
                return false;
            }
            least.sort_by_key(|(worth, _)| *worth);
            let silent = least.iter().filter(|((worth, _), _)| *worth == Worth::NeverAsked);
            least.truncate((silent.count() / SILENT_AT_ONCE).max(1));
            let closed = least
                .iter()
                .filter(|((worth, _), connection)| connection.give_up(*worth));
            // A request may have just begun on it.
            if closed.count() > 0 {
                return true;
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network of a client: its address, or for IPv6 the 64 bits that a client usually has to itself.
fn network_of(client: IpAddr) -> u128 {
    match client {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
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

    /// How long it takes until the connection counts as idle for too long.
    async fn silence_of(connection: &Connection) -> Duration {
        let started_at = Instant::now();
        connection.silence(IDLE).await;
        started_at.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_byte_must_arrive_within_five_seconds_and_the_first_head_within_thirty() {
        let connection = connection();
        let silence = silence_of(&connection);
        tokio::pin!(silence);
        assert!(silence.as_mut().now_or_never().is_none());
        advance(Duration::from_secs(4)).await;
        connection.received();
        assert_eq!(silence.await.as_secs(), 30);
        assert_eq!(silence_of(&self::connection()).await.as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_for_the_idle_timeout_and_a_started_head_for_thirty_seconds() {
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
        // Further bytes do not extend the time limit.
        advance(Duration::from_secs(10)).await;
        connection.received();
        assert_eq!(silence.await.as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_progress_does_not_count_as_idle() {
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
    async fn a_response_that_is_read_slowly_does_not_count_as_idle() {
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
        let all = Connections::new(&PlaceOptions {
            max_requests: 1,
            max_files: 1_000,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        });
        let made: Vec<_> = (0..connections).map(|_| Arc::new(connection())).collect();
        let entries = (0..).zip(made.iter().cloned()).collect();
        all.table().entries = entries;
        (all, made)
    }

    /// The indexes of the connections that were told to close.
    fn gone(connections: &[Arc<Connection>]) -> Vec<usize> {
        let gone = connections.iter().enumerate().filter(|(_, connection)| {
            connection.must_close().now_or_never().is_some() || connection.refused().now_or_never().is_some()
        });
        gone.map(|(index, _)| index).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_useful_connection_is_closed_first_and_one_being_served_stays() {
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
        // Both arrived at the same time; the order of the table decides.
        for expected in [5, 6, 4, 3, 1, 2] {
            let before = gone(&connections);
            assert!(all.make_room());
            let now = gone(&connections);
            // A queued request receives its refusal only once.
            let new: Vec<_> = now.into_iter().filter(|index| !before.contains(index)).collect();
            assert_eq!(new, [expected]);
        }
        assert!(!all.make_room(), "a request in progress keeps its connection");
        assert!(served.begin(true));
        assert!(!idle.begin(true), "a closing connection takes no request");
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_silent_connections_the_oldest_are_closed_together() {
        let (all, connections) = table(40);
        assert!(all.make_room());
        assert_eq!(gone(&connections), [0, 1]);
        assert!(all.make_room());
        assert_eq!(gone(&connections), [0, 1, 2, 3]);
    }

    /// A connection from an address.
    fn connection_from(peer: &str) -> Connection {
        Connection {
            peer: peer.parse().unwrap(),
            ..connection()
        }
    }

    #[tokio::test]
    async fn a_client_has_at_most_half_of_the_connections() {
        let (all, _) = table(0);
        let share = all.capacity.div_ceil(2);
        // The second half of an address of IPv6 does not make another client.
        for (number, peer) in [(0, "2001:db8::1"), (100, "192.0.2.1")] {
            for n in 0..share as u64 {
                all.table().entries.insert(number + n, Arc::new(connection_from(peer)));
            }
        }
        let idle = all.table().entries[&3].clone();
        for connection in all.table().entries.values() {
            assert!(connection.begin(true));
        }
        idle.finish();
        let enters = |peer: &str| all.make_room_in_share(peer.parse().unwrap());
        assert!(!enters("192.0.2.1"), "each of its connections has a request");
        assert!(enters("192.0.2.2"));
        assert!(enters("2001:db8::ffff"));
        assert!(idle.must_close().now_or_never().is_some(), "it was replaced");
        assert!(!enters("2001:db8::ffff"));
        for shared in ["127.0.0.1", "10.1.2.3"] {
            let entries = (0..40).map(|n| (n, Arc::new(connection_from(shared))));
            all.table().entries = entries.collect();
            all.table()
                .entries
                .values()
                .for_each(|connection| assert!(connection.begin(true)));
            assert!(enters(shared), "{shared}");
        }
    }
}
