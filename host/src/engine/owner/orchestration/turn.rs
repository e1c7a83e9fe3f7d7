//! Runs a turn with what arrived.

use std::time::Duration;

use crate::engine::owner::behaviour::{Behaviour, RunOutcome, StepChanges};
use crate::engine::owner::inbox::Inbox;
use crate::engine::owner::instance::Instance;
use crate::engine::owner::{Next, OwnerContext};
use crate::model::{Arrival, Decision, FunctionKind, Timestamp, Turn};
use crate::replay::{Delivery, Guest, HostUnavailable, NewTurn, Place};
use crate::store::{Amount, Used};

use super::Orchestration;
use super::arrivals::{EVENT_BUDGET, Gathered};

/// How far the time of a turn may be ahead of the clock before the turn records it. Timers of the turn are late by at
/// most as much.
const TOLERATED_BEHIND: Duration = Duration::from_secs(1);

impl<G: Guest> Orchestration<G> {
    /// Gathers what arrived and runs a turn with it. If nothing of it is for the guest, the step has no turn.
    pub(super) fn turn(
        &mut self,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> Result<RunOutcome, HostUnavailable> {
        let now = context.now();
        let mut gathered = self.gather(now, instance, inbox, context);
        if gathered.arrivals.is_empty() && !self.wants_events(gathered.until, instance) {
            return Ok(self.settle_without_turn(now, gathered, instance, inbox, context));
        }
        let at = self.time_of_turn(now, &gathered.arrivals);
        if let Some(behind) = clock_behind(at, now) {
            gathered.arrive(Place::Own, behind);
        }
        match self.deliver(at, &mut gathered, context) {
            Ok(new_turn) => Ok(RunOutcome::Changed(Box::new(
                self.record(new_turn, gathered, instance, inbox, context),
            ))),
            Err(trouble) => {
                // Nothing happened. All that was gathered is still durable or in memory, so put it back.
                self.cool();
                self.put_back(gathered, inbox);
                Err(trouble)
            }
        }
    }

    /// Runs the guest until it waits.
    fn deliver(
        &mut self,
        at: Timestamp,
        gathered: &mut Gathered,
        context: &dyn OwnerContext,
    ) -> Result<NewTurn, HostUnavailable> {
        let delivery = Delivery {
            arrivals: std::mem::take(&mut gathered.arrivals),
            pending: self.events.for_turn(),
            until: gathered.until,
            budget: EVENT_BUDGET,
            room: context.turn_room(),
            locked_entities: context.max_locked_entities(),
        };
        let player = self.execution.player.as_mut().expect("the guest was asked for");
        player.deliver(at, delivery)
    }

    /// Adds a turn to the history.
    fn record(
        &mut self,
        new_turn: NewTurn,
        gathered: Gathered,
        instance: &Instance,
        inbox: &Inbox,
        context: &dyn OwnerContext,
    ) -> StepChanges {
        let NewTurn {
            mut turn,
            taken,
            logs,
            custom_status,
        } = new_turn;
        let (mut changes, results) = gathered.into_changes(turn.at);
        let effects = &mut changes.effects;
        effects.logs.extend(logs);
        effects.custom_status = custom_status;
        let execution = instance.position.execution;
        if let Some(failure) = self.sizes.add_turn(&turn, execution, &mut effects.logs, context) {
            turn.decisions = vec![Decision::Fail { failure }];
        }
        let before = effects.fuel;
        self.decide(&turn, effects, instance, context);
        // The check of the next execution's input.
        turn.fuel += effects.fuel - before;
        effects.fuel = before + turn.fuel;
        effects.usage.push(used_by(&turn, instance));
        if let Err(error) = self.execution.ledger.apply(&turn) {
            unreachable!("a new turn follows the last: {error}");
        }
        if turn.is_last() {
            self.close_children(&turn, &mut changes.effects, instance, inbox);
        }
        self.in_commit.results = results;
        self.in_commit.events = taken;
        changes.turn = Some(turn);
        changes
    }

    /// Takes messages that no task waits for and retries sub-orchestrations, or idles.
    fn settle_without_turn(
        &mut self,
        now: Timestamp,
        gathered: Gathered,
        instance: &Instance,
        inbox: &Inbox,
        context: &dyn OwnerContext,
    ) -> RunOutcome {
        if !gathered.is_empty() || !gathered.effects.is_empty() {
            let (changes, results) = gathered.into_changes(now);
            self.in_commit.results = results;
            return RunOutcome::Changed(Box::new(changes));
        }
        drop(self.results.take_all());
        // The history may show more waits than the guest has; events that were read for those do not cover the others.
        match self.unread_events(instance) {
            Some(names) => RunOutcome::Next(Next::Events(names)),
            None => self.rest(instance, inbox, context),
        }
    }

    /// The time of a turn that begins now: neither before the last turn nor before the due time of a timer that it
    /// fires.
    fn time_of_turn(&self, now: Timestamp, arrivals: &[(Place, Arrival)]) -> Timestamp {
        let set_for = arrivals.iter().filter_map(|(_, arrival)| match arrival {
            Arrival::TimerFired { task } => self.execution.timer_set_for(*task),
            _ => None,
        });
        let last_at = self.execution.ledger.last_at();
        set_for.chain([now, last_at]).max().unwrap_or(now)
    }
}

/// What a row at this time records about the host's clock, if that is behind.
pub(super) fn clock_behind(at: Timestamp, now: Timestamp) -> Option<Arrival> {
    let behind = at.since(now);
    (behind >= TOLERATED_BEHIND).then(|| Arrival::ClockBehind { by_ms: millis(behind) })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The usage of a turn, for the accounting.
pub(super) fn used_by(turn: &Turn, instance: &Instance) -> Used {
    let failed = turn
        .decisions
        .iter()
        .any(|decision| matches!(decision, Decision::Fail { .. }));
    Used {
        tenant: instance.identity.tenant,
        kind: FunctionKind::Orchestration,
        function: instance.identity.function.clone(),
        at: turn.at,
        amount: Amount {
            count: 1,
            failed: failed.into(),
            fuel: turn.fuel,
            wall_ms: 0,
            bytes_in: turn.arrivals.iter().map(Arrival::payload_bytes).sum(),
            bytes_out: turn.decisions.iter().map(Decision::payload_bytes).sum(),
            http_sent: 0,
            http_received: 0,
        },
    }
}
