//! What one attempt uses, counted once however it ends: in the metrics, against the tenant's quota of fuel, and in the
//! books.

use std::time::Duration;

use super::call::Call;
use crate::engine::environment::Environment;
use crate::engine::stats::RunningAttempt;
use crate::model::{FunctionKind, Outcome, Timestamp, history::outcome_bytes};
use crate::sandbox::{ActivityRun, Meter, Traffic};
use crate::store::{Amount, Used};
use crate::tenancy::Work;

/// An attempt that runs. Whoever drops it without having said how it ended stopped it in the middle: then what it used is
/// counted all the same, as of one that failed.
pub(super) struct AttemptAccounting<'a> {
    environment: &'a Environment,
    /// In the metrics; none once it is known whether it ran and how it ended.
    counted: Option<RunningAttempt<'a>>,
    meter: Meter,
    started_at: Timestamp,
    /// What it will have used if it is stopped, fuel and time apart; none once it has ended.
    stopped: Option<Used>,
}

impl<'a> AttemptAccounting<'a> {
    /// An attempt begins.
    pub(super) fn begin(environment: &'a Environment, call: &Call, started_at: Timestamp) -> Self {
        let amount = Amount {
            count: 1,
            failed: 1,
            bytes_in: call.input_bytes(),
            ..Amount::default()
        };
        Self {
            environment,
            counted: Some(environment.stats.attempts.begin()),
            meter: Meter::default(),
            started_at,
            stopped: Some(Used {
                tenant: call.tenant,
                kind: FunctionKind::Activity,
                function: call.function().clone(),
                at: started_at,
                amount,
            }),
        }
    }

    /// Shows its fuel while it runs.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// There was no room for it. What its guest used before that was found is counted when this is dropped.
    pub(super) fn did_not_run(&mut self) {
        if let Some(counted) = self.counted.take() {
            counted.did_not_run();
        }
    }

    /// Ends the accounting of an attempt that was not cut off. Returns what the attempt used, to be stored with its outcome.
    pub(super) fn end(mut self, run: &ActivityRun, ended_at: Timestamp) -> Used {
        let ActivityRun {
            outcome, fuel, traffic, ..
        } = run;
        let mut used = self.stopped.take().expect("an attempt ends once");
        self.count_work(&used, 1, *fuel);
        if let Some(counted) = self.counted.take() {
            counted.end(outcome, *fuel);
        }
        used.at = ended_at;
        used.amount = self.amount(&used.amount, outcome, *fuel, traffic, ended_at);
        used
    }

    fn amount(&self, begun: &Amount, outcome: &Outcome, fuel: u64, traffic: &Traffic, ended_at: Timestamp) -> Amount {
        Amount {
            count: begun.count,
            failed: outcome.is_err().into(),
            fuel,
            wall_ms: millis(ended_at.since(self.started_at)),
            bytes_in: begun.bytes_in,
            bytes_out: outcome_bytes(outcome),
            http_sent: traffic.sent,
            http_received: traffic.received,
        }
    }

    fn count_work(&self, used: &Used, attempts: u64, fuel: u64) {
        let work = Work {
            attempts,
            fuel,
            ..Work::default()
        };
        self.environment.tenancy.count_work(used.tenant, work);
    }
}

impl Drop for AttemptAccounting<'_> {
    fn drop(&mut self) {
        let fuel = self.meter.fuel();
        // What never ran is no attempt.
        let Some(mut used) = self.stopped.take().filter(|_| fuel > 0) else {
            return;
        };
        self.count_work(&used, 0, fuel);
        used.at = self.environment.clock.now();
        used.amount.fuel = fuel;
        used.amount.wall_ms = millis(used.at.since(self.started_at));
        note_usage(self.environment, [used]);
    }
}

/// Notes what was used by an attempt that nobody waits for any more, so that no row says so. Lost if the host ends at this
/// very moment.
pub(super) fn note_usage(environment: &Environment, used: impl IntoIterator<Item = Used>) {
    for used in used {
        let store = environment.store.clone();
        let note = async move {
            if let Err(error) = store.note_usage(used).await {
                tracing::warn!(%error, "the usage of an attempt could not be recorded");
            }
        };
        environment.tracker.spawn_on(note, &environment.runtime);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
