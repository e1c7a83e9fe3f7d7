//! Instances whose work waits in the store because the memory budget has no room for it.
//!
//! Each tenant with such instances has a task that waits for memory and then [resumes](LeftOut::run) the instance that
//! was left out first. The work itself is in the store, so an instance takes only its number here.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{InstanceNumber, TenantId};

/// The instances that were left out, by tenant. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftOut(Arc<Mutex<BTreeMap<TenantId, Queue>>>);

/// The instances of one tenant, each once, in the order in which they were left out.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<InstanceNumber>,
    known: HashSet<InstanceNumber>,
}

impl LeftOut {
    /// Notes that work of an instance was left out. Returns whether the tenant had none before: then the caller starts
    /// the task that [resumes](Self::next) its instances.
    #[must_use]
    pub(super) fn note(&self, tenant: TenantId, instance: InstanceNumber) -> bool {
        let mut tenants = self.lock();
        let is_first = !tenants.contains_key(&tenant);
        let queue = tenants.entry(tenant).or_default();
        if queue.known.insert(instance) {
            queue.order.push_back(instance);
        }
        is_first
    }

    /// Removes and returns the instance that was left out first. With `None`, the tenant has none any more and its task
    /// ends.
    pub(super) fn next(&self, tenant: TenantId) -> Option<InstanceNumber> {
        let mut tenants = self.lock();
        let queue = tenants.get_mut(&tenant)?;
        let next = queue.order.pop_front();
        match next {
            Some(instance) => drop(queue.known.remove(&instance)),
            None => drop(tenants.remove(&tenant)),
        }
        next
    }

    /// How many instances of all tenants were left out.
    pub(super) fn count(&self) -> usize {
        self.lock().values().map(|queue| queue.order.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantId, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_resumed_once_in_the_order_in_which_they_were_left_out() {
        let (left_out, tenant) = (LeftOut::default(), TenantId(1));
        let note = |number| left_out.note(tenant, InstanceNumber(number));
        assert_eq!([note(1), note(2), note(1)], [true, false, false]);
        assert_eq!(left_out.next(tenant), Some(InstanceNumber(1)));
        assert!(!note(1), "its task runs");
        assert_eq!(left_out.count(), 2);
        let rest: Vec<_> = std::iter::from_fn(|| left_out.next(tenant)).collect();
        assert_eq!(rest, [InstanceNumber(2), InstanceNumber(1)]);
        assert!(note(3), "its task has ended");
    }
}
