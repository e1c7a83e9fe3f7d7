//! Restarts: what has run runs again, with the same function and input.

use super::Engine;
use super::api::{RestartAs, RestartError, RestartRequest, StartAnswer, StartError, StartRequest, StartTime};
use crate::store::Error as StoreError;

impl Engine {
    /// Starts the orchestration of an instance again with the input of its current execution and its tags, on the
    /// current version of the module. Under the same id, the new instance replaces the old one, which must have ended. The new instance
    /// has no parent. It is durable when this returns.
    ///
    /// # Errors
    /// If the restart is refused; then nothing was started, and the old instance stays.
    pub async fn restart(&self, request: RestartRequest) -> Result<StartAnswer, RestartError> {
        let RestartRequest {
            tenant,
            id,
            restart_as,
            idempotency,
            watch,
        } = request;
        let store = self.0.shared.store.tenant(tenant);
        let instance = store.instance(&id).await.map_err(StartError::Store)?;
        let instance = instance.ok_or(RestartError::Unknown)?;
        let (instance_id, may_replace) = match restart_as {
            RestartAs::SameId => (Some(id.clone()), true),
            RestartAs::NewId(new) => {
                let is_same = new.as_ref() == Some(&id);
                (new, is_same)
            }
        };
        let status = instance.summary.status;
        // With a key, the instance may be the result of the first request.
        if may_replace && !status.has_ended() && idempotency.is_none() {
            return Err(RestartError::NotEnded(status));
        }
        let input = instance.input.ok_or_else(|| {
            let number = instance.summary.number;
            StartError::Store(StoreError::Damaged(format!("instance {number} has no start")))
        })?;
        let start = StartRequest {
            instance_id,
            start: StartTime::Now,
            tags: instance.summary.tags,
            idempotency,
            watch,
            ..StartRequest::new(tenant, instance.summary.function, input)
        };
        self.start(start).await.map_err(|error| match error {
            StartError::AlreadyExists(status) if may_replace => RestartError::NotEnded(status),
            error => error.into(),
        })
    }
}
