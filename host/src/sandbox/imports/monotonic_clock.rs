//! `wasi:clocks/monotonic-clock`: the time of the turn or the step in nanoseconds. A subscription is a durable timer.
//!
//! So `thread::sleep(1h)` in an ordinary program does not block a thread, and survives restarts. In an entity it is a
//! failure, because its clock stands still until the end of the step.

use wasmtime::{Result, component::Resource};

use crate::model::Timestamp;
use crate::sandbox::{bindings::orchestrator::wasi::clocks::monotonic_clock::Host, state::OrchestratorState};

use super::poll::Pollable;

/// Nanoseconds in a millisecond, the unit of turns and timers.
const NANOS_PER_MILLI: u64 = 1_000_000;

impl Host for OrchestratorState {
    fn now(&mut self) -> Result<u64> {
        // Saturates in the year 2554.
        Ok(OrchestratorState::now(self)?.0.saturating_mul(NANOS_PER_MILLI))
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(NANOS_PER_MILLI)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<Pollable>> {
        let fire_at = Timestamp(when.div_ceil(NANOS_PER_MILLI));
        if fire_at <= OrchestratorState::now(self)? {
            return Ok(self.table.push(Pollable::Ready)?);
        }
        let timer = self.timer(fire_at)?;
        Ok(self.table.push(timer)?)
    }

    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<Pollable>> {
        let now = OrchestratorState::now(self)?.0;
        // In milliseconds, because an infinite sleep would overflow in nanoseconds.
        let fire_at = Timestamp(now.saturating_add(duration.div_ceil(NANOS_PER_MILLI)));
        if duration == 0 {
            return Ok(self.table.push(Pollable::Ready)?);
        }
        let timer = self.timer(fire_at)?;
        Ok(self.table.push(timer)?)
    }
}
