//! The state of the running turn: its input and its results so far.

use std::collections::VecDeque;

use crate::model::{Arrival, Decision, LogLine, Payload, Timestamp};
use crate::replay::limits::TurnSize;
use crate::replay::pending::{PendingEvent, PendingEvents, Place};
use crate::replay::turn::EventBudget;

/// The state of the running turn.
pub(super) struct TurnState {
    pub(super) now: Timestamp,
    /// Arrivals that are not applied yet.
    pub(super) arrivals: VecDeque<(Place, Arrival)>,
    /// The applied arrivals of a new turn.
    pub(super) applied: Vec<Arrival>,
    /// Events that a new turn may take.
    pub(super) pending: PendingEvents,
    /// Events that the turn took from `pending`.
    pub(super) taken: Vec<PendingEvent>,
    /// The turn takes only events before this place.
    pub(super) until: Place,
    /// How many events the turn may still take.
    pub(super) budget: EventBudget,
    pub(super) decisions: Vec<Decision>,
    /// The size of `decisions`.
    pub(super) size: TurnSize,
    /// How large a turn the host has memory for.
    pub(super) room: TurnSize,
    /// How many entities a critical section may lock. No limit in replay: the turn respected the limit of its time.
    pub(super) locked_entities: usize,
    pub(super) logs: Vec<LogLine>,
    pub(super) log_bytes: usize,
    pub(super) dropped_logs: u64,
    pub(super) custom_status: Option<Payload>,
    /// The recorded decisions that the guest must still repeat; `None` in a new turn.
    pub(super) recorded: Option<VecDeque<Decision>>,
}

/// The results of a turn, after the guest has stopped.
#[derive(Debug)]
pub(in crate::replay) struct TurnEnd {
    /// The arrivals that were applied, in order, and then those that were not.
    pub arrivals: Vec<Arrival>,
    /// The events that the turn did not take.
    pub pending: PendingEvents,
    /// The events that the turn took.
    pub taken: Vec<PendingEvent>,
    pub decisions: Vec<Decision>,
    pub logs: Vec<LogLine>,
    pub custom_status: Option<Payload>,
    /// Recorded decisions that were not repeated; `None` in a new turn.
    pub unrepeated: Option<VecDeque<Decision>>,
}

impl TurnState {
    /// A turn without arrivals.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            arrivals: VecDeque::new(),
            applied: Vec::new(),
            pending: PendingEvents::default(),
            taken: Vec::new(),
            until: Place::Own,
            budget: EventBudget::default(),
            decisions: Vec::new(),
            size: TurnSize::default(),
            room: TurnSize::MAX,
            locked_entities: usize::MAX,
            logs: Vec::new(),
            log_bytes: 0,
            dropped_logs: 0,
            custom_status: None,
            recorded: None,
        }
    }

    /// Takes the oldest of the arrivals of the turn and of the pending events that the guest waits for.
    pub(super) fn next_arrival(&mut self) -> Option<Arrival> {
        let first = self.arrivals.front().map_or(Place::Own, |(place, _)| *place);
        let event = match self.budget.is_used_up() {
            false => self.pending.next(first.min(self.until)),
            true => None,
        };
        let arrival = match event {
            Some(pending) => {
                self.budget.take(&pending.event);
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
