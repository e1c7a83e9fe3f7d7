//! Who waits for an instance to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::InstanceNumber;

/// The waiting callers of all instances. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiters(Arc<Mutex<HashMap<InstanceNumber, Entry>>>);

#[derive(Debug)]
struct Entry {
    notify: Arc<Notify>,
    waiting: usize,
}

/// One waiting caller. Registered when made, so that an end between a look at the store and the wait is not missed.
#[derive(Debug)]
pub(super) struct Waiter {
    waiters: Waiters,
    instance: InstanceNumber,
    notify: Arc<Notify>,
}

impl Waiters {
    pub(super) fn register(&self, instance: InstanceNumber) -> Waiter {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(instance).or_insert_with(|| Entry {
            notify: Arc::default(),
            waiting: 0,
        });
        entry.waiting += 1;
        Waiter {
            waiters: self.clone(),
            instance,
            notify: entry.notify.clone(),
        }
    }

    /// The instance has ended, or is gone.
    pub(super) fn ended(&self, instance: InstanceNumber) {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&instance) {
            entry.notify.notify_waiters();
        }
    }
}

impl Waiter {
    /// The end of the instance. Take it before looking at the store.
    pub(super) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut entries = self.waiters.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&self.instance) {
            entry.waiting -= 1;
            if entry.waiting == 0 {
                entries.remove(&self.instance);
            }
        }
    }
}
