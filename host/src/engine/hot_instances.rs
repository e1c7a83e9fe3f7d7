//! Tracks instances that are hot and idle, to evict the one that has been idle longest.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::model::{InstanceNumber, TenantId};

/// Hot, idle instances, ordered by the time since when they are idle.
#[derive(Debug, Default)]
pub(super) struct HotInstances(Mutex<Order>);

#[derive(Debug, Default)]
struct Order {
    counter: u64,
    by_age: BTreeMap<u64, InstanceNumber>,
    by_tenant: BTreeMap<(TenantId, u64), InstanceNumber>,
    ages: HashMap<InstanceNumber, (TenantId, u64)>,
}

impl HotInstances {
    /// Notes that an instance is idle with its guest in memory. Returns an instance to evict if there are more than
    /// `cap`.
    pub(super) fn idle(&self, tenant: TenantId, instance: InstanceNumber, cap: usize) -> Option<InstanceNumber> {
        let mut order = self.lock();
        order.remove(instance);
        order.counter += 1;
        let age = order.counter;
        order.by_age.insert(age, instance);
        order.by_tenant.insert((tenant, age), instance);
        order.ages.insert(instance, (tenant, age));
        if order.ages.len() > cap { order.pop() } else { None }
    }

    /// Notes that an instance is busy or cold.
    pub(super) fn not_idle(&self, instance: InstanceNumber) {
        self.lock().remove(instance);
    }

    /// Removes and returns the instance that has been idle longest.
    pub(super) fn oldest(&self) -> Option<InstanceNumber> {
        self.lock().pop()
    }

    /// Removes and returns the instance of this tenant that has been idle longest.
    pub(super) fn oldest_of(&self, tenant: TenantId) -> Option<InstanceNumber> {
        let mut order = self.lock();
        let (_, oldest) = order.by_tenant.range((tenant, 0)..=(tenant, u64::MAX)).next()?;
        let oldest = *oldest;
        order.remove(oldest);
        Some(oldest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    fn remove(&mut self, instance: InstanceNumber) {
        if let Some((tenant, age)) = self.ages.remove(&instance) {
            self.by_age.remove(&age);
            self.by_tenant.remove(&(tenant, age));
        }
    }

    fn pop(&mut self) -> Option<InstanceNumber> {
        let (_, oldest) = self.by_age.first_key_value()?;
        let oldest = *oldest;
        self.remove(oldest);
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_all_or_of_one_tenant_is_evicted_once() {
        let (a, b) = (TenantId(1), TenantId(2));
        let hot = HotInstances::default();
        for (tenant, number) in [(a, 1), (b, 2), (b, 3), (a, 4)] {
            assert_eq!(hot.idle(tenant, InstanceNumber(number), 4), None);
        }
        assert_eq!(hot.oldest_of(b), Some(InstanceNumber(2)));
        assert_eq!(hot.oldest(), Some(InstanceNumber(1)));
        hot.not_idle(InstanceNumber(3));
        assert_eq!(hot.oldest_of(b), None);
        assert_eq!(hot.idle(b, InstanceNumber(5), 1), Some(InstanceNumber(4)));
        assert_eq!((hot.oldest(), hot.oldest()), (Some(InstanceNumber(5)), None));
    }
}
