//! What the requests about retention share with the task that deletes.

use std::collections::BTreeMap;
use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex, Notify};

use crate::model::{TenantId, Timestamp};

/// The state of the deletion of expired instances. All of it is forgotten when the host ends.
#[derive(Default)]
pub(super) struct RetentionState {
    /// Notified when a rule was changed.
    pub changed: Notify,
    /// Held while a rule changes, and while a piece is decided and deleted.
    pub gate: Mutex<()>,
    runs: StdMutex<BTreeMap<TenantId, RetentionRun>>,
}

/// What retention has done for a tenant since the host started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionRun {
    /// How many instances it has deleted, including sub-orchestrations.
    pub deleted: u64,
    /// When it last had nothing more to delete.
    pub finished_at: Option<Timestamp>,
}

impl RetentionState {
    /// What was done for a tenant.
    pub(super) fn run(&self, tenant: TenantId) -> RetentionRun {
        self.runs().get(&tenant).copied().unwrap_or_default()
    }

    /// Notes that instances of a tenant were deleted, and when that was all.
    pub(super) fn note(&self, tenant: TenantId, deleted: u64, finished_at: Option<Timestamp>) {
        let mut runs = self.runs();
        let run = runs.entry(tenant).or_default();
        run.deleted += deleted;
        run.finished_at = finished_at.or(run.finished_at);
    }

    /// Forgets tenants that have no rules any more.
    pub(super) fn keep_only(&self, has_rules: impl Fn(TenantId) -> bool) {
        self.runs().retain(|tenant, _| has_rules(*tenant));
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<TenantId, RetentionRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
