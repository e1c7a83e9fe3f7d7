//! Runs one activity call to its final outcome: slots, attempts, backoff and timeouts.
//!
//! What must survive a crash of the host (failed attempts, the time of the next one) is written before it takes effect.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::accounting::AttemptAccounting;
use crate::engine::environment::Environment;
use crate::engine::flight_recorder::Flight;
use crate::engine::owner::{ActivityResult, StartActivity};
use crate::engine::shares::{Gate, Slot, Slots};
use crate::grants::Grants;
use crate::memory::{Held, Part};
use crate::model::{
    Failure, FunctionName, InstanceId, InstanceNumber, LogLine, Outcome, TenantId, Timestamp, failure::types,
};
use crate::replay::{HostUnavailable, randomness::idempotency_key};
use crate::sandbox::{ActivityRun, Attempt, GUEST_BASE_BYTES, Meter, Traffic};
use crate::store::{self, AttemptRow, AttemptsSoFar, Used};

/// The delay before the next try if the host has no room or the store fails.
pub(super) const TROUBLE_PAUSE: Duration = Duration::from_millis(200);

/// How often loading a module is tried before the attempt fails.
const MODULE_TRIES: u32 = 5;

/// What all calls share.
pub(super) struct Runner {
    pub(super) environment: Arc<Environment>,
    /// The slots in which attempts run.
    pub(super) slots: Slots,
    /// The gate in front of the guest threads.
    pub(super) gate: Gate,
}

/// One activity call.
pub(super) struct Call {
    pub(super) tenant: TenantId,
    instance: InstanceNumber,
    instance_id: InstanceId,
    start: StartActivity,
    so_far: AttemptsSoFar,
    /// The deadline of the whole call.
    deadline: Option<Timestamp>,
    /// Failed tries to load the module since the last attempt.
    module_tries: u32,
    /// How much memory to take before the next attempt, in bytes.
    attempt_bytes: u64,
    /// Whether an attempt is running, for queries.
    is_running: Arc<AtomicBool>,
}

impl Runner {
    /// Runs a call to its final outcome; `None` if its execution ends before the next attempt.
    pub(super) async fn carry_out(&self, mut call: Call) -> Option<ActivityResult> {
        if let Some((failure, failed_at)) = call.so_far.undecided.take().map(|undecided| *undecided) {
            // The clock may have been set back since; the wait must not exceed the backoff for that reason.
            let failed_at = failed_at.min(self.now());
            let Some(next_at) = call.next_at(&failure, failed_at) else {
                return Some(call.result(Err(failure), Vec::new(), 0, None));
            };
            call.so_far.next_at = Some(next_at);
        }
        loop {
            if let Some(next_at) = call.so_far.next_at.take() {
                self.sleep_until(next_at.min(call.deadline.unwrap_or(Timestamp::MAX)))
                    .await;
            }
            let waiting = self.environment.stats.attempts.waiting.hold();
            // Before taking a slot, which other calls can use in the meantime.
            tokio::select! {
                biased;
                () = self.environment.quiet_periods.until_admitted(call.flight()) => {}
                () = self.deadline(&call) => return Some(call.late()),
            }
            let Some((slot, memory)) = self.room(&call).await else {
                return Some(call.late());
            };
            drop(waiting);
            let started_at = self.now();
            if call.is_late(started_at) {
                return Some(call.late());
            }
            let mut accounting = AttemptAccounting::begin(&self.environment, &call, started_at);
            call.is_running.store(true, Ordering::Relaxed);
            let ran = self.attempt(&mut call, started_at, memory, accounting.meter()).await;
            call.is_running.store(false, Ordering::Relaxed);
            // Free the slot even if the host had no room: another attempt may fit.
            drop(slot);
            let run = match ran {
                Ok(run) => run,
                Err(HostUnavailable::NoMemory { needed }) => {
                    accounting.did_not_run();
                    call.needs(needed);
                    continue;
                }
                Err(trouble) => {
                    accounting.did_not_run();
                    tracing::warn!(instance_id = %call.instance_id, task = call.start.task.0, %trouble, "an attempt cannot run now; trying again");
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(TROUBLE_PAUSE) => continue,
                        () = self.deadline(&call) => return Some(call.late()),
                    }
                }
            };
            let ended_at = self.now();
            let used = accounting.end(&run, ended_at);
            self.environment.quiet_periods.ended(call.flight());
            let failure = match run.outcome {
                Ok(output) => return Some(call.result(Ok(output), run.logs, run.fuel, Some(used))),
                Err(failure) => failure,
            };
            call.so_far.failed += 1;
            let Some(next_at) = call.next_at(&failure, ended_at) else {
                return Some(call.result(Err(failure), run.logs, run.fuel, Some(used)));
            };
            let row = call.failed_attempt(&failure, run.fuel, started_at, ended_at, next_at);
            if !self.note(&call, row, run.logs, used).await {
                return None;
            }
            call.so_far.next_at = Some(next_at);
        }
    }

    /// Waits until a slot is free and the budget has memory for the attempt; `None` if the call times out first. Neither
    /// is held while an attempt waits for the other one, except that an attempt that had to wait for memory keeps it while
    /// it waits for a slot again.
    async fn room(&self, call: &Call) -> Option<(Slot, Held)> {
        let pool = self.environment.memory.part(Part::Attempts);
        let slot = self.slot(call).await?;
        if let Some(memory) = pool.try_take(call.tenant, call.attempt_bytes) {
            return Some((slot, memory));
        }
        drop(slot);
        let memory = tokio::select! {
            biased;
            memory = pool.take(call.tenant, call.attempt_bytes) => memory,
            () = self.deadline(call) => return None,
        };
        Some((self.slot(call).await?, memory))
    }

    /// Waits until the tenant may run attempts and a slot is free; `None` if the call times out first.
    async fn slot(&self, call: &Call) -> Option<Slot> {
        loop {
            self.until_allowed(call).await;
            let slot = tokio::select! {
                biased;
                slot = self.slots.acquire(call.tenant, call.function()) => slot,
                () = self.deadline(call) => return None,
            };
            // The tenant may have been held while the call waited for the slot.
            if self.environment.tenancy.hold(call.tenant).is_none() {
                return Some(slot);
            }
            if call.is_late(self.now()) {
                return None;
            }
        }
    }

    /// Runs one attempt.
    ///
    /// # Errors
    /// If the host has no room for it, or cannot load the module. After [`MODULE_TRIES`] tries, the latter fails the
    /// attempt instead.
    async fn attempt(
        &self,
        call: &mut Call,
        started_at: Timestamp,
        memory: Held,
        meter: &Meter,
    ) -> Result<ActivityRun, HostUnavailable> {
        let environment = &self.environment;
        let run = async {
            let code = environment.guests.activities(call.start.call.module).await?;
            let grants = environment.tenancy.grants(call.tenant, code.module_name());
            let attempt = call.next_attempt(started_at, self.now(), grants, meter.clone());
            let _recording = environment.recorder.record(call.flight());
            code.run(attempt, memory).await
        };
        match self.gate.run(call.tenant, || meter.fuel(), run).await {
            Err(HostUnavailable::Module(message)) if call.module_tries + 1 >= MODULE_TRIES => {
                call.module_tries = 0;
                Ok(ActivityRun {
                    outcome: Err(Failure::new(types::MODULE, message)),
                    fuel: 0,
                    traffic: Traffic::default(),
                    logs: Vec::new(),
                })
            }
            Err(trouble) => {
                call.module_tries += u32::from(matches!(trouble, HostUnavailable::Module(_)));
                Err(trouble)
            }
            Ok(run) => {
                call.module_tries = 0;
                Ok(run)
            }
        }
    }

    /// Records a failed attempt, retrying until it succeeds: a retry that is not durable would be counted again after a
    /// crash. Returns false if the execution has ended or the host is shutting down, so that no further attempt is
    /// needed.
    async fn note(&self, call: &Call, row: AttemptRow, logs: Vec<LogLine>, used: Used) -> bool {
        let (store, instance) = (&self.environment.store, call.instance);
        let max_log_bytes = self.environment.tenancy.max_log_bytes(call.tenant);
        loop {
            let noted = store.note_attempt(instance, row.clone(), logs.clone(), max_log_bytes, Some(used.clone()));
            match noted.await {
                Ok(noted) => return noted,
                Err(store::Error::Closed) => return false,
                Err(error) => {
                    tracing::error!(instance = instance.0, %error, "a failed attempt could not be recorded");
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
            }
        }
    }

    /// Waits while the tenant is held or has exhausted its fuel quota, at most until the deadline.
    async fn until_allowed(&self, call: &Call) {
        /// Quotas may change during the wait.
        const LOOK_AGAIN: Duration = Duration::from_secs(1);
        let tenancy = &self.environment.tenancy;
        let wait = || match tenancy.hold(call.tenant) {
            Some(_) => Some(LOOK_AGAIN),
            None => tenancy.fuel_wait(call.tenant),
        };
        while let Some(wait) = wait() {
            let now = self.now();
            let latest = call.deadline.unwrap_or(Timestamp::MAX);
            let until = now.after(wait.min(LOOK_AGAIN)).min(latest);
            if until <= now {
                return;
            }
            self.sleep_until(until).await;
        }
    }

    async fn deadline(&self, call: &Call) {
        match call.deadline {
            Some(deadline) => self.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// Sleeps until the clock shows this time. Reads the clock at least once a minute, because it may jump; if it is
    /// set back, the sleep does not take longer.
    async fn sleep_until(&self, time: Timestamp) {
        const LOOK_AGAIN: Duration = Duration::from_secs(60);
        /// A clock that runs slowly does not end the sleep early.
        const TOLERATED_SLOWNESS: Duration = Duration::from_secs(1);
        let mut longest = time.since(self.now()).saturating_add(TOLERATED_SLOWNESS);
        loop {
            let left = time.since(self.now()).min(longest);
            if left.is_zero() {
                return;
            }
            let nap = left.min(LOOK_AGAIN);
            tokio::time::sleep(nap).await;
            longest -= nap;
        }
    }

    fn now(&self) -> Timestamp {
        self.environment.clock.now()
    }
}

impl Call {
    pub(super) fn new(
        tenant: TenantId,
        instance: InstanceNumber,
        instance_id: InstanceId,
        start: StartActivity,
    ) -> Self {
        Self {
            tenant,
            instance,
            instance_id,
            so_far: start.so_far.clone(),
            deadline: start.call.deadline(),
            start,
            module_tries: 0,
            attempt_bytes: GUEST_BASE_BYTES,
            is_running: Arc::default(),
        }
    }

    /// Shows whether an attempt is running.
    pub(super) fn is_running(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_running)
    }

    /// Notes that an attempt needed this much memory, but could not take it. The next one takes twice as much in advance,
    /// so that few attempts are dropped.
    fn needs(&mut self, needed: u64) {
        self.attempt_bytes = needed.saturating_mul(2);
    }

    /// Its attempts, as the flight recorder and the quiet periods know them.
    fn flight(&self) -> Flight {
        Flight {
            instance: self.instance,
            execution: self.start.execution,
            task: Some(self.start.task),
        }
    }

    /// The name of the activity.
    pub(super) fn function(&self) -> &FunctionName {
        &self.start.call.function
    }

    /// The size of its input, in bytes.
    pub(super) fn input_bytes(&self) -> u64 {
        self.start.call.input.bytes()
    }

    /// When the next attempt starts, after one that failed at `failed_at` and is already counted; `None` if there is no
    /// further attempt.
    fn next_at(&self, failure: &Failure, failed_at: Timestamp) -> Option<Timestamp> {
        let retry = self.start.call.options.retry.as_ref()?;
        let next_at = failed_at.after(retry.wait_after(self.so_far.failed, failure)?);
        (!self.is_late(next_at)).then_some(next_at)
    }

    /// Whether the call has timed out at this time.
    fn is_late(&self, time: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= time)
    }

    /// The next attempt. Its timeout counts from `started_at`.
    fn next_attempt(&self, started_at: Timestamp, now: Timestamp, grants: Arc<Grants>, meter: Meter) -> Attempt {
        let call = &self.start.call;
        let attempt_timeout = call.options.attempt_timeout_ms.map(Duration::from_millis);
        let left = self.deadline.map(|deadline| deadline.since(started_at));
        Attempt {
            instance_id: self.instance_id.clone(),
            execution: self.start.execution,
            function: call.function.clone(),
            task: self.start.task,
            number: self.so_far.failed + 1,
            idempotency_key: idempotency_key(self.start.seed, self.start.task).to_string(),
            input: call.input.clone(),
            now,
            timeout: attempt_timeout.into_iter().chain(left).min(),
            grants,
            meter,
        }
    }

    /// Counts a failed attempt that will be retried, and returns its row.
    fn failed_attempt(
        &mut self,
        failure: &Failure,
        fuel: u64,
        started_at: Timestamp,
        ended_at: Timestamp,
        next_at: Timestamp,
    ) -> AttemptRow {
        self.so_far.noted += 1;
        AttemptRow {
            execution: self.start.execution,
            task: self.start.task,
            ordinal: self.so_far.noted,
            number: self.so_far.failed,
            cut_off: false,
            failure: failure.abridged(),
            fuel,
            started_at,
            ended_at,
            next_at: Some(next_at),
        }
    }

    fn result(&self, outcome: Outcome, logs: Vec<LogLine>, fuel: u64, used: Option<Used>) -> ActivityResult {
        ActivityResult {
            execution: self.start.execution,
            task: self.start.task,
            outcome,
            logs,
            fuel,
            used,
            memory: None,
        }
    }

    /// The outcome of a call that timed out.
    fn late(&self) -> ActivityResult {
        let call = &self.start.call;
        let allowed = call.options.timeout_ms.unwrap_or_default();
        let message = format!("activity {} had no outcome within {allowed} ms", call.function);
        self.result(Err(Failure::new(types::TIMEOUT, message)), Vec::new(), 0, None)
    }
}
