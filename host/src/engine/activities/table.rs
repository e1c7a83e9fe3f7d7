//! The table of calls in progress, with the load of each tenant.

use std::collections::BTreeMap;

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
#[derive(Debug)]
pub(super) struct Table<H> {
    by_instance: BTreeMap<InstanceNumber, Calls<H>>,
    /// The load of each tenant that has calls.
    by_tenant: BTreeMap<TenantId, Load>,
    all: Load,
}

#[derive(Debug)]
struct Calls<H> {
    tenant: TenantId,
    /// With the size of the input in bytes.
    handles: BTreeMap<(ExecutionNumber, TaskId), (H, u64)>,
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
        calls.handles.get(&(execution, task)).map(|(handle, _)| handle)
    }

    /// Adds a call that is not in the table.
    pub(super) fn add(&mut self, tenant: TenantId, (instance, execution, task): Key, handle: H, bytes: u64) {
        let calls = self.by_instance.entry(instance).or_insert_with(|| Calls {
            tenant,
            handles: BTreeMap::new(),
        });
        calls.handles.insert((execution, task), (handle, bytes));
        self.by_tenant.entry(tenant).or_default().add(bytes);
        self.all.add(bytes);
    }

    /// Removes a call.
    pub(super) fn remove(&mut self, (instance, execution, task): Key) -> Option<H> {
        let calls = self.by_instance.get_mut(&instance)?;
        let (handle, bytes) = calls.handles.remove(&(execution, task))?;
        let (tenant, is_last) = (calls.tenant, calls.handles.is_empty());
        if is_last {
            self.by_instance.remove(&instance);
        }
        self.have_gone(tenant, Load { calls: 1, bytes });
        Some(handle)
    }

    /// Removes all calls of an instance.
    pub(super) fn remove_all(&mut self, instance: InstanceNumber) -> Vec<H> {
        let Some(Calls { tenant, handles }) = self.by_instance.remove(&instance) else {
            return Vec::new();
        };
        let gone = Load {
            calls: handles.len(),
            bytes: handles.values().map(|(_, bytes)| bytes).sum(),
        };
        self.have_gone(tenant, gone);
        handles.into_values().map(|(handle, _)| handle).collect()
    }

    /// The handles of all calls.
    pub(super) fn handles(&self) -> impl Iterator<Item = &H> {
        let calls = self.by_instance.values();
        calls.flat_map(|calls| calls.handles.values().map(|(handle, _)| handle))
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

    const FLOODING: TenantId = TenantId(1);
    const OTHER: TenantId = TenantId(2);

    fn key(instance: u64, task: u32) -> Key {
        (InstanceNumber(instance), ExecutionNumber::FIRST, TaskId(task))
    }

    fn table(calls: &[(TenantId, u64, u32, u64)]) -> Table<u32> {
        let mut table = Table::default();
        for (tenant, instance, task, bytes) in calls {
            table.add(*tenant, key(*instance, *task), *task, *bytes);
        }
        table
    }

    #[test]
    fn removed_calls_are_not_counted() {
        let mut table = table(&[(FLOODING, 1, 1, 10), (FLOODING, 1, 2, 20), (OTHER, 2, 1, 30)]);
        assert_eq!(table.all(), Load { calls: 3, bytes: 60 });
        assert!(table.has(key(1, 2)) && !table.has(key(2, 2)));
        assert_eq!(table.remove(key(1, 2)), Some(2));
        assert_eq!(table.remove(key(1, 2)), None);
        assert_eq!(table.all(), Load { calls: 2, bytes: 40 });
        assert_eq!(table.handles().count(), 2);
        assert_eq!(table.remove_all(InstanceNumber(1)), [1]);
        assert_eq!(table.remove_all(InstanceNumber(2)), [1]);
        assert_eq!(table.all(), Load::default());
        assert!(table.by_tenant.is_empty() && table.by_instance.is_empty());
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
