//! The clock of the simulated host: paused tokio time, with jumps.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::model::Timestamp;

/// The time at which the world begins.
const BEGINNING_MS: u64 = 1_700_000_000_000;

/// A clock that advances while a runtime runs, and stands still in between.
pub(in crate::engine) struct SimulatedClock(Mutex<State>);

struct State {
    /// How long all previous runtimes ran.
    past: Duration,
    /// When the current runtime started.
    running: Option<Instant>,
    /// How much the clock differs from the true time.
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

    /// Notes that a runtime starts. Call it on that runtime.
    pub(in crate::engine) fn boot(&self) {
        self.lock().running = Some(Instant::now());
    }

    /// Notes that the runtime ends. Call it on that runtime.
    pub(super) fn halt(&self) {
        let mut state = self.lock();
        state.past = state.uptime();
        state.running = None;
    }

    /// The true time since the world began. Never jumps.
    pub(in crate::engine) fn uptime(&self) -> Duration {
        self.lock().uptime()
    }

    /// Sets the clock ahead of the true time, or behind it if negative.
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
