//! Activity calls on their way to an outcome: slots, attempts, backoff and time-outs.
//!
//! A call that is under way here belongs to nobody else: its owner may be evicted meanwhile, and asking for it again
//! does nothing. What must survive (failed attempts, when the next one is due) is written before it counts.

mod suspects;
mod table;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

pub(super) use self::suspects::Suspects;
pub use self::table::Load;
use self::table::{Key, Table};
use super::flight_recorder::{Flight, FlightRecorder};
use super::guests::Guests;
use super::mail::Mail;
use super::owner::{ActivityResult, StartActivity};
use super::owners::Owners;
use super::shares::{Gate, Slots};
use super::stats::EngineStats;
use crate::clock::Clock;
use crate::model::{
    ExecutionNumber, Failure, FunctionKind, InstanceId, InstanceNumber, LogLine, Outcome, TaskId, TenantId, Timestamp,
    failure::types, history::outcome_bytes,
};
use crate::replay::{HostUnavailable, randomness::idempotency_key};
use crate::sandbox::{ActivityRun, Attempt, Meter, Traffic};
use crate::store::{self, Amount, AttemptRow, AttemptsSoFar, Store, Used};
use crate::tenancy::{Tenancy, Work};

/// How long to wait before another try when the host itself is in trouble (no room, store failing).
const TROUBLE_PAUSE: Duration = Duration::from_millis(200);

/// How often a module that cannot be loaded is tried before the call fails.
const MODULE_TRIES: u32 = 5;

/// All calls under way. Cheap to clone.
#[derive(Clone)]
pub struct Activities(Arc<Inner>);

struct Inner {
    store: Store,
    guests: Arc<dyn Guests>,
    clock: Arc<dyn Clock>,
    tenancy: Tenancy,
    recorder: FlightRecorder,
    stats: Arc<EngineStats>,
    slots: Slots,
    gate: Gate,
    suspects: Suspects,
    /// None any more once they were stopped.
    calls: Mutex<Option<Table<AbortHandle>>>,
    /// Calls in the table, to be read without it.
    count: AtomicUsize,
    /// Bytes of their inputs.
    bytes: AtomicU64,
    runtime: tokio::runtime::Handle,
    tracker: TaskTracker,
}

/// What the calls need to run.
pub struct ActivitiesParts {
    /// Where failed attempts are noted.
    pub store: Store,
    /// What runs them.
    pub guests: Arc<dyn Guests>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What tenants are allowed and given.
    pub tenancy: Tenancy,
    /// Where running attempts are noted.
    pub recorder: FlightRecorder,
    /// Where attempts are counted.
    pub stats: Arc<EngineStats>,
    /// What attempts run in.
    pub(super) slots: Slots,
    /// What they pass to compute.
    pub(super) gate: Gate,
    /// Where attempts wait that ran when a host ended uncleanly.
    pub(super) suspects: Suspects,
    /// The runtime for guests.
    pub runtime: tokio::runtime::Handle,
    /// Waited for at shutdown.
    pub tracker: TaskTracker,
}

/// One call.
struct Call {
    tenant: TenantId,
    instance: InstanceNumber,
    instance_id: InstanceId,
    start: StartActivity,
    so_far: AttemptsSoFar,
    /// Failed tries to load the module since an attempt ran.
    module_tries: u32,
}

impl Activities {
    /// No call under way yet.
    pub fn new(parts: ActivitiesParts) -> Self {
        let ActivitiesParts {
            store,
            guests,
            clock,
            tenancy,
            recorder,
            stats,
            slots,
            gate,
            suspects,
            runtime,
            tracker,
        } = parts;
        Self(Arc::new(Inner {
            store,
            guests,
            clock,
            tenancy,
            recorder,
            stats,
            slots,
            gate,
            suspects,
            calls: Mutex::new(Some(Table::default())),
            count: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            runtime,
            tracker,
        }))
    }

    /// Starts a call, unless it is under way.
    pub fn start(
        &self,
        owners: &Owners,
        tenant: TenantId,
        instance: InstanceNumber,
        instance_id: &InstanceId,
        start: StartActivity,
    ) {
        let (execution, task) = (start.execution, start.task);
        let mut table = self.lock();
        let Some(table) = table.as_mut() else { return };
        let key = (instance, execution, task);
        if table.has(key) {
            return;
        }
        let bytes = start.call.input.bytes();
        let call = Call {
            tenant,
            instance,
            instance_id: instance_id.clone(),
            so_far: start.so_far.clone(),
            start,
            module_tries: 0,
        };
        let (activities, owners) = (self.clone(), owners.clone());
        let work = async move {
            let result = activities.carry_out(call).await;
            // Delivered before it is forgotten: an owner that takes over in between must not start it again.
            if let Some(result) = result {
                owners.deliver(key.0, Mail::Result(result));
            }
            activities.forget(key);
        };
        // The table is locked until the call is in it; it cannot be forgotten before.
        let running = self.0.tracker.spawn_on(work, &self.0.runtime);
        table.add(tenant, key, running.abort_handle(), bytes);
        self.show(table);
    }

    /// Lets the sums be read without the table, which is locked.
    fn show(&self, table: &Table<AbortHandle>) {
        let Load { calls, bytes } = table.all();
        self.0.count.store(calls, Ordering::Relaxed);
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }

    /// How many calls run or wait for a slot or their next attempt.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Whether there are as many calls, or as large ones, as there may be, and the tenant has as much of them as each would
    /// have if all who have some had the same.
    pub fn are_too_many(&self, tenant: TenantId, max: Load) -> bool {
        let all = Load {
            calls: self.count(),
            bytes: self.0.bytes.load(Ordering::Relaxed),
        };
        all.reaches(max) && self.lock().as_ref().is_none_or(|table| table.are_too_many(tenant, max))
    }

    /// The slots in which attempts run.
    pub(super) fn slots(&self) -> &Slots {
        &self.0.slots
    }

    /// Stops a call; nothing more is heard of it.
    pub fn cancel(&self, instance: InstanceNumber, execution: ExecutionNumber, task: TaskId) {
        if let Some(call) = self.remove((instance, execution, task)) {
            call.abort();
        }
    }

    /// Stops all calls of an instance.
    pub fn cancel_all(&self, instance: InstanceNumber) {
        let mut table = self.lock();
        let Some(table) = table.as_mut() else { return };
        let stopped = table.remove_all(instance);
        self.show(table);
        stopped.iter().for_each(AbortHandle::abort);
    }

    /// Stops all calls and starts none any more; their instances find them again at the next start.
    pub fn stop(&self) {
        let table = self.lock().take();
        table.iter().flat_map(Table::handles).for_each(AbortHandle::abort);
    }

    /// Notes what was used by an attempt that nobody waits for any more, so that no row says so. Lost if the host ends at this
    /// very moment.
    pub(super) fn note_usage(&self, used: impl IntoIterator<Item = Used>) {
        for used in used {
            let store = self.0.store.clone();
            let note = async move {
                if let Err(error) = store.note_usage(used).await {
                    tracing::warn!(%error, "the usage of an attempt could not be recorded");
                }
            };
            self.0.tracker.spawn_on(note, &self.0.runtime);
        }
    }

    fn forget(&self, key: Key) {
        self.remove(key);
    }

    fn remove(&self, key: Key) -> Option<AbortHandle> {
        let mut table = self.lock();
        let table = table.as_mut()?;
        let call = table.remove(key)?;
        self.show(table);
        Some(call)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Table<AbortHandle>>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a call to its final outcome; to none if its execution ends before another attempt.
    async fn carry_out(&self, mut call: Call) -> Option<ActivityResult> {
        let deadline = call.start.call.deadline();
        if let Some((failure, failed_at)) = call.so_far.undecided.take().map(|undecided| *undecided) {
            // The clock may have been set back since. Nobody waits longer than the policy says for that.
            let failed_at = failed_at.min(self.0.clock.now());
            let Some(next_at) = call.next_at(&failure, failed_at) else {
                return Some(call.result(Err(failure), Vec::new(), 0, None));
            };
            call.so_far.next_at = Some(next_at);
        }
        loop {
            if let Some(next_at) = call.so_far.next_at.take() {
                self.sleep_until(next_at.min(deadline.unwrap_or(Timestamp::MAX))).await;
            }
            let waiting = self.0.stats.attempts.waiting.hold();
            // Before a slot, which others can use meanwhile.
            let _admission = tokio::select! {
                biased;
                admission = self.0.suspects.enter(call.so_far.cut_offs) => admission,
                () = self.deadline(deadline) => return Some(call.late()),
            };
            let slot = loop {
                self.until_allowed(call.tenant, deadline).await;
                let slot = tokio::select! {
                    biased;
                    slot = self.0.slots.acquire(call.tenant, &call.start.call.function) => slot,
                    () = self.deadline(deadline) => return Some(call.late()),
                };
                // It may have waited long for the slot.
                if self.0.tenancy.hold(call.tenant).is_none() {
                    break slot;
                }
                if deadline.is_some_and(|deadline| deadline <= self.0.clock.now()) {
                    return Some(call.late());
                }
            };
            drop(waiting);
            let started_at = self.0.clock.now();
            if deadline.is_some_and(|deadline| deadline <= started_at) {
                return Some(call.late());
            }
            let counted = self.0.stats.attempts.begin();
            let accounting = AttemptAccounting::begin(self, &call, started_at);
            let run = match self.attempt(&mut call, started_at, deadline, &accounting.meter).await {
                Ok(run) => run,
                Err(trouble) => {
                    // Others may have room for theirs: the slot is not kept from them while this one waits for its own.
                    drop(slot);
                    counted.did_not_run();
                    tracing::warn!(instance_id = %call.instance_id, task = call.start.task.0, %trouble, "no room for an attempt; it waits");
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(TROUBLE_PAUSE) => continue,
                        () = self.deadline(deadline) => return Some(call.late()),
                    }
                }
            };
            drop(slot);
            accounting.settle(run.fuel);
            counted.end(&run.outcome, run.fuel);
            let (failure, logs, fuel) = match run.outcome {
                Ok(output) => {
                    let outcome = Ok(output.clone());
                    let used = call.used(started_at, self.0.clock.now(), run.fuel, run.traffic, &outcome);
                    return Some(call.result(Ok(output), run.logs, run.fuel, Some(used)));
                }
                Err(failure) => (failure, run.logs, run.fuel),
            };
            call.so_far.failed += 1;
            call.so_far.cut_offs = 0;
            let now = self.0.clock.now();
            let used = call.used(started_at, now, fuel, run.traffic, &Err(failure.clone()));
            let Some(next_at) = call.next_at(&failure, now) else {
                return Some(call.result(Err(failure), logs, fuel, Some(used)));
            };
            call.so_far.noted += 1;
            let row = AttemptRow {
                execution: call.start.execution,
                task: call.start.task,
                ordinal: call.so_far.noted,
                number: call.so_far.failed,
                cut_off: false,
                failure: failure.abridged(),
                fuel,
                started_at,
                ended_at: now,
                next_at: Some(next_at),
            };
            if !self.note(&call, row, logs, used).await {
                return None;
            }
            call.so_far.next_at = Some(next_at);
        }
    }

    /// Runs one attempt.
    ///
    /// # Errors
    /// When the host has no room for it now, or cannot load the module, which fails the attempt if it comes again and again.
    async fn attempt(
        &self,
        call: &mut Call,
        now: Timestamp,
        deadline: Option<Timestamp>,
        meter: &Meter,
    ) -> Result<ActivityRun, HostUnavailable> {
        let ActivityCallParts {
            function,
            input,
            module,
            attempt_timeout,
            timeout,
        } = call.parts(now, deadline);
        let run = async {
            let code = self.0.guests.activities(module).await?;
            let attempt = Attempt {
                instance_id: call.instance_id.clone(),
                execution: call.start.execution,
                function,
                task: call.start.task,
                number: call.so_far.failed + 1,
                idempotency_key: idempotency_key(call.start.seed, call.start.task).to_string(),
                input,
                now: self.0.clock.now(),
                timeout: attempt_timeout.into_iter().chain(timeout).min(),
                grants: self.0.tenancy.grants(call.tenant, code.module_name()),
                meter: meter.clone(),
            };
            let _recording = self.0.recorder.record(Flight {
                instance: call.instance,
                execution: call.start.execution,
                task: Some(call.start.task),
            });
            code.run(attempt).await
        };
        match self.0.gate.run(call.tenant, || meter.fuel(), run).await {
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

    /// Writes a failed attempt down, however long it takes: a retry that is not durable would count anew. Says whether
    /// it was noted; if not, the execution has ended or the host is ending, and nobody waits for another attempt.
    async fn note(&self, call: &Call, row: AttemptRow, logs: Vec<LogLine>, used: Used) -> bool {
        let (instance, max_log_bytes) = (call.instance, self.0.tenancy.max_log_bytes(call.tenant));
        loop {
            let noted =
                self.0
                    .store
                    .note_attempt(instance, row.clone(), logs.clone(), max_log_bytes, Some(used.clone()));
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

    /// Waits while a tenant is held or has used up its fuel for now; until the deadline at most.
    async fn until_allowed(&self, tenant: TenantId, deadline: Option<Timestamp>) {
        /// Quotas may change meanwhile.
        const LOOK_AGAIN: Duration = Duration::from_secs(1);
        let wait = || match self.0.tenancy.hold(tenant) {
            Some(_) => Some(LOOK_AGAIN),
            None => self.0.tenancy.fuel_wait(tenant),
        };
        while let Some(wait) = wait() {
            let now = self.0.clock.now();
            let until = now.after(wait.min(LOOK_AGAIN)).min(deadline.unwrap_or(Timestamp::MAX));
            if until <= now {
                return;
            }
            self.sleep_until(until).await;
        }
    }

    async fn deadline(&self, deadline: Option<Timestamp>) {
        match deadline {
            Some(deadline) => self.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// Sleeps until the clock shows that time, and looks at it at least once a minute, because clocks jump. If the clock is
    /// set back meanwhile, it sleeps for as long as it would have taken.
    async fn sleep_until(&self, time: Timestamp) {
        const LOOK_AGAIN: Duration = Duration::from_secs(60);
        /// A clock that merely goes slowly does not end the sleep early.
        const TOLERATED_SLOWNESS: Duration = Duration::from_secs(1);
        let mut longest = time.since(self.0.clock.now()).saturating_add(TOLERATED_SLOWNESS);
        loop {
            let left = time.since(self.0.clock.now()).min(longest);
            if left.is_zero() {
                return;
            }
            let nap = left.min(LOOK_AGAIN);
            tokio::time::sleep(nap).await;
            longest -= nap;
        }
    }
}

/// What an attempt uses while it runs. Whoever drops it without having settled it stopped the attempt in the middle: then
/// what it used is counted all the same, as of one that failed.
struct AttemptAccounting<'a> {
    activities: &'a Activities,
    meter: Meter,
    started_at: Timestamp,
    /// What it will have used, fuel and time apart; none once that is settled.
    open: Option<Used>,
}

impl<'a> AttemptAccounting<'a> {
    fn begin(activities: &'a Activities, call: &Call, started_at: Timestamp) -> Self {
        let stopped = Failure::new(types::CANCELLED, String::new());
        Self {
            activities,
            meter: Meter::default(),
            started_at,
            open: Some(call.used(started_at, started_at, 0, Traffic::default(), &Err(stopped))),
        }
    }

    /// It came to an end of its own, and somebody else notes what it used.
    fn settle(mut self, fuel: u64) {
        if let Some(used) = self.open.take() {
            let work = Work {
                attempts: 1,
                fuel,
                ..Work::default()
            };
            self.activities.0.tenancy.count_work(used.tenant, work);
        }
    }
}

impl Drop for AttemptAccounting<'_> {
    fn drop(&mut self) {
        let fuel = self.meter.fuel();
        // What never ran is no attempt.
        let Some(mut used) = self.open.take().filter(|_| fuel > 0) else {
            return;
        };
        let inner = &self.activities.0;
        let work = Work {
            fuel,
            ..Work::default()
        };
        inner.tenancy.count_work(used.tenant, work);
        used.at = inner.clock.now();
        used.amount.fuel = fuel;
        used.amount.wall_ms = millis(used.at.since(self.started_at));
        used.amount.bytes_out = 0;
        self.activities.note_usage([used]);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

struct ActivityCallParts {
    function: crate::model::FunctionName,
    input: crate::model::Payload,
    module: crate::model::ModuleNumber,
    attempt_timeout: Option<Duration>,
    /// What is left of the time for the whole call.
    timeout: Option<Duration>,
}

impl Call {
    /// When the next attempt starts, after one that failed at that time and is counted already; none if there is none.
    fn next_at(&self, failure: &Failure, failed_at: Timestamp) -> Option<Timestamp> {
        let call = &self.start.call;
        let wait = call.options.retry.as_ref()?.wait_after(self.so_far.failed, failure)?;
        let next_at = failed_at.after(wait);
        call.deadline()
            .is_none_or(|deadline| next_at < deadline)
            .then_some(next_at)
    }

    fn parts(&self, now: Timestamp, deadline: Option<Timestamp>) -> ActivityCallParts {
        let call = &self.start.call;
        ActivityCallParts {
            function: call.function.clone(),
            input: call.input.clone(),
            module: call.module,
            attempt_timeout: call.options.attempt_timeout_ms.map(Duration::from_millis),
            timeout: deadline.map(|deadline| deadline.since(now)),
        }
    }

    /// What an attempt used, for the books.
    fn used(&self, started_at: Timestamp, ended_at: Timestamp, fuel: u64, traffic: Traffic, outcome: &Outcome) -> Used {
        Used {
            tenant: self.tenant,
            kind: FunctionKind::Activity,
            function: self.start.call.function.clone(),
            at: ended_at,
            amount: Amount {
                count: 1,
                failed: outcome.is_err().into(),
                fuel,
                wall_ms: millis(ended_at.since(started_at)),
                bytes_in: self.start.call.input.bytes(),
                bytes_out: outcome_bytes(outcome),
                http_sent: traffic.sent,
                http_received: traffic.received,
            },
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
        }
    }

    /// The whole call has run out of time.
    fn late(&self) -> ActivityResult {
        let call = &self.start.call;
        let allowed = call.options.timeout_ms.unwrap_or_default();
        let message = format!("activity {} had no outcome within {allowed} ms", call.function);
        self.result(Err(Failure::new(types::TIMEOUT, message)), Vec::new(), 0, None)
    }
}
