//! A guest whose new turns are noted in the flight recorder while they run.

use super::flight_recorder::{Flight, FlightRecorder};
use crate::metrics::Held;
use crate::replay::{Budget, Execution, Guest, HostUnavailable, Ran};

/// Wraps a guest.
pub(super) struct RecordedGuest<G> {
    pub guest: G,
    pub recorder: FlightRecorder,
    pub flight: Flight,
    /// Counted as being in memory for as long as it is.
    pub _counted: Held,
}

impl<G: Guest> Guest for RecordedGuest<G> {
    fn resume(&mut self, execution: &mut Execution, budget: Budget) -> Result<Ran, HostUnavailable> {
        // A replayed turn is noted by whoever replays, once for many rows.
        let _recording = (budget == Budget::Turn).then(|| self.recorder.record(self.flight));
        self.guest.resume(execution, budget)
    }
}
