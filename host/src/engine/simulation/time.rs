//! The clock that the simulated host reads: paused tokio time, with jumps.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::model::Timestamp;

/// Where the world begins.
const BEGINNING_MS: u64 = 1_700_000_000_000;

/// A clock that goes on while a runtime runs, and stands still between two.
pub(in crate::engine) struct SimulatedClock(Mutex<State>);

struct State {
    /// How long all runtimes before this one ran.
    past: Duration,
    /// When this one began.
    running: Option<Instant>,
    /// How wrong the clock is.
    offset_ms: i64,
}

impl SimulatedClock {
    pub(in crate::engine) fn new() -> Self {
        Self(Mutex::new(State {
            past: Duration::ZERO,
            running: None,
            offset_ms: 0,
        }))
    }

    /// A runtime begins; to be called on it.
    pub(in crate::engine) fn boot(&self) {
        self.lock().running = Some(Instant::now());
    }

    /// It ends; to be called on it.
    pub(super) fn halt(&self) {
        let mut state = self.lock();
        state.past = state.uptime();
        state.running = None;
    }

    /// True time since the world began. Never jumps.
    pub(in crate::engine) fn uptime(&self) -> Duration {
        self.lock().uptime()
    }

    /// Puts the clock that far ahead of or behind the true time.
    pub(super) fn put_wrong(&self, by_ms: i64) {
        self.lock().offset_ms = by_ms;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn uptime(&self) -> Duration {
        self.past + self.running.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let state = self.lock();
        let uptime_ms = u64::try_from(state.uptime().as_millis()).expect("worlds are short");
        Timestamp((BEGINNING_MS + uptime_ms).saturating_add_signed(state.offset_ms))
    }
}
