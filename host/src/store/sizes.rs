//! How much is stored of each instance and each tenant. The tenants' is kept in memory as well.
//!
//! Counted are the bytes that the database is given, and a flat amount for what each row takes beside them. An event that
//! waits counts for as long as it does, and in the history once a turn has taken it. Another message counts twice then: as
//! it came, and in the history. Continuing as new begins from nothing but the events that wait. Not counted are indexes,
//! clients' idempotency keys (they expire) and the logs of earlier executions, of which
//! [a few](super::garbage::EXECUTIONS_WITH_LOG) are kept.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::model::{InstanceNumber, TenantId};

/// What a row takes beside its content: its key and its place on a page.
pub(crate) const ROW_BYTES: u64 = 32;

/// What the row of an instance takes, with its entries in the indexes.
const INSTANCE_BYTES: u64 = 256;

/// How much is stored of an instance, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// History, messages and attempts of the current execution, and the instance itself.
    pub(super) execution: u64,
    /// Events that wait.
    pub(super) events: u64,
    /// The log of the current execution.
    pub(super) log: u64,
}

impl Sizes {
    /// Of an instance at the beginning of an execution.
    pub(super) const EMPTY: Self = Self {
        execution: INSTANCE_BYTES,
        events: 0,
        log: 0,
    };

    /// All of it.
    pub(super) fn total(self) -> u64 {
        self.stored().saturating_add(self.log)
    }

    /// All of it, without the log.
    pub(super) fn stored(self) -> u64 {
        self.execution.saturating_add(self.events)
    }

    /// Of the next execution: what waits goes on waiting.
    pub(super) fn continued(self) -> Self {
        Self {
            events: self.events,
            ..Self::EMPTY
        }
    }

    /// Adds an event that waits, with that much in it.
    pub(super) fn add_event(&mut self, content: usize) {
        self.events = self.events.saturating_add(content as u64 + ROW_BYTES);
    }

    /// Takes one away.
    pub(super) fn take_event(&mut self, content: u64) {
        self.events = self.events.saturating_sub(content + ROW_BYTES);
    }

    /// Adds a row with that much in it.
    pub(super) fn add(&mut self, content: usize) {
        self.execution = self.execution.saturating_add(content as u64 + ROW_BYTES);
    }

    /// Takes a row with that much in it away.
    pub(super) fn remove(&mut self, content: u64) {
        self.execution = self.execution.saturating_sub(content.saturating_add(ROW_BYTES));
    }
}

/// What an instance has grown to by something other than a step of its own.
pub(super) struct SizedInstance {
    pub(super) number: InstanceNumber,
    pub(super) sizes: Sizes,
}

/// By how much what is stored of tenants has grown; less than nothing where more was deleted.
#[derive(Debug, Clone, Default)]
pub(super) struct Growth(BTreeMap<TenantId, i64>);

impl Growth {
    /// Something of a tenant was that large before, and is that large now.
    pub(super) fn add(&mut self, tenant: TenantId, before: u64, after: u64) {
        let change = signed(after) - signed(before);
        *self.0.entry(tenant).or_default() += change;
    }

    /// Adds what grew elsewhere.
    pub(super) fn merge(&mut self, other: &Self) {
        for (tenant, change) in &other.0 {
            *self.0.entry(*tenant).or_default() += change;
        }
    }

    /// The tenants for which there is something to write.
    pub(super) fn rows(&self) -> Vec<GrownTenant> {
        let grown = self.0.iter().filter(|(_, change)| **change != 0);
        grown.map(|(tenant, change)| GrownTenant(*tenant, *change)).collect()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A tenant of which that much more is stored.
pub(super) struct GrownTenant(pub(super) TenantId, pub(super) i64);

/// How much is stored of each tenant now. Written by the writer alone.
#[derive(Debug, Default)]
pub(super) struct StoredBytes(Mutex<HashMap<TenantId, u64>>);

impl StoredBytes {
    /// As the database says.
    pub(super) fn new(stored: HashMap<TenantId, u64>) -> Self {
        Self(Mutex::new(stored))
    }

    /// How much is stored of a tenant.
    pub(super) fn of(&self, tenant: TenantId) -> u64 {
        self.lock().get(&tenant).copied().unwrap_or(0)
    }

    /// Takes over what was committed.
    pub(super) fn absorb(&self, growth: &Growth) {
        let mut stored = self.lock();
        for (tenant, change) in &growth.0 {
            let bytes = stored.entry(*tenant).or_default();
            *bytes = bytes.saturating_add_signed(*change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
