//! Activity calls in progress: starts and cancels them.
//!
//! A call in progress does not depend on its owner: the owner may be evicted, and another request to start the same
//! call does nothing. [`call`] runs each of them.

mod accounting;
mod call;
mod suspects;
mod table;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

pub use self::table::Load;
use self::{
    call::{Call, Runner},
    suspects::Suspects,
    table::{Key, Table},
};
use super::environment::Environment;
use super::mail::Mail;
use super::owner::StartActivity;
use super::owners::Owners;
use super::shares::{Gate, Slots};
use crate::model::{ExecutionNumber, InstanceId, InstanceNumber, TaskId, TenantId};
use crate::store::Used;

/// All calls in progress. Cheap to clone.
#[derive(Clone)]
pub struct Activities(Arc<Inner>);

struct Inner {
    runner: Runner,
    /// `None` after [`Activities::stop`].
    calls: Mutex<Option<Table<AbortHandle>>>,
    /// The number of calls, readable without locking the table.
    count: AtomicUsize,
    /// The size of their inputs, in bytes.
    bytes: AtomicU64,
}

impl Activities {
    /// Starts without calls.
    pub(super) fn new(environment: Arc<Environment>, slots: Slots, gate: Gate) -> Self {
        Self(Arc::new(Inner {
            runner: Runner {
                environment,
                slots,
                gate,
                suspects: Suspects::default(),
            },
            calls: Mutex::new(Some(Table::default())),
            count: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        }))
    }

    /// Starts a call, unless it is in progress.
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
        let call = Call::new(tenant, instance, instance_id.clone(), start);
        let bytes = call.input_bytes();
        let (activities, owners) = (self.clone(), owners.clone());
        let work = async move {
            let result = activities.0.runner.carry_out(call).await;
            // Deliver the result before removing the call: an owner that takes over in between must not start it again.
            if let Some(result) = result {
                owners.deliver(key.0, Mail::Result(result));
            }
            activities.forget(key);
        };
        let environment = &self.0.runner.environment;
        // The table stays locked until it contains the call, so the call cannot be removed earlier.
        let running = environment.tracker.spawn_on(work, &environment.runtime);
        table.add(tenant, key, running.abort_handle(), bytes);
        self.show(table);
    }

    /// Publishes the totals for readers that do not lock the table.
    fn show(&self, table: &Table<AbortHandle>) {
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

    /// The slots in which attempts run.
    pub(super) fn slots(&self) -> &Slots {
        &self.0.runner.slots
    }

    /// The queue of attempts that were running when a host ended uncleanly.
    pub(super) fn suspects(&self) -> &Suspects {
        &self.0.runner.suspects
    }

    /// Stops a call without delivering a result.
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

    /// Stops all calls and starts no others. Their owners resume them at the next start of the host.
    pub fn stop(&self) {
        let table = self.lock().take();
        table.iter().flat_map(Table::handles).for_each(AbortHandle::abort);
    }

    /// Records the usage of an attempt whose result no row will contain. The usage is lost if the host ends before it
    /// is written.
    pub(super) fn note_usage(&self, used: impl IntoIterator<Item = Used>) {
        accounting::note_usage(&self.0.runner.environment, used);
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
}
