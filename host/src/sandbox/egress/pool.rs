//! Idle connections, kept for the next request to the same destination.
//!
//! A new connection for each request would cost a handshake, and occupy a local port for a minute after its end: with some
//! hundred requests per second to one server, the ports run out.
//!
//! Only attempts that share a [`RequestGroup`], which are those of one tenant, share connections. An open connection does
//! not grant access: each request is first checked against its own rules, and the address of the connection is checked
//! again for each request. When a group is dropped, its connections are not used any more.
//!
//! The number of idle connections is limited per destination, per group and in total. At a limit, the least recently used
//! connection is closed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use crate::grants::{Destination, RequestGroup};

use super::{Reach, connection::HttpConnection};
use crate::metrics::Counter;

/// How long a connection may be idle. Less than the timeouts of common servers and load balancers (nginx: 75 s, load
/// balancers: 60 s), so that they rarely close a connection that we are about to use.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// How long a connection may have been idle for a request that cannot be repeated. Some servers close idle connections
/// after only two seconds (gunicorn); five are common (Node.js, Apache).
pub(super) const MAX_IDLE_TIME_UNREPEATABLE: Duration = Duration::from_secs(1);

/// Maximum idle connections of a group to one destination.
const MAX_IDLE_OF_DESTINATION: usize = 32;

/// Maximum idle connections of a group.
const MAX_IDLE_OF_GROUP: usize = 64;

/// Maximum idle connections of all groups together.
///
/// Each may have buffers of 64 KiB for reading and for writing, and as much again for TLS, so all of them use at most
/// 64 MiB. Usually they use 10 KiB each.
const MAX_IDLE: usize = 256;

/// The pool of idle connections. Dropping it closes them.
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
    /// The task that closes expired connections. It runs as long as there are connections.
    reaper: Option<AbortOnDropJoinHandle<()>>,
}

struct Idle {
    group: Weak<RequestGroup>,
    connection: HttpConnection,
    since: Instant,
}

/// Counters of the connections of outgoing requests since the host started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections that were opened.
    pub opened: u64,
    /// Requests that used an existing connection.
    pub reused: u64,
    /// Connections that are idle now.
    pub idle: u64,
}

impl Pool {
    /// The current counters.
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

    /// Takes a connection to the destination that was idle for at most `max_idle_time` and appears to be open.
    pub(super) async fn take(
        &self,
        reach: &Reach,
        destination: &Destination,
        max_idle_time: Duration,
    ) -> Option<HttpConnection> {
        // Terminates, because each iteration removes a connection.
        loop {
            let mut connection = self.pop(reach.group(), destination, max_idle_time)?;
            let is_allowed = reach.check_address(destination, connection.address()).is_ok();
            if is_allowed && connection.is_ready().await {
                self.reused.increment();
                return Some(connection);
            }
        }
    }

    /// Removes the most recently used connection: it is the least likely to be closed, and the others can expire.
    fn pop(
        &self,
        group: &Arc<RequestGroup>,
        destination: &Destination,
        max_idle_time: Duration,
    ) -> Option<HttpConnection> {
        let mut idle = self.idle();
        let at = idle
            .connections
            .iter()
            .rposition(|idle| idle.is_of(group) && idle.connection.destination() == destination)?;
        if idle.connections[at].since.elapsed() > max_idle_time {
            return None;
        }
        idle.connections.remove(at).map(|idle| idle.connection)
    }

    /// Adds a connection whose last response was read completely.
    pub(super) fn put(self: &Arc<Self>, group: &Arc<RequestGroup>, connection: HttpConnection) {
        connection.count_for(None);
        if connection.is_over() {
            return;
        }
        let mut idle = self.idle();
        let surplus = idle.make_room(group, connection.destination());
        idle.connections.push_back(Idle {
            group: Arc::downgrade(group),
            connection,
            since: Instant::now(),
        });
        let is_reaped = idle.reaper.as_ref().is_some_and(|reaper| !reaper.is_finished());
        if !is_reaped {
            idle.reaper = Some(spawn(reap(Arc::downgrade(self))));
        }
        // Release the lock before the connection is closed.
        drop(idle);
        drop(surplus);
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes expired connections. Returns when the next one expires; `None` if the pool is empty.
    fn close_expired(&self) -> Option<Instant> {
        let mut idle = self.idle();
        let all = std::mem::take(&mut idle.connections).into_iter();
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = all.partition(Idle::is_expired);
        idle.connections = kept;
        let next = idle.connections.front().map(|idle| idle.since + MAX_IDLE_TIME);
        if next.is_none() {
            // While the lock is held, so that the next `put` starts a new reaper.
            idle.reaper = None;
        }
        drop(idle);
        drop(gone);
        next
    }
}

impl IdleConnections {
    /// Removes a connection if a limit is reached: of the destination, of the group, or in total.
    fn make_room(&mut self, group: &Arc<RequestGroup>, destination: &Destination) -> Option<Idle> {
        let of_group = |idle: &Idle| idle.is_of(group);
        let of_destination = |idle: &Idle| of_group(idle) && idle.connection.destination() == destination;
        let oldest = self
            .oldest_beyond(MAX_IDLE_OF_DESTINATION, of_destination)
            .or_else(|| self.oldest_beyond(MAX_IDLE_OF_GROUP, of_group))
            .or_else(|| self.oldest_beyond(MAX_IDLE, |_| true))?;
        self.connections.remove(oldest)
    }

    /// The index of the least recently used of these connections, if there are at least `limit`.
    fn oldest_beyond(&self, limit: usize, is_one: impl Fn(&Idle) -> bool) -> Option<usize> {
        let count = self.connections.iter().filter(|idle| is_one(idle)).count();
        (count >= limit)
            .then(|| self.connections.iter().position(is_one))
            .flatten()
    }
}

impl Idle {
    fn is_of(&self, group: &Arc<RequestGroup>) -> bool {
        std::ptr::eq(self.group.as_ptr(), Arc::as_ptr(group))
    }

    fn is_expired(&self) -> bool {
        self.since.elapsed() >= MAX_IDLE_TIME || self.connection.is_over() || self.group.strong_count() == 0
    }
}

/// Closes idle connections when they expire, until there are none.
async fn reap(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.close_expired()) {
        sleep_until(next).await;
    }
}
