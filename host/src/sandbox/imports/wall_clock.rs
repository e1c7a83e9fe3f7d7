//! `wasi:clocks/wall-clock`: the time of the turn.

use wasmtime::Result;

use crate::sandbox::{
    bindings::orchestrator::wasi::clocks::wall_clock::{Datetime, Host},
    state::OrchestratorState,
};

/// Nanoseconds in a millisecond, the unit of turns.
const NANOS_PER_MILLI: u32 = 1_000_000;

impl Host for OrchestratorState {
    fn now(&mut self) -> Result<Datetime> {
        let now = OrchestratorState::now(self)?.0;
        let nanoseconds = u32::try_from(now % 1_000).expect("below a thousand") * NANOS_PER_MILLI;
        Ok(Datetime {
            seconds: now / 1_000,
            nanoseconds,
        })
    }

    fn resolution(&mut self) -> Result<Datetime> {
        Ok(Datetime {
            seconds: 0,
            nanoseconds: NANOS_PER_MILLI,
        })
    }
}
