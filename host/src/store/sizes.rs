//! Counts the stored bytes of each instance and each tenant. Those of tenants are also kept in memory.
//!
//! The count contains the bytes that are passed to the database, and a fixed overhead per row. A pending event counts
//! while it is pending, and as part of the history after a turn has taken it. Any other message counts twice once it
//! was taken: as a message, and in the history. After continue-as-new, only tags, pending events and logs still count: the logs
//! until they are deleted ([some](super::garbage::EXECUTIONS_WITH_LOG) are kept). What else the execution leaves behind is
//! garbage, which is counted in memory until it is deleted. A client's idempotency key counts, with the answer that is stored with
//! it, until it expires and is deleted. Of a module version, its compiled code and its description count while its bytes are kept: for each tenant that
//! uploaded it, since each keeps it, and no tenant may learn what others have. (The bytes of modules have a quota of their
//! own.) Indexes are not counted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::model::{InstanceNumber, TenantId};

/// The overhead of a row in bytes: its key and its place on a page.
pub(crate) const ROW_BYTES: u64 = 32;

/// The size of an instance's own row in bytes, with its entries in the indexes.
const INSTANCE_BYTES: u64 = 256;

/// The stored bytes of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// History, messages, attempts and heartbeats of the current execution, and the instance itself.
    pub(super) execution: u64,
    /// Pending events.
    pub(super) events: u64,
    /// The log of the current execution.
    pub(super) log: u64,
    /// The logs of earlier executions.
    pub(super) old_logs: u64,
    /// Tags, which never change.
    pub(super) tags: u64,
    /// The limit at which the log of the current execution was full. In memory only: after a restart of the host, lines
    /// that still fit are written.
    pub(super) log_full_at: Option<u64>,
}

impl Sizes {
    /// The sizes at the beginning of an execution.
    pub(super) const EMPTY: Self = Self {
        execution: INSTANCE_BYTES,
        events: 0,
        log: 0,
        old_logs: 0,
        tags: 0,
        log_full_at: None,
    };

    /// The sum of all sizes.
    pub(super) fn total(self) -> u64 {
        let logs = self.log.saturating_add(self.old_logs);
        self.stored().saturating_add(logs).saturating_add(self.tags)
    }

    /// The sum of all sizes except the logs and the tags.
    pub(super) fn stored(self) -> u64 {
        self.execution.saturating_add(self.events)
    }

    /// The sizes after continue-as-new: pending events, logs and tags stay.
    pub(super) fn continued(self) -> Self {
        Self {
            events: self.events,
            tags: self.tags,
            old_logs: self.old_logs.saturating_add(self.log),
            ..Self::EMPTY
        }
    }

    /// Subtracts lines of earlier executions.
    pub(super) fn remove_old_logs(&mut self, bytes: u64) {
        self.old_logs = self.old_logs.saturating_sub(bytes);
    }

    /// Adds a pending event with this many bytes.
    pub(super) fn add_event(&mut self, content: usize) {
        self.events = self.events.saturating_add(content as u64 + ROW_BYTES);
    }

    /// Subtracts a pending event.
    pub(super) fn take_event(&mut self, content: u64) {
        self.events = self.events.saturating_sub(content + ROW_BYTES);
    }

    /// Adds a row with this many bytes.
    pub(super) fn add(&mut self, content: usize) {
        self.execution = self.execution.saturating_add(content as u64 + ROW_BYTES);
    }

    /// Subtracts a row with this many bytes.
    pub(super) fn remove(&mut self, content: u64) {
        self.execution = self.execution.saturating_sub(content.saturating_add(ROW_BYTES));
    }
}

/// The new sizes of an instance that changed by something other than its own step.
pub(super) struct SizedInstance {
    pub(super) number: InstanceNumber,
    pub(super) sizes: Sizes,
}

/// The changes of tenants' stored bytes; negative if more was deleted than written.
#[derive(Debug, Clone, Default)]
pub(super) struct Growth(BTreeMap<TenantId, i64>);

impl Growth {
    /// Records that something of a tenant changed its size.
    pub(super) fn add(&mut self, tenant: TenantId, before: u64, after: u64) {
        let change = signed(after) - signed(before);
        *self.0.entry(tenant).or_default() += change;
    }

    /// Adds other changes.
    pub(super) fn merge(&mut self, other: &Self) {
        for (tenant, change) in &other.0 {
            *self.0.entry(*tenant).or_default() += change;
        }
    }

    /// Whether no tenant's stored bytes changed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(|change| *change == 0)
    }

    /// The tenants whose stored bytes changed.
    pub(super) fn rows(&self) -> Vec<GrownTenant> {
        let grown = self.0.iter().filter(|(_, change)| **change != 0);
        grown.map(|(tenant, change)| GrownTenant(*tenant, *change)).collect()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The change of one tenant's stored bytes.
pub(super) struct GrownTenant(pub(super) TenantId, pub(super) i64);

/// The stored bytes of each tenant. Only the writer changes them.
#[derive(Debug, Default)]
pub(super) struct StoredBytes {
    counts: Mutex<Counts>,
    /// Notified when there is [`MUCH_GARBAGE`].
    much_garbage: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    stored: HashMap<TenantId, u64>,
    /// Bytes that are no longer counted, but may not be deleted yet. At least what was left behind since the last sweep
    /// that found nothing more.
    garbage: HashMap<TenantId, u64>,
}

/// When there is this much garbage, in bytes, it is deleted at once.
const MUCH_GARBAGE: u64 = 16 << 20;

impl StoredBytes {
    /// Starts with the numbers in the database.
    pub(super) fn new(stored: HashMap<TenantId, u64>) -> Self {
        let counts = Counts {
            stored,
            garbage: HashMap::new(),
        };
        Self {
            counts: Mutex::new(counts),
            much_garbage: Notify::new(),
        }
    }

    /// The stored bytes of a tenant.
    pub(super) fn of(&self, tenant: TenantId) -> u64 {
        self.lock().stored.get(&tenant).copied().unwrap_or(0)
    }

    /// The stored bytes of a tenant, with its garbage that may not be deleted yet.
    pub(super) fn with_garbage(&self, tenant: TenantId) -> u64 {
        let counts = self.lock();
        let of = |bytes: &HashMap<TenantId, u64>| bytes.get(&tenant).copied().unwrap_or(0);
        of(&counts.stored).saturating_add(of(&counts.garbage))
    }

    /// Applies committed changes.
    pub(super) fn absorb(&self, growth: &Growth) {
        let mut counts = self.lock();
        for (tenant, change) in &growth.0 {
            let bytes = counts.stored.entry(*tenant).or_default();
            *bytes = bytes.saturating_add_signed(*change);
        }
    }

    /// Counts what committed changes left behind.
    pub(super) fn leave(&self, left: &Growth) {
        if left.0.is_empty() {
            return;
        }
        let mut counts = self.lock();
        for (tenant, bytes) in &left.0 {
            let garbage = counts.garbage.entry(*tenant).or_default();
            *garbage = garbage.saturating_add_signed(*bytes);
        }
        let all = counts
            .garbage
            .values()
            .fold(0, |all: u64, bytes| all.saturating_add(*bytes));
        if all >= MUCH_GARBAGE {
            self.much_garbage.notify_one();
        }
    }

    /// Notes that a sweep found no more garbage.
    pub(super) fn swept(&self) {
        self.lock().garbage.clear();
    }

    /// Waits until there is so much garbage that it should be deleted at once.
    pub(super) async fn much_garbage(&self) {
        self.much_garbage.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
