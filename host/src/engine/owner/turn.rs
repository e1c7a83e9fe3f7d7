//! Runs a turn with what arrived.

use std::time::Duration;

use crate::model::{Arrival, Decision, InstanceStatus, Timestamp};
use crate::replay::{Delivery, Guest, HostUnavailable, NewTurn, Place};

use super::arrivals::{EVENT_BUDGET, Gathered};
use super::{Next, Owner, OwnerContext};

/// How far the time of a turn may be ahead of the clock before the turn records it. Timers of the turn are late by at
/// most as much.
const TOLERATED_BEHIND: Duration = Duration::from_secs(1);

impl<G: Guest> Owner<G> {
    /// Gathers what arrived and runs a turn with it. If nothing of it is for the guest, commits without a turn.
    pub(super) fn turn(&mut self, context: &dyn OwnerContext) -> Result<Next, HostUnavailable> {
        let now = context.now();
        let mut gathered = self.gather(now, context);
        if gathered.arrivals.is_empty() && !self.wants_events(gathered.until) {
            return Ok(self.settle_without_turn(now, gathered, context));
        }
        let at = self.time_of_turn(now, &gathered.arrivals);
        let behind = at.since(now);
        if behind >= TOLERATED_BEHIND {
            gathered.arrive(Place::Own, Arrival::ClockBehind { by_ms: millis(behind) });
        }
        let NewTurn {
            mut turn,
            taken,
            logs,
            custom_status,
        } = match self.deliver(at, &mut gathered) {
            Ok(new_turn) => new_turn,
            Err(trouble) => {
                // Nothing happened. All that was gathered is still durable or in memory, so put it back.
                self.cool();
                self.put_back(gathered);
                return Err(trouble);
            }
        };
        let Gathered { events, effects, .. } = &mut gathered;
        *events = taken;
        effects.logs.extend(logs);
        effects.custom_status = custom_status;
        let execution = self.instance.position.execution;
        if let Some(failure) = self.sizes.add_turn(&turn, execution, &mut effects.logs, context) {
            turn.decisions = vec![Decision::Fail { failure }];
        }
        self.instance.position.last_turn = turn.number;
        self.instance.status = InstanceStatus::Running;
        self.decide(&turn, effects, context);
        if let Err(error) = self.orchestration.ledger.apply(&turn) {
            unreachable!("a new turn follows the last: {error}");
        }
        Ok(self.commit(context, turn.at, Some(turn), gathered))
    }

    /// Runs the guest until it waits.
    fn deliver(&mut self, at: Timestamp, gathered: &mut Gathered) -> Result<NewTurn, HostUnavailable> {
        let delivery = Delivery {
            arrivals: std::mem::take(&mut gathered.arrivals),
            pending: self.events.for_turn(),
            until: gathered.until,
            budget: EVENT_BUDGET,
        };
        let player = self.orchestration.player.as_mut().expect("the guest was asked for");
        player.deliver(at, delivery)
    }

    /// Commits messages that no task waits for and retries of sub-orchestrations, or idles.
    fn settle_without_turn(&mut self, now: Timestamp, gathered: Gathered, context: &dyn OwnerContext) -> Next {
        if !gathered.is_empty() || !gathered.effects.is_empty() {
            return self.commit(context, now, None, gathered);
        }
        self.results.clear();
        // The history may show more waits than the guest has; events that were read for those do not cover the others.
        match self.unread_events() {
            Some(names) => Next::Events(names),
            None => self.rest(context),
        }
    }

    /// The time of a turn that begins now: neither before the last turn nor before the due time of a timer that it
    /// fires.
    fn time_of_turn(&self, now: Timestamp, arrivals: &[(Place, Arrival)]) -> Timestamp {
        let set_for = arrivals.iter().filter_map(|(_, arrival)| match arrival {
            Arrival::TimerFired { task } => self.orchestration.timer_set_for(*task),
            _ => None,
        });
        let last_at = self.orchestration.ledger.last_at();
        set_for.chain([now, last_at]).max().unwrap_or(now)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
