//! The requests that complete activity calls from outside.

use super::Engine;
use super::completions::{fail, tell, token_hash};
use crate::model::{CompletionToken, InboxItem, Outcome, Payload};
use crate::store::{CompletionChange, CompletionOutcome, CompletionState, Error as StoreError};
use crate::tenancy::Exceeded;

/// Why a call was not completed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// No call has this token: it never had, a later attempt has another one, or its instance is gone.
    #[error("no call can be completed with this token")]
    Unknown,
    /// The token was used.
    #[error("the token was used before")]
    Used,
    /// The attempt has ended by itself, its time is over, or its instance has ended.
    #[error("the call no longer waits to be completed")]
    Over,
    /// The tenant is disabled.
    #[error("the tenant is disabled")]
    TenantDisabled,
    /// A quota does not allow it.
    #[error(transparent)]
    Quota(#[from] Exceeded),
    /// The database fails, or the host is stopping.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Completes an activity call from outside. It is durable when this returns.
    ///
    /// # Errors
    /// If it is refused; then nothing was changed.
    pub async fn complete(&self, token: &CompletionToken, outcome: Outcome) -> Result<(), CompleteError> {
        let shared = &self.0.shared;
        let found = shared.store.completion_of_token(token_hash(token)).await?;
        let found = found.ok_or(CompleteError::Unknown)?;
        let tenant = shared.tenancy.tenant(found.tenant).ok_or(CompleteError::Unknown)?;
        if tenant.disabled {
            return Err(CompleteError::TenantDisabled);
        }
        let now = shared.clock.now();
        let is_late = found.completion.expires_at.is_some_and(|at| at <= now);
        match found.completion.state {
            CompletionState::Used => return Err(CompleteError::Used),
            CompletionState::Void => return Err(CompleteError::Over),
            CompletionState::Running | CompletionState::Waiting if is_late => return Err(CompleteError::Over),
            CompletionState::Running | CompletionState::Waiting => {}
        }
        match &outcome {
            Ok(output) => drop(self.limits_of(found.tenant, output)?),
            Err(failure) => {
                let details = failure.details.clone().unwrap_or_else(Payload::null);
                self.limits_of(found.tenant, &details)?;
            }
        }
        shared.tenancy.check_stored_bytes(found.tenant)?;
        shared.tenancy.take_event(found.tenant)?;
        // In a separate task: if the client disconnects in between, the instance must still be told.
        let (environment, owners) = (shared.environment.clone(), self.0.owners.clone());
        let completed = shared.tracker.spawn(async move {
            let (tenant, instance) = (found.tenant, found.instance);
            let change = match outcome {
                Ok(output) => CompletionChange::Complete(InboxItem::TaskEnded {
                    execution: found.completion.execution,
                    task: found.completion.task,
                    attempt: 0,
                    outcome: Ok(output),
                }),
                Err(failure) => fail(&found.completion, failure, now, CompletionState::Used),
            };
            let changed = environment
                .store
                .change_completion(instance, found.completion, change, Vec::new(), 0);
            let changed = changed.await?;
            tell(&owners, tenant, instance, &changed);
            Ok::<_, StoreError>(changed)
        });
        match completed.await.unwrap_or(Err(StoreError::Closed))? {
            CompletionOutcome::Changed(_) => Ok(()),
            CompletionOutcome::Refused(CompletionState::Used) => Err(CompleteError::Used),
            CompletionOutcome::Refused(_) | CompletionOutcome::Gone => Err(CompleteError::Over),
        }
    }
}
