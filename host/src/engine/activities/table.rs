//! The table of calls in progress, with the load of each tenant.

use std::collections::BTreeMap;

use super::untaken::Untaken;
use crate::model::{ExecutionNumber, InstanceNumber, TaskId, TenantId};

/// The key of a call.
pub(super) type Key = (InstanceNumber, ExecutionNumber, TaskId);

/// A number of calls and the size of their inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// The number of calls.
    pub calls: usize,
    /// The size of their inputs, in bytes.
    pub bytes: u64,
}

/// All calls, each with a handle that stops it.
///
/// A cancelled call that has not ended yet is no longer found by its key, because the call may start again; but it still
/// counts.
#[derive(Debug)]
pub(super) struct Table<H> {
    by_instance: BTreeMap<InstanceNumber, Calls<H>>,
    /// Cancelled calls that have not ended yet, by serial number.
    ending: BTreeMap<u64, Ending<H>>,
    last_serial: u64,
    /// The load of each tenant that has calls.
    by_tenant: BTreeMap<TenantId, Load>,
    all: Load,
}

#[derive(Debug)]
struct Calls<H> {
    tenant: TenantId,
    untaken: Untaken,
    calls: BTreeMap<(ExecutionNumber, TaskId), InProgress<H>>,
}

#[derive(Debug)]
struct InProgress<H> {
    handle: H,
    serial: u64,
    /// The size of the input in bytes.
    bytes: u64,
}

#[derive(Debug)]
struct Ending<H> {
    tenant: TenantId,
    handle: H,
    bytes: u64,
}

impl Load {
    fn add(&mut self, bytes: u64) {
        self.calls += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, other: Self) {
        self.calls -= other.calls;
        self.bytes -= other.bytes;
    }

    /// Whether one of the limits is reached.
    pub fn reaches(self, max: Self) -> bool {
        self.calls >= max.calls || self.bytes >= max.bytes
    }
}

impl<H> Default for Table<H> {
    fn default() -> Self {
        Self {
            by_instance: BTreeMap::new(),
            ending: BTreeMap::new(),
            last_serial: 0,
            by_tenant: BTreeMap::new(),
            all: Load::default(),
        }
    }
}

impl<H> Table<H> {
    /// Whether the call is in progress.
    pub(super) fn has(&self, (instance, execution, task): Key) -> bool {
        self.get((instance, execution, task)).is_some()
    }

    /// The handle of a call.
    pub(super) fn get(&self, (instance, execution, task): Key) -> Option<&H> {
        let calls = self.by_instance.get(&instance)?;
        calls.calls.get(&(execution, task)).map(|call| &call.handle)
    }

    /// A number that no other call has.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.last_serial += 1;
        self.last_serial
    }

    /// The results that an instance with calls has not taken.
    pub(super) fn untaken(&self, instance: InstanceNumber) -> Option<&Untaken> {
        self.by_instance.get(&instance).map(|calls| &calls.untaken)
    }

    /// Adds a call that is not in the table. `untaken` are the results that its instance has not taken.
    pub(super) fn add(&mut self, tenant: TenantId, key: Key, serial: u64, handle: H, bytes: u64, untaken: &Untaken) {
        let (instance, execution, task) = key;
        let calls = self.by_instance.entry(instance).or_insert_with(|| Calls {
            tenant,
            untaken: untaken.clone(),
            calls: BTreeMap::new(),
        });
        let call = InProgress { handle, serial, bytes };
        calls.calls.insert((execution, task), call);
        self.by_tenant.entry(tenant).or_default().add(bytes);
        self.all.add(bytes);
    }

    /// Removes a call that has ended, cancelled or not.
    pub(super) fn remove(&mut self, key: Key, serial: u64) {
        if let Some(Ending { tenant, bytes, .. }) = self.ending.remove(&serial) {
            self.have_gone(tenant, Load { calls: 1, bytes });
            return;
        }
        if let Some((tenant, call)) = self.take(key, |call| call.serial == serial) {
            let bytes = call.bytes;
            self.have_gone(tenant, Load { calls: 1, bytes });
        }
    }

    /// Cancels a call with `cancel`, which returns whether the call has yet to end. Returns whether the call is in progress.
    pub(super) fn cancel(&mut self, key: Key, cancel: impl FnOnce(&H) -> bool) -> bool {
        let found = self.take(key, |_| true);
        let is_in_progress = found.is_some();
        if let Some((tenant, call)) = found {
            self.cancelled(tenant, call, cancel);
        }
        is_in_progress
    }

    /// Cancels all calls of an instance.
    pub(super) fn cancel_all(&mut self, instance: InstanceNumber, cancel: impl Fn(&H) -> bool) {
        let Some(Calls { tenant, calls, .. }) = self.by_instance.remove(&instance) else {
            return;
        };
        for call in calls.into_values() {
            self.cancelled(tenant, call, &cancel);
        }
    }

    fn cancelled(&mut self, tenant: TenantId, call: InProgress<H>, cancel: impl FnOnce(&H) -> bool) {
        let InProgress { handle, serial, bytes } = call;
        if cancel(&handle) {
            self.ending.insert(serial, Ending { tenant, handle, bytes });
        } else {
            self.have_gone(tenant, Load { calls: 1, bytes });
        }
    }

    /// Takes a call out of the table, but leaves it counted.
    fn take(&mut self, key: Key, is_meant: impl FnOnce(&InProgress<H>) -> bool) -> Option<(TenantId, InProgress<H>)> {
        let (instance, execution, task) = key;
        let calls = self.by_instance.get_mut(&instance)?;
        calls.calls.get(&(execution, task)).filter(|call| is_meant(call))?;
        let call = calls.calls.remove(&(execution, task))?;
        let (tenant, is_last) = (calls.tenant, calls.calls.is_empty());
        if is_last {
            self.by_instance.remove(&instance);
        }
        Some((tenant, call))
    }

    /// The handles of all calls.
    pub(super) fn handles(&self) -> impl Iterator<Item = &H> {
        let calls = self.by_instance.values();
        let in_progress = calls.flat_map(|calls| calls.calls.values().map(|call| &call.handle));
        in_progress.chain(self.ending.values().map(|ending| &ending.handle))
    }

    /// The load of all tenants together.
    pub(super) fn all(&self) -> Load {
        self.all
    }

    /// Whether a limit is reached and the tenant has at least an even share of the exhausted resource: the limit
    /// divided by the number of tenants with calls.
    pub(super) fn are_too_many(&self, tenant: TenantId, max: Load) -> bool {
        let own = self.by_tenant.get(&tenant).copied().unwrap_or_default();
        let (calls, bytes) = (self.by_tenant.len(), self.by_tenant.len() as u64);
        (self.all.calls >= max.calls && own.calls * calls >= max.calls)
            || (self.all.bytes >= max.bytes && own.bytes.saturating_mul(bytes) >= max.bytes)
    }

    fn have_gone(&mut self, tenant: TenantId, gone: Load) {
        let left = self.by_tenant.get_mut(&tenant).expect("a tenant with calls is counted");
        left.subtract(gone);
        if left.calls == 0 {
            self.by_tenant.remove(&tenant);
        }
        self.all.subtract(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::activities::untaken::UntakenLimits;

    const FLOODING: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);

    fn key(instance: u64, task: u32) -> Key {
        (InstanceNumber(instance), ExecutionNumber::FIRST, TaskId(task))
    }

    fn untaken() -> Untaken {
        Untaken::new(UntakenLimits { bytes: 0, at_once: 1 })
    }

    fn table(calls: &[(TenantId, u64, u32, u64)]) -> Table<u32> {
        let mut table = Table::default();
        for (tenant, instance, task, bytes) in calls {
            let serial = table.next_serial();
            table.add(*tenant, key(*instance, *task), serial, *task, *bytes, &untaken());
        }
        table
    }

    #[test]
    fn removed_calls_are_not_counted() {
        let mut table = table(&[(FLOODING, 1, 1, 10), (FLOODING, 1, 2, 20), (OTHER, 2, 1, 30)]);
        assert_eq!(table.all(), Load { calls: 3, bytes: 60 });
        assert!(table.has(key(1, 2)) && !table.has(key(2, 2)));
        table.remove(key(1, 2), 2);
        table.remove(key(1, 2), 2);
        assert_eq!(table.all(), Load { calls: 2, bytes: 40 });
        assert_eq!(table.handles().count(), 2);
        table.cancel_all(InstanceNumber(1), |_| false);
        table.cancel_all(InstanceNumber(2), |_| false);
        assert_eq!(table.all(), Load::default());
        assert!(table.by_tenant.is_empty() && table.by_instance.is_empty());
    }

    #[test]
    fn a_cancelled_call_counts_until_it_ends_and_may_start_again() {
        let mut table = table(&[(FLOODING, 1, 1, 10), (FLOODING, 1, 2, 20)]);
        assert!(table.cancel(key(1, 1), |_| true));
        assert!(!table.cancel(key(1, 1), |_| panic!("it is cancelled once")));
        assert!(table.cancel(key(1, 2), |_| false));
        assert!(!table.has(key(1, 1)) && !table.has(key(1, 2)));
        assert_eq!(table.all(), Load { calls: 1, bytes: 10 });
        let serial = table.next_serial();
        table.add(FLOODING, key(1, 1), serial, 7, 10, &untaken());
        assert_eq!(table.handles().count(), 2);
        table.remove(key(1, 1), 1);
        assert!(table.has(key(1, 1)), "only the cancelled one has ended");
        assert_eq!(table.all(), Load { calls: 1, bytes: 10 });
        table.remove(key(1, 1), serial);
        assert_eq!(table.all(), Load::default());
        assert!(table.by_tenant.is_empty() && table.by_instance.is_empty() && table.ending.is_empty());
    }

    #[test]
    fn a_tenant_has_too_many_if_it_has_an_even_share_of_the_exhausted_resource() {
        let max = Load { calls: 4, bytes: 100 };
        let check = |calls: &[_], flooding: bool, other: bool| {
            let table = table(calls);
            let found = [FLOODING, OTHER].map(|tenant| table.are_too_many(tenant, max));
            assert_eq!(found, [flooding, other], "{calls:?}");
        };
        check(&[(FLOODING, 1, 1, 99)], false, false);
        check(&[(FLOODING, 1, 1, 100)], true, false);
        let few = [(FLOODING, 1, 1, 0), (FLOODING, 1, 2, 0), (FLOODING, 1, 3, 0)];
        check(&few, false, false);
        check(&[few.as_slice(), &[(OTHER, 2, 1, 0)]].concat(), true, false);
        check(
            &[few.as_slice(), &[(OTHER, 2, 1, 90), (OTHER, 2, 2, 9)]].concat(),
            true,
            true,
        );
        check(&[few.as_slice(), &[(OTHER, 2, 1, 100)]].concat(), true, true);
        // Many small calls of one tenant do not block few large calls of another.
        check(&[(FLOODING, 1, 1, 90), (OTHER, 2, 1, 10)], true, false);
    }
}
