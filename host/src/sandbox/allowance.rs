//! The resources that a guest may use at a time: in a turn of an orchestration, or for an operation of an entity.

use std::time::{Duration, Instant};

use wasmtime::Trap;

/// The resources that a guest may use until it waits, or until its next operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Fuel, in Wasmtime units.
    pub(super) fuel: u64,
    /// Time.
    pub(super) time: Duration,
    /// Whether the work of the host uses fuel as well.
    pub(super) charges_host: bool,
}

impl Allowance {
    /// The fuel that the host may use for the guest; `None` if it is not charged.
    pub(super) fn host_fuel(&self) -> Option<u64> {
        self.charges_host.then_some(self.fuel)
    }
}

/// Measures the time of a guest without its pauses.
#[derive(Debug)]
pub(super) struct Stopwatch {
    limit: Duration,
    used: Duration,
    /// From when on `used` does not contain the time.
    runs_since: Instant,
}

impl Stopwatch {
    /// Begins to measure.
    pub(super) fn begin(limit: Duration) -> Self {
        Self {
            limit,
            used: Duration::ZERO,
            runs_since: Instant::now(),
        }
    }

    /// The time until now.
    pub(super) fn used(&self) -> Duration {
        self.used + self.runs_since.elapsed()
    }

    /// Counts the time until now, with that of the host's work.
    ///
    /// # Errors
    /// If it exceeds the limit. The guest must be stopped.
    pub(super) fn count(&mut self) -> Result<(), Trap> {
        self.used = self.used();
        self.runs_since = Instant::now();
        if self.used > self.limit {
            return Err(Trap::Interrupt);
        }
        Ok(())
    }

    /// Goes on after a pause, which does not count.
    pub(super) fn go_on(&mut self) {
        self.runs_since = Instant::now();
    }
}
