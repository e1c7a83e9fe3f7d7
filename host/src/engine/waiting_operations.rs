//! Clients that wait for the outcome of an operation of an entity.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::model::Outcome;

/// The clients that wait, by the number of their request; several if a client repeats a request. Cheap to clone. Requests
/// bound their number: each is a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct WaitingOperations(Arc<Mutex<HashMap<u64, Vec<oneshot::Sender<Outcome>>>>>);

/// A client that waits. Dropping it ends the wait; the operation is applied all the same.
#[derive(Debug)]
pub struct OperationWaiter {
    operations: WaitingOperations,
    request: u64,
    outcome: oneshot::Receiver<Outcome>,
}

impl WaitingOperations {
    /// Registers a client before its operation is sent.
    pub(super) fn register(&self, request: u64) -> OperationWaiter {
        let (sender, outcome) = oneshot::channel();
        self.lock().entry(request).or_default().push(sender);
        OperationWaiter {
            operations: self.clone(),
            request,
            outcome,
        }
    }

    /// Gives the clients that still wait for a request its outcome.
    pub(super) fn answer(&self, request: u64, outcome: &Outcome) {
        let clients = self.lock().remove(&request);
        for client in clients.into_iter().flatten() {
            let _ = client.send(outcome.clone());
        }
    }

    /// Forgets the clients of a request that no longer wait.
    fn forget(&self, request: u64) {
        let mut waiting = self.lock();
        let Some(clients) = waiting.get_mut(&request) else {
            return;
        };
        clients.retain(|client| !client.is_closed());
        if clients.is_empty() {
            waiting.remove(&request);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<oneshot::Sender<Outcome>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OperationWaiter {
    /// Waits for the outcome; `None` if the host shuts down.
    pub async fn outcome(mut self) -> Option<Outcome> {
        (&mut self.outcome).await.ok()
    }
}

impl Drop for OperationWaiter {
    fn drop(&mut self) {
        self.outcome.close();
        self.operations.forget(self.request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Payload;

    #[tokio::test]
    async fn each_client_gets_the_outcome_of_its_request_once() {
        let operations = WaitingOperations::default();
        let (first, second, again) = (operations.register(1), operations.register(2), operations.register(2));
        operations.answer(2, &Ok(Payload::of(&2)));
        operations.answer(2, &Ok(Payload::of(&3)));
        assert_eq!(second.outcome().await, Some(Ok(Payload::of(&2))));
        assert_eq!(again.outcome().await, Some(Ok(Payload::of(&2))));
        drop(first);
        assert!(operations.lock().is_empty());
    }

    #[tokio::test]
    async fn a_client_that_leaves_takes_nothing_from_another_one_with_the_same_request() {
        let operations = WaitingOperations::default();
        let (first, second) = (operations.register(1), operations.register(1));
        drop(first);
        operations.answer(1, &Ok(Payload::of(&2)));
        assert_eq!(second.outcome().await, Some(Ok(Payload::of(&2))));
    }
}
