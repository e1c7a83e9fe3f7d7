//! Tracks instances that are hot and idle, to evict the one that has been idle longest.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::model::InstanceNumber;

/// Hot, idle instances, ordered by the time since when they are idle.
#[derive(Debug, Default)]
pub(super) struct HotInstances(Mutex<Order>);

#[derive(Debug, Default)]
struct Order {
    counter: u64,
    by_age: BTreeMap<u64, InstanceNumber>,
    ages: HashMap<InstanceNumber, u64>,
}

impl HotInstances {
    /// Notes that an instance is idle with its guest in memory. Returns an instance to evict if there are more than
    /// `cap`.
    pub(super) fn idle(&self, instance: InstanceNumber, cap: usize) -> Option<InstanceNumber> {
        let mut order = self.lock();
        order.remove(instance);
        order.counter += 1;
        let age = order.counter;
        order.by_age.insert(age, instance);
        order.ages.insert(instance, age);
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    fn remove(&mut self, instance: InstanceNumber) {
        if let Some(age) = self.ages.remove(&instance) {
            self.by_age.remove(&age);
        }
    }

    fn pop(&mut self) -> Option<InstanceNumber> {
        let (_, instance) = self.by_age.pop_first()?;
        self.ages.remove(&instance);
        Some(instance)
    }
}
