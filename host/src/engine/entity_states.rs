//! Replaces and deletes the states of entities for operators.
//!
//! The request is a message to the entity, like an operation, but its owner applies it without the guest: so it needs no
//! module, and also reaches an entity that is stuck. The owner alone changes the state, so nothing that is applied at the
//! same time is overwritten unseen: the request names the version that it replaces.

use super::Engine;
use super::api::{OperateAnswer, OperateError, SetStateRequest};
use super::operations::reply_to;
use crate::model::{Failure, InboxItem, Replaces, StateChange, failure::types};
use crate::store::{AppendOutcome, EntityAddress, Error as StoreError, InboxAppend};
use crate::tenancy::{Exceeded, Quota};

impl Engine {
    /// Asks an entity to replace or delete its state. The request is durable when this returns; its outcome is the new
    /// version, or a failure of the type [`CHANGED`](StateChange::CHANGED) or [`LOCKED`](StateChange::LOCKED).
    /// Only a request that replaces [nothing](Replaces::Nothing) creates an entity.
    ///
    /// # Errors
    /// If the request is refused; then nothing was sent.
    pub async fn set_entity_state(&self, request: SetStateRequest) -> Result<OperateAnswer, OperateError> {
        let SetStateRequest {
            tenant,
            entity,
            state,
            replaces,
            key,
            idempotency,
        } = request;
        let shared = &self.0.shared;
        if let Some(state) = &state {
            let limit = shared.max_entity_state(tenant);
            if state.bytes() > limit {
                return Err(Exceeded::of_size(Quota::MaxEntityState, limit).into());
            }
            // A deletion makes room.
            shared.tenancy.check_stored_bytes(tenant)?;
        }
        let address = match replaces {
            Replaces::Nothing => {
                let found = shared.guests.clone().directory(tenant).entity_module(entity.name());
                let module = found.map_err(OperateError::Refused)?.module;
                Some(EntityAddress::new(&entity, module))
            }
            Replaces::Anything | Replaces::Version { .. } => None,
        };
        let reply_to = reply_to(tenant, idempotency.as_ref(), &*shared.entropy);
        let number = reply_to.request();
        let waiter = number.map(|number| shared.operations.register(number));
        let append = InboxAppend {
            tenant,
            id: entity.instance_id(),
            item: InboxItem::SetState(Box::new(StateChange {
                state,
                replaces,
                key,
                reply_to,
            })),
            at: shared.clock.now(),
            max_bytes: u64::MAX,
            max_waiting: u64::MAX,
            entity: address,
        };
        let stored_key = idempotency.clone();
        match self.append(append, idempotency).await? {
            AppendOutcome::Appended { .. } => {}
            AppendOutcome::Repeated => {
                if let (Some(key), Some(number)) = (stored_key, number) {
                    // The client waits already, so it also gets an outcome that becomes durable after this query.
                    let answer = shared.store.tenant(tenant).answer_of(&key).await?;
                    answer
                        .iter()
                        .for_each(|outcome| shared.operations.answer(number, outcome));
                }
            }
            AppendOutcome::KeyReused => return Err(OperateError::KeyReused),
            AppendOutcome::Unknown => {
                let message = format!("there is no entity {entity}");
                return Err(OperateError::Refused(Failure::new(types::UNKNOWN_FUNCTION, message)));
            }
            AppendOutcome::Full
            | AppendOutcome::TooManyWaiting
            | AppendOutcome::Ended(_)
            | AppendOutcome::NotFailed(_) => {
                return Err(OperateError::Store(StoreError::Closed));
            }
        }
        Ok(OperateAnswer { outcome: waiter })
    }
}
