//! Runs one activity call to its final outcome: slots, attempts, backoff and timeouts.
//!
//! What must survive a crash of the host (failed attempts, the time of the next one) is written before it takes effect.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::accounting::{AttemptAccounting, note_usage};
use super::completion::AttemptToken;
use super::control::CallControl;
use super::heartbeats::StoredHeartbeats;
use super::untaken::{Passage, Untaken};
use crate::engine::environment::Environment;
use crate::engine::flight_recorder::Flight;
use crate::engine::owner::{ActivityResult, StartActivity};
use crate::engine::shares::{Gate, Slot, Slots};
use crate::grants::Grants;
use crate::memory::{Held, Part};
use crate::model::{
    Failure, FunctionName, InstanceId, InstanceNumber, LogLine, Outcome, Payload, TenantId, Timestamp, failure::types,
    history::outcome_bytes,
};
use crate::replay::{HostUnavailable, randomness::idempotency_key};
use crate::sandbox::{ActivityRun, Attempt, Control, ControlOptions, GUEST_BASE_BYTES, Meter, Traffic};
use crate::store::{
    self, AttemptRow, AttemptsSoFar, Completion, CompletionChange, CompletionOutcome, CompletionState, TokenHash, Used,
};

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
    /// How long a cancelled attempt may clean up.
    pub(super) grace: Duration,
    /// The address of the host for others.
    pub(super) public_url: Option<Arc<str>>,
    /// Notified when a call begins to wait for its completion from outside.
    pub(super) waits: Arc<Notify>,
}

/// An outcome of at most this size, with its log lines, is counted with its call, in bytes.
const SMALL_OUTCOME: u64 = 2 << 10;

/// How often an outcome is in memory while it is stored: as a value, and encoded.
const COPIES: u64 = 2;

/// What an attempt needs besides memory. Dropped when the attempt has ended.
struct Place {
    slot: Slot,
    _passage: Passage,
}

impl Place {
    /// Returns the slot without having used it.
    fn give_back(self) {
        self.slot.give_back();
    }
}

/// How a call has ended in memory.
pub(super) enum Ending {
    /// With its final outcome, which may take memory until it is delivered or stored.
    Result(Box<ActivityResult>, Option<Held>),
    /// It is cancelled, its execution ends, or it waits to be completed from outside.
    Nothing,
    /// It was completed from outside while its attempt was running. If the attempt failed by that, the call starts again.
    Elsewhere,
}

impl Ending {
    fn of(result: ActivityResult) -> Self {
        Self::Result(Box::new(result), None)
    }
}

/// What a running attempt reports to.
#[derive(Clone, Copy)]
struct Reports<'a> {
    heartbeats: &'a StoredHeartbeats,
    token: &'a AttemptToken,
}

/// Whether an attempt says that its call is completed later.
fn completes_later(outcome: &Outcome) -> bool {
    matches!(outcome, Err(failure) if failure.error_type == types::COMPLETES_LATER)
}

/// One activity call.
pub(super) struct Call {
    pub(super) tenant: TenantId,
    instance: InstanceNumber,
    instance_id: InstanceId,
    start: StartActivity,
    so_far: AttemptsSoFar,
    control: CallControl,
    /// The results that its instance has not taken yet.
    untaken: Untaken,
    /// The deadline of the whole call.
    deadline: Option<Timestamp>,
    /// Failed tries to load the module since the last attempt.
    module_tries: u32,
    /// How much memory to take before the next attempt, in bytes.
    attempt_bytes: u64,
}

impl Runner {
    /// Runs a call to its end.
    pub(super) async fn carry_out(&self, mut call: Call) -> Ending {
        if let Some((failure, failed_at)) = call.so_far.undecided.take().map(|undecided| *undecided) {
            // The clock may have been set back since; the wait must not exceed the backoff for that reason.
            let failed_at = failed_at.min(self.now());
            let Some(next_at) = call.next_at(&failure, failed_at) else {
                return Ending::of(call.result(Err(failure), Vec::new(), 0, None));
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
                () = self.deadline(&call) => return Ending::of(call.late()),
            }
            let Some((place, memory)) = self.room(&call).await else {
                return Ending::of(call.late());
            };
            drop(waiting);
            let started_at = self.now();
            if call.is_late(started_at) {
                return Ending::of(call.late());
            }
            let mut accounting = AttemptAccounting::begin(&self.environment, &call, started_at);
            let heartbeats = self.heartbeats(&call);
            let token = self.token(&call, started_at);
            let reports = Reports {
                heartbeats: &heartbeats,
                token: &token,
            };
            let ran = self
                .attempt(&mut call, started_at, memory, accounting.meter(), reports)
                .await;
            let is_cancelled = call.control.attempt_ends();
            // Free the slot even if the host had no room: another attempt may fit.
            drop(place);
            let mut run = match ran {
                Ok(run) => run,
                Err(_) if is_cancelled => {
                    accounting.did_not_run();
                    return Ending::Nothing;
                }
                Err(HostUnavailable::NoMemory { needed }) => {
                    accounting.did_not_run();
                    call.so_far.has_heartbeat |= heartbeats.finish(true).await;
                    call.needs(needed);
                    continue;
                }
                Err(trouble) => {
                    accounting.did_not_run();
                    tracing::warn!(instance_id = %call.instance_id, task = call.start.task.0, %trouble, "an attempt cannot run now; trying again");
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(TROUBLE_PAUSE) => continue,
                        () = self.deadline(&call) => return Ending::of(call.late()),
                    }
                }
            };
            let memory = self.memory_of_outcome(call.tenant, &run);
            let ended_at = self.now();
            let issued = token.issued().await;
            let waits = !is_cancelled && issued.is_some() && completes_later(&run.outcome);
            if waits {
                run.outcome = Ok(Payload::null());
            }
            let used = accounting.end(&run, ended_at);
            self.environment.quiet_periods.ended(call.flight());
            if let Some(issued) = issued {
                let change = match waits {
                    true => CompletionChange::Wait { fuel: run.fuel },
                    false => CompletionChange::Close,
                };
                let lines = if waits {
                    std::mem::take(&mut run.logs)
                } else {
                    Vec::new()
                };
                let changed = self.change_completion(&call, &issued, change, lines).await;
                if waits || changed.is_none() {
                    heartbeats.finish(false).await;
                    note_usage(&self.environment, [used]);
                    self.waits.notify_one();
                    return changed.map_or(Ending::Elsewhere, |()| Ending::Nothing);
                }
            }
            if is_cancelled {
                heartbeats.finish(false).await;
                let failure = Failure::new(types::CANCELLED, "the attempt was cancelled");
                call.so_far.failed += 1;
                let row = call.ended_attempt(&failure, run.fuel, started_at, ended_at, None);
                self.note(&call, row, run.logs, used).await;
                return Ending::Nothing;
            }
            let failure = match run.outcome {
                Ok(output) => {
                    heartbeats.finish(false).await;
                    let result = call.result(Ok(output), run.logs, run.fuel, Some(used));
                    return Ending::Result(Box::new(result), memory);
                }
                Err(failure) => failure,
            };
            call.so_far.failed += 1;
            let next_at = call.next_at(&failure, ended_at);
            call.so_far.has_heartbeat |= heartbeats.finish(next_at.is_some()).await;
            let Some(next_at) = next_at else {
                let result = call.result(Err(failure), run.logs, run.fuel, Some(used));
                return Ending::Result(Box::new(result), memory);
            };
            let row = call.ended_attempt(&failure, run.fuel, started_at, ended_at, Some(next_at));
            if !self.note(&call, row, run.logs, used).await {
                return Ending::Nothing;
            }
            drop(memory);
            call.so_far.next_at = Some(next_at);
        }
    }

    /// Counts a large outcome until it is delivered or stored, while other attempts may use the slot. Its guest has just
    /// given back at least as much.
    fn memory_of_outcome(&self, tenant: TenantId, run: &ActivityRun) -> Option<Held> {
        let logs = run.logs.iter().map(|line| line.message.len() as u64);
        let bytes = outcome_bytes(&run.outcome) + logs.sum::<u64>();
        let pool = self.environment.memory.part(Part::Attempts);
        (bytes > SMALL_OUTCOME).then(|| pool.take_beyond_limit(tenant, bytes * COPIES))
    }

    /// Waits until the call may run, a slot is free and the budget has memory for the attempt; `None` if the call times out
    /// first. A slot is not held while an attempt waits for memory. Memory that an attempt had to wait for is kept while
    /// it waits for a slot again, but not while the call may not run: that may take for ever, and others need the memory.
    async fn room(&self, call: &Call) -> Option<(Place, Held)> {
        let pool = self.environment.memory.part(Part::Attempts);
        loop {
            let passage = self.passage(call).await?;
            let Some(place) = self.place(call, passage).await? else {
                continue;
            };
            if let Some(memory) = pool.try_take(call.tenant, call.attempt_bytes) {
                return Some((place, memory));
            }
            place.give_back();
            let memory = tokio::select! {
                biased;
                memory = pool.take(call.tenant, call.attempt_bytes) => memory,
                () = self.deadline(call) => return None,
            };
            if self.not_allowed_for(call).is_some() {
                continue;
            }
            let Some(passage) = self.try_pass(call) else {
                continue;
            };
            if let Some(place) = self.place(call, passage).await? {
                return Some((place, memory));
            }
        }
    }

    /// Waits until the tenant may run attempts and the instance has taken enough results; `None` if the call times out
    /// first.
    async fn passage(&self, call: &Call) -> Option<Passage> {
        self.until_allowed(call).await;
        if let Some(passage) = self.try_pass(call) {
            return Some(passage);
        }
        tokio::select! {
            biased;
            passage = call.untaken.until_low() => Some(passage),
            () = self.deadline(call) => None,
        }
    }

    /// Waits until a slot is free; `None` if the call times out first. Returns no place if the call may not run any more:
    /// the tenant may have been held meanwhile, and results may have piled up.
    async fn place(&self, call: &Call, passage: Passage) -> Option<Option<Place>> {
        let slot = tokio::select! {
            biased;
            slot = self.slots.acquire(call.tenant, call.function()) => slot,
            () = self.deadline(call) => return None,
        };
        if self.environment.tenancy.hold(call.tenant).is_none() && self.may_have_slot(call) {
            return Some(Some(Place {
                slot,
                _passage: passage,
            }));
        }
        slot.give_back();
        (!call.is_late(self.now())).then_some(None)
    }

    /// The passage of a call that may have a slot now.
    fn try_pass(&self, call: &Call) -> Option<Passage> {
        self.may_have_slot(call).then(|| call.untaken.pass())
    }

    /// Whether few results wait for the instance of a call. In a quiet period, they do not matter: the call is a suspect
    /// that has to run by itself, and its instance may be unable to take results.
    fn may_have_slot(&self, call: &Call) -> bool {
        call.untaken.is_low() || !self.environment.quiet_periods.are_over()
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
        Reports { heartbeats, token }: Reports<'_>,
    ) -> Result<ActivityRun, HostUnavailable> {
        let environment = &self.environment;
        let run = async {
            let code = environment.guests.activities(call.start.call.module).await?;
            let grants = environment.tenancy.grants(call.tenant, code.module_name());
            let control = Control::new(ControlOptions {
                heartbeat_timeout: call.start.call.options.heartbeat_timeout_ms.map(Duration::from_millis),
                grace: self.grace,
                previous: self.previous_details(call).await?,
                heartbeats: Some(Arc::new(heartbeats.clone())),
                completions: Some(Arc::new(token.clone())),
            });
            call.control.attempt_begins(control.clone());
            let attempt = call.next_attempt(started_at, self.now(), grants, meter.clone(), control);
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

    /// What an earlier attempt reported last.
    ///
    /// # Errors
    /// If it cannot be read now.
    async fn previous_details(&self, call: &Call) -> Result<Option<Payload>, HostUnavailable> {
        if !call.so_far.has_heartbeat {
            return Ok(None);
        }
        let (store, start) = (&self.environment.store, &call.start);
        let found = store.heartbeat(call.instance, start.execution, start.task).await;
        let found = found.map_err(|error| HostUnavailable::NoRoom(format!("the last heartbeat: {error}")))?;
        Ok(found.map(|heartbeat| heartbeat.details))
    }

    /// The token of the next attempt, in case that it asks for one.
    fn token(&self, call: &Call, started_at: Timestamp) -> AttemptToken {
        let start = &call.start;
        let attempt_timeout = start.call.options.attempt_timeout_ms.map(Duration::from_millis);
        let attempt_end = attempt_timeout.map(|timeout| started_at.after(timeout));
        let completion = Completion {
            execution: start.execution,
            task: start.task,
            token: TokenHash([0; 32]),
            state: CompletionState::Running,
            attempt: call.so_far.failed + 1,
            ordinal: call.so_far.noted + 1,
            fuel: 0,
            started_at,
            expires_at: attempt_end.into_iter().chain(call.deadline).min(),
        };
        AttemptToken::new(
            self.environment.clone(),
            call.instance,
            completion,
            self.public_url.clone(),
        )
    }

    /// Changes what is stored of the token of an attempt, retrying until it succeeds. Returns `None` if the token was used
    /// in the meantime, nobody waits for the call any more, or the host is shutting down.
    async fn change_completion(
        &self,
        call: &Call,
        completion: &Completion,
        change: CompletionChange,
        lines: Vec<LogLine>,
    ) -> Option<()> {
        let max_log_bytes = self.environment.tenancy.max_log_bytes(call.tenant);
        loop {
            let store = &self.environment.store;
            let changed = store.change_completion(
                call.instance,
                completion.clone(),
                change.clone(),
                lines.clone(),
                max_log_bytes,
            );
            match changed.await {
                Ok(CompletionOutcome::Changed(_)) => return Some(()),
                Ok(CompletionOutcome::Refused(_) | CompletionOutcome::Gone) | Err(store::Error::Closed) => return None,
                Err(error) => {
                    tracing::error!(instance = call.instance.0, %error, "the end of an attempt could not be recorded");
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
            }
        }
    }

    /// The heartbeats of the next attempt.
    fn heartbeats(&self, call: &Call) -> StoredHeartbeats {
        let (start, environment) = (&call.start, self.environment.clone());
        StoredHeartbeats::new(environment, call.instance, start.execution, start.task)
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
        while let Some(wait) = self.not_allowed_for(call) {
            let now = self.now();
            let latest = call.deadline.unwrap_or(Timestamp::MAX);
            let until = now.after(wait).min(latest);
            if until <= now {
                return;
            }
            self.sleep_until(until).await;
        }
    }

    /// How long to wait if the tenant is held or has exhausted its fuel quota.
    fn not_allowed_for(&self, call: &Call) -> Option<Duration> {
        /// Quotas may change during the wait.
        const LOOK_AGAIN: Duration = Duration::from_secs(1);
        let tenancy = &self.environment.tenancy;
        let wait = match tenancy.hold(call.tenant) {
            Some(_) => Some(LOOK_AGAIN),
            None => tenancy.fuel_wait(call.tenant),
        };
        wait.map(|wait| wait.min(LOOK_AGAIN))
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
        control: CallControl,
        untaken: Untaken,
    ) -> Self {
        Self {
            control,
            untaken,
            tenant,
            instance,
            instance_id,
            so_far: start.so_far.clone(),
            deadline: start.call.deadline(),
            start,
            module_tries: 0,
            attempt_bytes: GUEST_BASE_BYTES,
        }
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
    fn next_attempt(
        &self,
        started_at: Timestamp,
        now: Timestamp,
        grants: Arc<Grants>,
        meter: Meter,
        control: Control,
    ) -> Attempt {
        let call = &self.start.call;
        let attempt_timeout = call.options.attempt_timeout_ms.map(Duration::from_millis);
        let left = self.deadline.map(|deadline| deadline.since(started_at));
        Attempt {
            instance_id: self.instance_id.clone(),
            execution: self.start.execution,
            function: call.function.clone(),
            task: self.start.task,
            number: self.so_far.failed + 1,
            idempotency_key: idempotency_key(self.start.seed, self.start.origin).to_string(),
            input: call.input.clone(),
            now,
            timeout: attempt_timeout.into_iter().chain(left).min(),
            grants,
            meter,
            control,
        }
    }

    /// Counts an attempt that does not end the call, and returns its row.
    fn ended_attempt(
        &mut self,
        failure: &Failure,
        fuel: u64,
        started_at: Timestamp,
        ended_at: Timestamp,
        next_at: Option<Timestamp>,
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
            next_at,
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
