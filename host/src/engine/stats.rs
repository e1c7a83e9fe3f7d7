//! Counts instances, turns, steps of entities, attempts and fuel, for metrics and benchmarks.
//!
//! These are the totals; [`tenancy`](crate::tenancy::counts) counts per tenant.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::metrics::{Counter, Gauge, Held, Histogram};
use crate::model::{FunctionKind, InstanceStatus, Outcome, Timestamp, TurnNumber, failure::types, schedule::Counts};
use crate::store::{TurnCommit, TurnReceipt};
use crate::tenancy::Work;

/// Counters since the host started, and gauges of the current state.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Instances that clients started, without repeated requests.
    pub started_by_clients: Counter,
    /// Instances that schedules started.
    pub started_by_schedules: Counter,
    /// Instances that orchestrations started.
    pub started_by_orchestrations: Counter,
    /// Instances that ended with a result.
    pub completed: Counter,
    /// Instances that ended with a failure.
    pub failed: Counter,
    /// Instances that were terminated by a client or their parent.
    pub terminated: Counter,
    /// Instances that ended as cancelled.
    pub cancelled: Counter,
    /// How often an instance became stuck.
    pub stuck: Counter,
    /// New turns that are durable.
    pub turns: Counter,
    /// Guests created for the first turn of an instance.
    pub guests_new: Counter,
    /// Guests created for an instance with a history, which they replay first.
    pub guests_replayed: Counter,
    /// Recorded turns that were replayed.
    pub turns_replayed: Counter,
    /// Guests of orchestrations in memory.
    pub guests: Gauge,
    /// Fuel of durable turns.
    pub turn_fuel: Counter,
    /// Entities.
    pub entities: EntityStats,
    /// Attempts of activities.
    pub attempts: AttemptStats,
    /// Times of schedules.
    pub schedules: ScheduleStats,
    /// The deletion of expired instances.
    pub retention: RetentionStats,
    /// Broadcasts.
    pub broadcasts: BroadcastStats,
}

/// Broadcasts. Everything is counted once it is durable.
#[derive(Debug, Default)]
pub struct BroadcastStats {
    /// Broadcasts that were accepted, without repeated requests.
    pub accepted: Counter,
    /// Broadcasts that have raised all their events.
    pub finished: Counter,
    /// Broadcasts that clients cancelled.
    pub cancelled: Counter,
    /// Broadcasts whose rows cannot be read.
    pub unreadable: Counter,
    /// Events that were raised.
    pub raised: Counter,
    /// Instances that matched, but did not get the event.
    pub skipped: Counter,
}

/// Entities. Everything is counted once it is durable.
#[derive(Debug, Default)]
pub struct EntityStats {
    /// Steps, each with one commit.
    pub steps: Counter,
    /// Operations that changed or read a state.
    pub succeeded: Counter,
    /// Operations that failed, and changed nothing.
    pub failed: Counter,
    /// Fuel of steps.
    pub fuel: Counter,
}

/// Attempts of activities.
#[derive(Debug, Default)]
pub struct AttemptStats {
    /// Attempts that returned an output.
    pub completed: Counter,
    /// Attempts that returned a failure, or were stopped by a limit other than time.
    pub failed: Counter,
    /// Attempts that timed out.
    pub timed_out: Counter,
    /// Attempts that were dropped because the call was cancelled, its instance ended, or the host shut down.
    pub dropped: Counter,
    /// Attempts that were running when the previous run of the host ended uncleanly.
    pub cut_off: Counter,
    /// Running now.
    pub running: Gauge,
    /// Calls that wait for a slot now.
    pub waiting: Gauge,
    /// Fuel of all attempts that were not dropped or cut off.
    pub fuel: Counter,
}

/// The deletion of expired instances.
#[derive(Debug, Default)]
pub struct RetentionStats {
    /// How often the store failed.
    pub failures: Counter,
    /// When nothing was left to delete of any tenant, in milliseconds since 1970; zero if that was never so.
    finished_at: AtomicU64,
}

impl RetentionStats {
    /// Notes that nothing is left to delete.
    pub(super) fn finished(&self, now: Timestamp) {
        self.finished_at.store(now.0, Relaxed);
    }

    /// When nothing was left to delete of any tenant; `None` if that was never so since the host started.
    pub fn finished_at(&self) -> Option<Timestamp> {
        Some(Timestamp(self.finished_at.load(Relaxed))).filter(|at| at.0 > 0)
    }
}

/// What became of the times of schedules.
#[derive(Debug)]
pub struct ScheduleStats {
    /// Times whose instance was started, without starts by hand.
    pub started: Counter,
    /// Times that were skipped, because the last instance had not ended.
    pub skipped: Counter,
    /// Times that were missed, because the catch-up window had passed.
    pub missed: Counter,
    /// Times whose start failed.
    pub failed: Counter,
    /// Starts that were refused and are tried again.
    pub refused: Counter,
    /// How much later than its time, with the jitter, an instance was stored, in milliseconds.
    pub lateness_ms: Histogram<6>,
}

impl Default for ScheduleStats {
    fn default() -> Self {
        Self {
            started: Counter::default(),
            skipped: Counter::default(),
            missed: Counter::default(),
            failed: Counter::default(),
            refused: Counter::default(),
            lateness_ms: Histogram::new([10, 100, 1_000, 10_000, 60_000, 3_600_000]),
        }
    }
}

impl ScheduleStats {
    /// Counts what a committed change of a schedule has decided.
    pub(super) fn count(&self, before: &Counts, after: &Counts) {
        self.skipped.add(after.skipped.saturating_sub(before.skipped));
        self.missed.add(after.missed.saturating_sub(before.missed));
        self.failed.add(after.failed.saturating_sub(before.failed));
    }
}

/// What a commit adds to the counters once it is durable.
pub(super) struct Step {
    turn: bool,
    /// Fuel of the turn.
    fuel: u64,
    entity: Option<EntityStep>,
    ended: Option<InstanceStatus>,
    stuck: bool,
}

/// What a step of an entity adds to the counters.
#[derive(Default)]
struct EntityStep {
    succeeded: u64,
    failed: u64,
    fuel: u64,
}

impl EntityStep {
    fn of(commit: &TurnCommit) -> Self {
        let of_entity = |kind| kind == FunctionKind::Entity;
        let amounts = commit.usage.iter().filter(|used| of_entity(used.kind));
        amounts.fold(Self::default(), |sum, used| Self {
            succeeded: sum.succeeded + used.amount.count - used.amount.failed,
            failed: sum.failed + used.amount.failed,
            fuel: sum.fuel + used.amount.fuel,
        })
    }
}

impl Step {
    /// For a commit that is about to be written.
    pub(super) fn of(commit: &TurnCommit) -> Self {
        let status = commit.summary.status;
        Self {
            turn: commit.turn.is_some(),
            fuel: commit.turn.as_ref().map_or(0, |turn| turn.fuel),
            entity: commit.entity.as_ref().map(|_| EntityStep::of(commit)),
            ended: status.has_ended().then_some(status),
            // A stuck instance may consume messages and stay stuck; the commit that makes it stuck consumes none.
            stuck: status == InstanceStatus::Stuck && commit.turn.is_none() && commit.consumed.is_empty(),
        }
    }
}

impl EngineStats {
    /// Counts a durable step. Returns the work that it adds to its tenant's counters, except fuel.
    pub(super) fn count_step(&self, step: &Step, receipt: &TurnReceipt) -> Work {
        if receipt.instance_gone || receipt.refused.is_some() {
            return Work::default();
        }
        self.turns.add(u64::from(step.turn));
        self.turn_fuel.add(step.fuel);
        self.stuck.add(u64::from(step.stuck));
        self.started_by_orchestrations.add(receipt.created.len() as u64);
        match step.ended {
            Some(InstanceStatus::Completed) => self.completed.increment(),
            Some(InstanceStatus::Failed) => self.failed.increment(),
            Some(InstanceStatus::Terminated) => self.terminated.increment(),
            Some(InstanceStatus::Canceled) => self.cancelled.increment(),
            _ => {}
        }
        let operations = step
            .entity
            .as_ref()
            .map_or(0, |of_entity| self.entities.count(of_entity));
        Work {
            turns: u64::from(step.turn),
            operations,
            ..Work::default()
        }
    }

    /// Counts recorded turns that are about to be fed to an owner; without a guest they are not replayed.
    pub(super) fn count_replay(&self, has_guest: bool, rows: usize) {
        if has_guest {
            self.turns_replayed.add(rows as u64);
        }
    }

    /// Counts a new guest for an instance with this last durable turn.
    pub(super) fn count_guest(&self, last_turn: TurnNumber) -> Held {
        if last_turn == TurnNumber::NONE {
            self.guests_new.increment();
        } else {
            self.guests_replayed.increment();
        }
        self.guests.hold()
    }
}

impl EntityStats {
    /// Counts a durable step. Returns the number of its operations.
    fn count(&self, step: &EntityStep) -> u64 {
        self.steps.increment();
        self.succeeded.add(step.succeeded);
        self.failed.add(step.failed);
        self.fuel.add(step.fuel);
        step.succeeded + step.failed
    }
}

impl AttemptStats {
    /// Counts the start of an attempt.
    pub(super) fn begin(&self) -> RunningAttempt<'_> {
        RunningAttempt {
            stats: self,
            _running: self.running.hold(),
            ended: false,
        }
    }
}

/// A running attempt. Dropping it without calling [`end`](Self::end) counts it as dropped.
pub(super) struct RunningAttempt<'a> {
    stats: &'a AttemptStats,
    _running: Held,
    ended: bool,
}

impl RunningAttempt<'_> {
    /// The host could not run the attempt; it is not counted.
    pub(super) fn did_not_run(mut self) {
        self.ended = true;
    }

    /// Counts an attempt that was not cut off.
    pub(super) fn end(mut self, outcome: &Outcome, fuel: u64) {
        self.ended = true;
        self.stats.fuel.add(fuel);
        match outcome {
            Ok(_) => self.stats.completed.increment(),
            Err(failure) if failure.error_type == types::TIMEOUT => self.stats.timed_out.increment(),
            Err(_) => self.stats.failed.increment(),
        }
    }
}

impl Drop for RunningAttempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.stats.dropped.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Failure, Payload};

    #[test]
    fn an_attempt_counts_once_however_it_ends() {
        let stats = AttemptStats::default();
        stats.begin().end(&Ok(Payload::null()), 5);
        stats.begin().end(&Err(Failure::new("Own", "no")), 6);
        stats.begin().end(&Err(Failure::new(types::TIMEOUT, "late")), 7);
        let dropped = stats.begin();
        assert_eq!(stats.running.get(), 1);
        drop(dropped);
        let ends = [&stats.completed, &stats.failed, &stats.timed_out, &stats.dropped];
        assert_eq!(ends.map(Counter::get), [1, 1, 1, 1]);
        assert_eq!((stats.running.get(), stats.fuel.get()), (0, 18));
    }
}
