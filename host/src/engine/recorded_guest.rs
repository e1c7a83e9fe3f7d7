//! A guest whose new turns are recorded by the flight recorder while they run.

use super::flight_recorder::{Flight, FlightRecorder};
use crate::entity::{self, EntityGuest, Step};
use crate::metrics::Held;
use crate::replay::{Budget, Execution, Guest, HostUnavailable, Pause, Ran};

/// Wraps a guest.
pub(super) struct RecordedGuest<G> {
    pub guest: G,
    pub recorder: FlightRecorder,
    pub flight: Flight,
    /// Counts the guest as being in memory until it is dropped.
    pub _counted: Held,
}

impl<G: Guest> Guest for RecordedGuest<G> {
    fn resume(&mut self, execution: &mut Execution, budget: Budget) -> Result<Ran, HostUnavailable> {
        // Replayed turns are recorded by the owner loop, once for many rows.
        let _recording = (budget == Budget::Turn).then(|| self.recorder.record(self.flight));
        self.guest.resume(execution, budget)
    }

    fn pause_with(&mut self, pause: Pause) {
        self.guest.pause_with(pause);
    }
}

/// The guest of an entity whose steps are recorded while they run.
pub(super) struct RecordedEntity<G> {
    pub guest: G,
    pub recorder: FlightRecorder,
    pub flight: Flight,
}

impl<G: EntityGuest> EntityGuest for RecordedEntity<G> {
    fn run(&mut self, step: &mut Step) -> Result<entity::Ran, HostUnavailable> {
        let _recording = self.recorder.record(self.flight);
        self.guest.run(step)
    }

    fn pause_with(&mut self, pause: Pause) {
        self.guest.pause_with(pause);
    }
}
