//! Activity calls in progress: starts and cancels them.
//!
//! A call in progress does not depend on its owner: the owner may be evicted, and another request to start the same
//! call does nothing. [`call`] runs each of them.
//!
//! A call takes memory from the budget of the host, from its start until its result is durable. A call for which there
//! is none is left out: it is in the history of its instance, whose owner starts it once there is memory. A result for
//! which there is none is stored in the inbox of its instance. While results that an instance has not taken pile up, its
//! calls get no slots ([`untaken`]).

mod accounting;
mod call;
mod completion;
mod control;
mod heartbeats;
mod table;
mod untaken;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

pub use self::table::Load;
use self::{
    call::{Call, Ending, Runner, TROUBLE_PAUSE},
    control::CallControl,
    table::{Key, Table},
    untaken::{Untaken, UntakenLimits},
};
use super::completions::start_calls;
use super::environment::Environment;
use super::flight_recorder::Flight;
use super::left_out::{LeftOut, LeftOutNext};
use super::mail::Mail;
use super::options::EngineOptions;
use super::owner::{ActivityResult, StartActivity};
use super::owners::Owners;
use super::shares::{Gate, Slots};
use crate::memory::{Held, Part, Pool};
use crate::model::{ExecutionNumber, InstanceId, InstanceNumber, TaskId, TenantId};
use crate::store::{Error as StoreError, Used};

/// All calls in progress. Cheap to clone.
#[derive(Clone)]
pub struct Activities(Arc<Inner>);

struct Inner {
    runner: Runner,
    /// `None` after [`Activities::stop`].
    calls: Mutex<Option<Table<CallControl>>>,
    /// The number of calls, readable without locking the table.
    count: AtomicUsize,
    /// The size of their inputs, in bytes.
    bytes: AtomicU64,
    /// Instances with calls that there was no memory for.
    left_out: LeftOut,
    /// How many results an instance may leave untaken.
    untaken: UntakenLimits,
}

/// What a call in progress does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallState {
    /// An attempt is running.
    Running,
    /// It waits for a slot, for memory, or for its next attempt.
    Waiting,
}

/// What a call takes from the memory budget besides its input, in bytes: its task and its entries in tables (measured),
/// and a small result.
const CALL_BYTES: u64 = 4 << 10;

/// How much of the part for calls the results that one instance has not taken may take before its calls get no slots.
const UNTAKEN_FRACTION: u64 = 16;

impl Activities {
    /// Starts without calls.
    pub(super) fn new(environment: Arc<Environment>, slots: Slots, gate: Gate, options: &EngineOptions) -> Self {
        let untaken = UntakenLimits {
            bytes: options
                .untaken_bytes
                .min(environment.memory.part(Part::Calls).limit() / UNTAKEN_FRACTION),
            at_once: options.activity_slots,
        };
        Self(Arc::new(Inner {
            untaken,
            runner: Runner {
                environment,
                slots,
                gate,
                grace: options.cancellation_grace,
                public_url: options.public_url.as_deref().map(Arc::from),
                waits: Arc::default(),
            },
            calls: Mutex::new(Some(Table::default())),
            count: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            left_out: LeftOut::new(options.left_out),
        }))
    }

    /// Starts a call, unless it is in progress. Returns false if there is no memory for it; the owner of the instance is
    /// then [told](Mail::StartCalls) when there is.
    pub fn start(
        &self,
        owners: &Owners,
        tenant: TenantId,
        instance: InstanceNumber,
        instance_id: &InstanceId,
        start: StartActivity,
    ) -> bool {
        let (execution, task) = (start.execution, start.task);
        let mut table = self.lock();
        let Some(table) = table.as_mut() else { return true };
        let key = (instance, execution, task);
        if table.has(key) {
            return true;
        }
        let size = CALL_BYTES + start.call.input.bytes();
        let Some(memory) = self.pool().try_take(tenant, size) else {
            self.leave_out(owners, tenant, instance);
            return false;
        };
        let control = CallControl::default();
        let known = table.untaken(instance).cloned();
        let untaken = known.unwrap_or_else(|| Untaken::new(self.0.untaken));
        let call = Call::new(
            tenant,
            instance,
            instance_id.clone(),
            start,
            control.clone(),
            untaken.clone(),
        );
        let bytes = call.input_bytes();
        let (activities, owners, counted) = (self.clone(), owners.clone(), untaken.clone());
        let serial = table.next_serial();
        let work = async move {
            let ending = activities.0.runner.carry_out(call).await;
            let starts_again = matches!(ending, Ending::Elsewhere);
            // Deliver the result before removing the call: an owner that takes over in between must not start it again.
            if let Ending::Result(result, memory_of_outcome) = ending {
                let on_its_way = counted.add(result.memory_bytes());
                if activities.deliver(&owners, (tenant, key.0), *result, memory).await {
                    on_its_way.arrived();
                }
                drop(memory_of_outcome);
            }
            activities.forget(key, serial);
            if starts_again {
                start_calls(&owners, tenant, key.0);
            }
        };
        let environment = &self.0.runner.environment;
        // The table stays locked until it contains the call, so the call cannot be removed earlier.
        let running = environment.tracker.spawn_on(work, &environment.runtime);
        control.runs_as(running.abort_handle());
        table.add(tenant, key, serial, control, bytes, &untaken);
        self.show(table);
        true
    }

    /// Drops the calls that are in progress.
    pub(super) fn drop_those_in_progress(&self, instance: InstanceNumber, start: &mut Vec<StartActivity>) {
        if let Some(table) = self.lock().as_ref() {
            start.retain(|start| !table.has((instance, start.execution, start.task)));
        }
    }

    /// Whether the call of an attempt is in progress.
    pub(super) fn is_in_progress(
        &self,
        Flight {
            instance,
            execution,
            task,
        }: Flight,
    ) -> bool {
        let table = self.lock();
        let has = |table: &Table<_>| task.is_some_and(|task| table.has((instance, execution, task)));
        table.as_ref().is_some_and(has)
    }

    /// What a call does; `None` if it is not in progress.
    pub(super) fn state(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Option<CallState> {
        let table = self.lock();
        let call = table.as_ref()?.get((instance, execution, task))?;
        Some(match call.is_running() {
            true => CallState::Running,
            false => CallState::Waiting,
        })
    }

    /// Delivers a result to its instance, or stores it if it does not fit into memory. Returns false if the instance does
    /// not wait for it any more.
    async fn deliver(
        &self,
        owners: &Owners,
        (tenant, instance): (TenantId, InstanceNumber),
        mut result: ActivityResult,
        mut memory: Held,
    ) -> bool {
        let size = result.memory_bytes();
        let missing = size.saturating_sub(memory.bytes());
        if missing == 0 || memory.try_grow(missing) {
            memory.resize(size);
            result.memory = Some(Arc::new(memory));
            match owners.deliver_result(tenant, instance, result) {
                Ok(()) => return true,
                Err(returned) => result = *returned,
            }
        }
        let store = &self.0.runner.environment.store;
        let (item, used) = result.into_inbox();
        loop {
            match store.deliver_used(instance, item.clone(), used.clone()).await {
                Ok(Some(row)) => {
                    owners.deliver(tenant, instance, Mail::Inbox(row));
                    return true;
                }
                Ok(None) | Err(StoreError::Closed | StoreError::NotOwner) => return false,
                Err(error) => {
                    tracing::error!(instance = instance.0, %error, "a result could not be stored; trying again");
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
            }
        }
    }

    /// Sets the size of all results that an instance has not taken yet; `None` if it takes none now.
    pub(super) fn set_untaken(&self, instance: InstanceNumber, bytes: Option<u64>) {
        let untaken = self.lock().as_ref().and_then(|table| table.untaken(instance).cloned());
        if let Some(untaken) = untaken {
            untaken.set(bytes);
        }
    }

    /// Notes that calls of an instance wait for memory.
    fn leave_out(&self, owners: &Owners, tenant: TenantId, instance: InstanceNumber) {
        if self.0.left_out.note(tenant, instance) {
            let environment = &self.0.runner.environment;
            let work = self.clone().start_those_left_out(owners.clone(), tenant);
            environment.tracker.spawn_on(work, &environment.runtime);
        }
    }

    /// Starts the calls of a tenant that were left out, one instance after the other, as memory becomes free: enough for
    /// many calls, because starting them one by one would read their instances again and again.
    async fn start_those_left_out(self, owners: Owners, tenant: TenantId) {
        let awaited = self.pool().small_bytes().max(CALL_BYTES);
        let work = async {
            loop {
                drop(self.pool().take(tenant, awaited).await);
                let instance = match self.0.left_out.next(&self.0.runner.environment, tenant).await {
                    Ok(LeftOutNext::Resume(instance)) => instance,
                    Ok(LeftOutNext::None { .. }) | Err(StoreError::Closed | StoreError::NotOwner) => return,
                    Err(error) => {
                        tracing::warn!(%error, "instances whose calls wait could not be read; trying again");
                        tokio::time::sleep(TROUBLE_PAUSE).await;
                        continue;
                    }
                };
                let (guard, done) = oneshot::channel();
                owners.deliver(tenant, instance, Mail::StartCalls(guard));
                let _ = done.await;
            }
        };
        self.0.runner.environment.shutdown.run_until_cancelled(work).await;
    }

    fn pool(&self) -> &Pool {
        self.0.runner.environment.memory.part(Part::Calls)
    }

    /// How many instances have calls that wait for memory.
    pub fn instances_left_out(&self) -> usize {
        self.0.left_out.count()
    }

    /// Publishes the totals for readers that do not lock the table.
    fn show(&self, table: &Table<CallControl>) {
        let Load { calls, bytes } = table.all();
        self.0.count.store(calls, Ordering::Relaxed);
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }

    /// How many calls are running or waiting for a slot or their next attempt.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Whether the calls reach a limit and the tenant has at least an even share of the exhausted resource: the limit
    /// divided by the number of tenants with calls.
    pub fn are_too_many(&self, tenant: TenantId, max: Load) -> bool {
        let all = Load {
            calls: self.count(),
            bytes: self.0.bytes.load(Ordering::Relaxed),
        };
        all.reaches(max) && self.lock().as_ref().is_none_or(|table| table.are_too_many(tenant, max))
    }

    /// Notified when a call begins to wait for its completion from outside.
    pub(super) fn waits(&self) -> Arc<Notify> {
        self.0.runner.waits.clone()
    }

    /// The slots in which attempts run.
    pub(super) fn slots(&self) -> &Slots {
        &self.0.runner.slots
    }

    /// Stops a call without delivering a result. An attempt that asks whether it is cancelled may clean up first; until
    /// then, the call counts. Returns whether the call was in progress.
    pub fn cancel(&self, instance: InstanceNumber, execution: ExecutionNumber, task: TaskId) -> bool {
        self.0.runner.environment.quiet_periods.ended(Flight {
            instance,
            execution,
            task: Some(task),
        });
        let mut table = self.lock();
        let Some(table) = table.as_mut() else { return false };
        let is_in_progress = table.cancel((instance, execution, task), CallControl::cancel);
        self.show(table);
        is_in_progress
    }

    /// Stops all calls of an instance, like [`cancel`](Self::cancel).
    pub fn cancel_all(&self, instance: InstanceNumber) {
        let mut table = self.lock();
        let Some(table) = table.as_mut() else { return };
        table.cancel_all(instance, CallControl::cancel);
        self.show(table);
    }

    /// Stops all calls at once, and starts no others. Their owners resume them at the next start of the host.
    pub fn stop(&self) {
        let table = self.lock().take();
        table.iter().flat_map(Table::handles).for_each(CallControl::abort);
    }

    /// Records the usage of an attempt whose result no row will contain. The usage is lost if the host ends before it
    /// is written.
    pub(super) fn note_usage(&self, used: impl IntoIterator<Item = Used>) {
        accounting::note_usage(&self.0.runner.environment, used);
    }

    /// Removes a call that has ended.
    fn forget(&self, key: Key, serial: u64) {
        let (instance, execution, task) = key;
        self.0.runner.environment.quiet_periods.ended(Flight {
            instance,
            execution,
            task: Some(task),
        });
        let mut table = self.lock();
        let Some(table) = table.as_mut() else { return };
        table.remove(key, serial);
        self.show(table);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Table<CallControl>>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
