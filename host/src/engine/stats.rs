//! What the engine counts: instances, turns, attempts, fuel. For metrics and benchmarks.
//!
//! Of all tenants together; what each of them does is counted in [`tenancy`](crate::tenancy::counts).

use crate::metrics::{Counter, Gauge, Held};
use crate::model::{InstanceStatus, Outcome, TurnNumber, failure::types};
use crate::store::{TurnCommit, TurnReceipt};

/// Counted since the host started, and what there is now.
#[derive(Debug, Default)]
pub struct EngineStats {
    /// Instances that clients started; a repeated request is none.
    pub started_by_clients: Counter,
    /// Instances that orchestrations started.
    pub started_by_orchestrations: Counter,
    /// Ended with a result.
    pub completed: Counter,
    /// Ended with a failure.
    pub failed: Counter,
    /// Ended by a person or a parent.
    pub terminated: Counter,
    /// Times that an instance became stuck.
    pub stuck: Counter,
    /// New turns that are durable.
    pub turns: Counter,
    /// Guests made for an instance without a history: its first turn.
    pub guests_new: Counter,
    /// Guests made for an instance with a history, which they replay first.
    pub guests_replayed: Counter,
    /// Recorded turns that were fed to such guests.
    pub turns_replayed: Counter,
    /// Guests of orchestrations in memory.
    pub guests: Gauge,
    /// Fuel of turns that are durable.
    pub turn_fuel: Counter,
    /// Attempts of activities.
    pub attempts: AttemptStats,
}

/// Attempts of activities.
#[derive(Debug, Default)]
pub struct AttemptStats {
    /// Came back with an output.
    pub completed: Counter,
    /// Came back with a failure, or were stopped at a limit other than time.
    pub failed: Counter,
    /// Stopped because their time was up.
    pub timed_out: Counter,
    /// Dropped: the call was cancelled, its instance has ended, or the host is about to.
    pub dropped: Counter,
    /// Found to have been running when the host before this one ended uncleanly.
    pub cut_off: Counter,
    /// Running now.
    pub running: Gauge,
    /// Waiting now for a slot to run in.
    pub waiting: Gauge,
    /// Fuel of all attempts that came to an end of their own.
    pub fuel: Counter,
}

/// What is counted of a commit once it is durable.
pub(super) struct Step {
    turn: bool,
    fuel: u64,
    ended: Option<InstanceStatus>,
    stuck: bool,
}

impl Step {
    /// Of a commit that is about to be written.
    pub(super) fn of(commit: &TurnCommit) -> Self {
        let status = commit.summary.status;
        Self {
            turn: commit.turn.is_some(),
            fuel: commit.turn.as_ref().map_or(0, |turn| turn.fuel),
            ended: status.has_ended().then_some(status),
            // A stuck instance may take messages and stay stuck; becoming so takes none.
            stuck: status == InstanceStatus::Stuck && commit.turn.is_none() && commit.consumed.is_empty(),
        }
    }
}

impl EngineStats {
    /// A step is durable. Says whether it was a turn that counts.
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
            _ => {}
        }
        step.turn
    }

    /// Recorded turns are about to be fed to an owner; without a guest they are folded only.
    pub(super) fn count_replay(&self, has_guest: bool, rows: usize) {
        if has_guest {
            self.turns_replayed.add(rows as u64);
        }
    }

    /// A guest was made, for an instance whose last durable turn is that one.
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
    /// An attempt begins.
    pub(super) fn begin(&self) -> RunningAttempt<'_> {
        RunningAttempt {
            stats: self,
            _running: self.running.hold(),
            ended: false,
        }
    }
}

/// An attempt that runs; if nobody says how it ended, it was dropped.
pub(super) struct RunningAttempt<'a> {
    stats: &'a AttemptStats,
    _running: Held,
    ended: bool,
}

impl RunningAttempt<'_> {
    /// It found no room, and counts when it runs.
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
