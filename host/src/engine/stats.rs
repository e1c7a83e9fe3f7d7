//! Counts instances, turns, attempts and fuel, for metrics and benchmarks.
//!
//! These are the totals; [`tenancy`](crate::tenancy::counts) counts per tenant.

use crate::metrics::{Counter, Gauge, Held};
use crate::model::{InstanceStatus, Outcome, TurnNumber, failure::types};
use crate::store::{TurnCommit, TurnReceipt};

/// Counters since the host started, and gauges of the current state.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Instances that clients started, without repeated requests.
    pub started_by_clients: Counter,
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
    /// Attempts of activities.
    pub attempts: AttemptStats,
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

/// What a commit adds to the counters once it is durable.
pub(super) struct Step {
    turn: bool,
    fuel: u64,
    ended: Option<InstanceStatus>,
    stuck: bool,
}

impl Step {
    /// For a commit that is about to be written.
    pub(super) fn of(commit: &TurnCommit) -> Self {
        let status = commit.summary.status;
        Self {
            turn: commit.turn.is_some(),
            fuel: commit.turn.as_ref().map_or(0, |turn| turn.fuel),
            ended: status.has_ended().then_some(status),
            // A stuck instance may consume messages and stay stuck; the commit that makes it stuck consumes none.
            stuck: status == InstanceStatus::Stuck && commit.turn.is_none() && commit.consumed.is_empty(),
        }
    }
}

impl EngineStats {
    /// Counts a durable step. Returns whether it was a turn.
    pub(super) fn count_step(&self, step: &Step, receipt: &TurnReceipt) -> bool {
        if receipt.instance_gone || receipt.refused.is_some() {
            return false;
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
        step.turn
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
