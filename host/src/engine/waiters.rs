//! Who waits for an instance to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::model::InstanceNumber;
use crate::store::InstanceDetails;

/// The waiting callers of all instances. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiters(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// Tells the places of one instance apart.
    next: u64,
    waiting: HashMap<InstanceNumber, Vec<Registration>>,
}

#[derive(Debug)]
struct Registration {
    number: u64,
    tell: oneshot::Sender<End>,
}

/// How an instance ended, where its owner can say it; else the store knows.
pub type End = Option<Arc<InstanceDetails>>;

/// One waiting caller. Registered when made, so that an end between a look at the store and the wait is not missed.
#[derive(Debug)]
pub struct Waiter {
    waiters: Waiters,
    instance: InstanceNumber,
    place: u64,
    end: oneshot::Receiver<End>,
}

impl Waiters {
    pub(super) fn register(&self, instance: InstanceNumber) -> Waiter {
        let (tell, end) = oneshot::channel();
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        table
            .waiting
            .entry(instance)
            .or_default()
            .push(Registration { number, tell });
        Waiter {
            waiters: self.clone(),
            instance,
            place: number,
            end,
        }
    }

    /// The instance has ended, or is gone. Asks how only if somebody waits.
    pub(super) fn ended(&self, instance: InstanceNumber, how: impl FnOnce() -> End) {
        let Some(places) = self.lock().waiting.remove(&instance) else {
            return;
        };
        let end = how();
        for place in places {
            // Who waited may have gone.
            let _ = place.tell.send(end.clone());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// The end of the instance.
    pub async fn end(mut self) -> End {
        (&mut self.end).await.unwrap_or_default()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut table = self.waiters.lock();
        if let Some(places) = table.waiting.get_mut(&self.instance) {
            places.retain(|place| place.number != self.place);
            if places.is_empty() {
                table.waiting.remove(&self.instance);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_waits_is_told_once_and_nobody_is_remembered() {
        let waiters = Waiters::default();
        let (first, second) = (waiters.register(InstanceNumber(1)), waiters.register(InstanceNumber(1)));
        drop(waiters.register(InstanceNumber(1)));
        drop(waiters.register(InstanceNumber(2)));
        assert_eq!(waiters.lock().waiting.len(), 1);
        waiters.ended(InstanceNumber(1), || None);
        assert_eq!((first.end().await, second.end().await), (None, None));
        waiters.ended(InstanceNumber(1), || unreachable!("nobody waits any more"));
        assert!(waiters.lock().waiting.is_empty());
    }
}
