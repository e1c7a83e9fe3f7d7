//! Connections that wait for the next request to the same destination.
//!
//! A connection for each request costs a handshake, and a local port for a minute after its end: at some hundred
//! requests a second to one server, the ports run out.
//!
//! Only attempts that share a [`RequestRoom`], which are those of one tenant, share connections. A connection is no
//! permission: each request is checked against its own rules first, and the address that the connection leads to is
//! checked again for whoever takes it. When a room is gone, its connections are used by nobody any more.
//!
//! What is kept is bounded, for a destination, for a room and for all together; the connection that was used least
//! recently is closed for a newer one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use crate::grants::{Destination, RequestRoom};

use super::{Reach, connection::HttpConnection};
use crate::metrics::Counter;

/// How long a connection is kept without a request. Less than what common servers and balancers keep (nginx: 75 s,
/// balancers: 60 s), so that they seldom close one that we are about to use.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// How long a connection may have been idle for a request that cannot be repeated. Some servers close after as little as
/// two seconds (gunicorn), five are common (Node.js, Apache).
pub(super) const MAX_IDLE_TIME_UNREPEATABLE: Duration = Duration::from_secs(1);

/// Most idle connections of a room to one destination.
const MAX_IDLE_OF_DESTINATION: usize = 32;

/// Most idle connections of a room.
const MAX_IDLE_OF_ROOM: usize = 64;

/// Most idle connections of all rooms together.
///
/// Each may hold what was read ahead and written of its last messages, 64 KiB either way, and as much again for TLS, so
/// that all hold 64 MiB at most; 10 KiB each are usual.
const MAX_IDLE: usize = 256;

/// Idle connections. Closed when this is dropped.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<IdleConnections>,
    opened: Counter,
    reused: Counter,
}

#[derive(Default)]
struct IdleConnections {
    /// From the least to the most recently used.
    connections: VecDeque<Idle>,
    /// Closes them when their time is up; there as long as there are connections.
    reaper: Option<AbortOnDropJoinHandle<()>>,
}

struct Idle {
    room: Weak<RequestRoom>,
    connection: HttpConnection,
    since: Instant,
}

/// What was done with the connections of outgoing requests since the host started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections that were opened.
    pub opened: u64,
    /// Requests that went over a connection of an earlier one.
    pub reused: u64,
    /// Connections that are idle now.
    pub idle: u64,
}

impl Pool {
    /// What has been counted by now.
    pub(super) fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            opened: self.opened.get(),
            reused: self.reused.get(),
            idle: self.idle().connections.len() as u64,
        }
    }

    /// Counts a new connection.
    pub(super) fn count_opened(&self) {
        self.opened.increment();
    }

    /// A connection to the destination that has been idle no longer than that, and is open as far as we can know.
    pub(super) async fn take(
        &self,
        reach: &Reach,
        destination: &Destination,
        max_idle_time: Duration,
    ) -> Option<HttpConnection> {
        // Each round takes one away, of a bounded number.
        loop {
            let mut connection = self.pop(reach.room(), destination, max_idle_time)?;
            let is_allowed = reach.check_address(destination, connection.address()).is_ok();
            if is_allowed && connection.is_ready().await {
                self.reused.increment();
                return Some(connection);
            }
        }
    }

    /// The one that was used last: it is the least likely to be closed, and the others come to their end.
    fn pop(
        &self,
        room: &Arc<RequestRoom>,
        destination: &Destination,
        max_idle_time: Duration,
    ) -> Option<HttpConnection> {
        let mut idle = self.idle();
        let at = idle
            .connections
            .iter()
            .rposition(|idle| idle.is_of(room) && idle.connection.destination() == destination)?;
        if idle.connections[at].since.elapsed() > max_idle_time {
            return None;
        }
        idle.connections.remove(at).map(|idle| idle.connection)
    }

    /// Keeps a connection whose last response was read whole.
    pub(super) fn put(self: &Arc<Self>, room: &Arc<RequestRoom>, connection: HttpConnection) {
        connection.count_for(None);
        if connection.is_over() {
            return;
        }
        let mut idle = self.idle();
        let surplus = idle.make_room(room, connection.destination());
        idle.connections.push_back(Idle {
            room: Arc::downgrade(room),
            connection,
            since: Instant::now(),
        });
        let is_reaped = idle.reaper.as_ref().is_some_and(|reaper| !reaper.is_finished());
        if !is_reaped {
            idle.reaper = Some(spawn(reap(Arc::downgrade(self))));
        }
        // Others do not wait until it is closed.
        drop(idle);
        drop(surplus);
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes those whose time is up. Says when the next one's is; none if there is none.
    fn close_expired(&self) -> Option<Instant> {
        let mut idle = self.idle();
        let all = std::mem::take(&mut idle.connections).into_iter();
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = all.partition(Idle::is_expired);
        idle.connections = kept;
        let next = idle.connections.front().map(|idle| idle.since + MAX_IDLE_TIME);
        if next.is_none() {
            // In the same breath as the look, so that whoever adds one starts a new reaper.
            idle.reaper = None;
        }
        drop(idle);
        drop(gone);
        next
    }
}

impl IdleConnections {
    /// Takes one away if there are as many as there may be: of the destination, of the room, or of all.
    fn make_room(&mut self, room: &Arc<RequestRoom>, destination: &Destination) -> Option<Idle> {
        let of_room = |idle: &Idle| idle.is_of(room);
        let of_destination = |idle: &Idle| of_room(idle) && idle.connection.destination() == destination;
        let oldest = self
            .oldest_beyond(MAX_IDLE_OF_DESTINATION, of_destination)
            .or_else(|| self.oldest_beyond(MAX_IDLE_OF_ROOM, of_room))
            .or_else(|| self.oldest_beyond(MAX_IDLE, |_| true))?;
        self.connections.remove(oldest)
    }

    /// Where the least recently used of these is, if there are so many.
    fn oldest_beyond(&self, limit: usize, is_one: impl Fn(&Idle) -> bool) -> Option<usize> {
        let count = self.connections.iter().filter(|idle| is_one(idle)).count();
        (count >= limit)
            .then(|| self.connections.iter().position(is_one))
            .flatten()
    }
}

impl Idle {
    fn is_of(&self, room: &Arc<RequestRoom>) -> bool {
        std::ptr::eq(self.room.as_ptr(), Arc::as_ptr(room))
    }

    fn is_expired(&self) -> bool {
        self.since.elapsed() >= MAX_IDLE_TIME || self.connection.is_over() || self.room.strong_count() == 0
    }
}

/// Closes idle connections when their time is up, until there are none.
async fn reap(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.close_expired()) {
        sleep_until(next).await;
    }
}
