//! Counts what an attempt uses, exactly once however the attempt ends: in the metrics, against the tenant's fuel quota,
//! and in the usage records.

use std::time::Duration;

use super::call::Call;
use crate::engine::environment::Environment;
use crate::engine::stats::RunningAttempt;
use crate::model::{FunctionKind, Outcome, Timestamp, history::outcome_bytes};
use crate::sandbox::{ActivityRun, Meter, Traffic};
use crate::store::{Amount, Used};
use crate::tenancy::Work;

/// The accounting of a running attempt. Dropping it without calling [`end`](Self::end) means that the attempt was cut
/// off; its usage then counts as that of a failed attempt.
pub(super) struct AttemptAccounting<'a> {
    environment: &'a Environment,
    /// The attempt in the metrics; `None` once it has ended or did not run.
    counted: Option<RunningAttempt<'a>>,
    meter: Meter,
    started_at: Timestamp,
    /// The usage to record if the attempt is cut off, without fuel and time; `None` once it has ended.
    stopped: Option<Used>,
}

impl<'a> AttemptAccounting<'a> {
    /// Begins the accounting of an attempt.
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

    /// Counts the attempt's fuel while it runs.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Notes that the host could not run the attempt. Fuel that its guest used until then is counted on drop.
    pub(super) fn did_not_run(&mut self) {
        if let Some(counted) = self.counted.take() {
            counted.did_not_run();
        }
    }

    /// Ends the accounting of an attempt that was not cut off. Returns its usage, to be stored with its outcome.
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
        // An attempt without fuel did not run.
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

/// Records the usage of an attempt whose result no row will contain. The usage is lost if the host ends before it is
/// written.
pub(super) fn note_usage(environment: &Environment, used: impl IntoIterator<Item = Used>) {
    let sums = Used::sum(used);
    if sums.is_empty() {
        return;
    }
    let store = environment.store.clone();
    let note = async move {
        for used in sums {
            if let Err(error) = store.note_usage(used).await {
                tracing::warn!(%error, "the usage of an attempt could not be recorded");
            }
        }
    };
    environment.tracker.spawn_on(note, &environment.runtime);
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
