//! Rewinds: an instance that failed goes on, without repeating what succeeded.

use super::Engine;
use super::api::{RewindError, RewindRequest};
use crate::model::{EntityId, InboxItem, InstanceStatus};
use crate::store::{AppendOutcome, InboxAppend};

impl Engine {
    /// Rewinds a failed instance. It is running when this returns, and its owner does the rest. Counts as a start.
    ///
    /// # Errors
    /// If the rewind is refused; then the instance stays as it is.
    pub async fn rewind(&self, request: RewindRequest) -> Result<(), RewindError> {
        let RewindRequest {
            tenant,
            id,
            reason,
            idempotency,
        } = request;
        if EntityId::of(&id).is_some() {
            return Err(RewindError::Entity);
        }
        let shared = &self.0.shared;
        let summary = shared.store.tenant(tenant).summary(&id).await?;
        let summary = summary.ok_or(RewindError::Unknown)?;
        match summary.status {
            InstanceStatus::Failed if summary.rewinds.is_full() => return Err(RewindError::TooMany),
            InstanceStatus::Failed => {}
            // With a key, this may be the effect of the first request.
            status if idempotency.is_none() => return Err(RewindError::NotFailed(status)),
            _ => {}
        }
        shared.tenancy.check_stored_bytes(tenant)?;
        shared.tenancy.take_start(tenant)?;
        let append = InboxAppend {
            tenant,
            id,
            item: InboxItem::Rewind { reason },
            at: shared.clock.now(),
            max_bytes: shared.max_history_bytes(tenant),
            max_waiting: u64::MAX,
            entity: None,
        };
        let appended = self.append(append, idempotency).await;
        if !matches!(appended, Ok(AppendOutcome::Appended { .. })) {
            shared.tenancy.return_start(tenant);
        }
        match appended? {
            AppendOutcome::Appended { .. } => {
                shared.tenancy.count_start(tenant);
                Ok(())
            }
            AppendOutcome::Repeated => Ok(()),
            AppendOutcome::Unknown => Err(RewindError::Unknown),
            AppendOutcome::NotFailed(status) | AppendOutcome::Ended(status) => Err(RewindError::NotFailed(status)),
            AppendOutcome::KeyReused => Err(RewindError::KeyReused),
            AppendOutcome::Full | AppendOutcome::TooManyWaiting => {
                unreachable!("a control message is not refused for its size")
            }
        }
    }
}
