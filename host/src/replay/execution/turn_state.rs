//! What belongs to the turn that is running: what it brings, and what came of it so far.

use std::collections::VecDeque;

use crate::model::{Arrival, Decision, LogLine, Payload, Timestamp};
use crate::replay::pending::{PendingEvent, PendingEvents, Place};
use crate::replay::turn::Room;

/// What belongs to the turn that is running.
pub(super) struct TurnState {
    pub(super) now: Timestamp,
    /// Arrivals that were not applied yet.
    pub(super) arrivals: VecDeque<(Place, Arrival)>,
    /// Arrivals that were applied, of a new turn.
    pub(super) applied: Vec<Arrival>,
    /// Events that a new turn may take.
    pub(super) pending: PendingEvents,
    /// Events that were taken from there.
    pub(super) taken: Vec<PendingEvent>,
    /// Those at or after this place are not taken.
    pub(super) until: Place,
    /// How much of them may still be taken.
    pub(super) room: Room,
    pub(super) decisions: Vec<Decision>,
    pub(super) decision_bytes: usize,
    pub(super) logs: Vec<LogLine>,
    pub(super) log_bytes: usize,
    pub(super) dropped_logs: u64,
    pub(super) custom_status: Option<Payload>,
    /// The recorded decisions that the guest must repeat; none in a new turn.
    pub(super) recorded: Option<VecDeque<Decision>>,
}

/// What a turn left behind, once the guest has stopped.
#[derive(Debug)]
pub(in crate::replay) struct TurnEnd {
    /// What the guest was given, in that order, and then what it did not come to see.
    pub arrivals: Vec<Arrival>,
    /// The events that were not taken.
    pub pending: PendingEvents,
    /// Those that were.
    pub taken: Vec<PendingEvent>,
    pub decisions: Vec<Decision>,
    pub logs: Vec<LogLine>,
    pub custom_status: Option<Payload>,
    /// Recorded decisions that were not repeated.
    pub unrepeated: Option<VecDeque<Decision>>,
}

impl TurnState {
    /// A turn that brings nothing.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            arrivals: VecDeque::new(),
            applied: Vec::new(),
            pending: PendingEvents::default(),
            taken: Vec::new(),
            until: Place::Own,
            room: Room::default(),
            decisions: Vec::new(),
            decision_bytes: 0,
            logs: Vec::new(),
            log_bytes: 0,
            dropped_logs: 0,
            custom_status: None,
            recorded: None,
        }
    }

    /// The oldest of what the turn brought and of the events that the guest waits for.
    pub(super) fn next_arrival(&mut self) -> Option<Arrival> {
        let first = self.arrivals.front().map_or(Place::Own, |(place, _)| *place);
        let event = match self.room.is_used_up() {
            false => self.pending.next(first.min(self.until)),
            true => None,
        };
        let arrival = match event {
            Some(pending) => {
                self.room.take(&pending.event);
                let arrival = Arrival::EventRaised(pending.event.clone());
                self.taken.push(pending);
                arrival
            }
            None => self.arrivals.pop_front()?.1,
        };
        if self.recorded.is_none() {
            self.applied.push(arrival.clone());
        }
        Some(arrival)
    }
}
