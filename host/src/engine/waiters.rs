//! Clients that wait for an instance to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::model::InstanceNumber;
use crate::store::InstanceDetails;

/// The waiting clients of all instances. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiters(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// The number of the next registration.
    next: u64,
    waiting: HashMap<InstanceNumber, Vec<Registration>>,
}

#[derive(Debug)]
struct Registration {
    number: u64,
    sender: oneshot::Sender<End>,
}

/// How an instance ended; `None` if only the store knows.
pub type End = Option<Arc<InstanceDetails>>;

/// One waiting client. It is registered on creation, so that it cannot miss an end between a query and the wait.
#[derive(Debug)]
pub struct Waiter {
    waiters: Waiters,
    instance: InstanceNumber,
    place: u64,
    end: oneshot::Receiver<End>,
}

impl Waiters {
    pub(super) fn register(&self, instance: InstanceNumber) -> Waiter {
        let (sender, end) = oneshot::channel();
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        table
            .waiting
            .entry(instance)
            .or_default()
            .push(Registration { number, sender });
        Waiter {
            waiters: self.clone(),
            instance,
            place: number,
            end,
        }
    }

    /// Wakes the clients that wait for an instance that has ended or does not exist. Calls `how` only if there are any.
    pub(super) fn ended(&self, instance: InstanceNumber, how: impl FnOnce() -> End) {
        let Some(places) = self.lock().waiting.remove(&instance) else {
            return;
        };
        let end = how();
        for place in places {
            // The client may have stopped waiting.
            let _ = place.sender.send(end.clone());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits for the end of the instance.
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
    async fn every_waiting_client_is_woken_once_and_then_removed() {
        let waiters = Waiters::default();
        let (first, second) = (waiters.register(InstanceNumber(1)), waiters.register(InstanceNumber(1)));
        drop(waiters.register(InstanceNumber(1)));
        drop(waiters.register(InstanceNumber(2)));
        assert_eq!(waiters.lock().waiting.len(), 1);
        waiters.ended(InstanceNumber(1), || None);
        assert_eq!((first.end().await, second.end().await), (None, None));
        waiters.ended(InstanceNumber(1), || unreachable!("no client waits any more"));
        assert!(waiters.lock().waiting.is_empty());
    }
}
