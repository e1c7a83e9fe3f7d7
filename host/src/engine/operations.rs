//! Operations that clients send to entities, and what operators do with entities.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Engine;
use super::api::{OperateAnswer, OperateError, OperateRequest, StartTime};
use crate::entropy::Entropy;
use crate::model::{EntityId, InboxItem, Operation, ReplyTo, SectionId, TenantId};
use crate::store::{AppendOutcome, EntityAddress, Error as StoreError, IdempotencyKey, InboxAppend};
use crate::tenancy::{Exceeded, Quota};

/// When a client may try again whose operation an entity had no room for.
const FULL_QUEUE_PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Sends an operation to an entity, which begins to exist with it. The operation is durable when this returns.
    ///
    /// # Errors
    /// If the operation is refused; then nothing was sent.
    pub async fn operate(&self, request: OperateRequest) -> Result<OperateAnswer, OperateError> {
        let OperateRequest {
            tenant,
            entity,
            operation,
            input,
            when,
            is_call,
            idempotency,
        } = request;
        let shared = &self.0.shared;
        let now = shared.clock.now();
        let due_at = match when {
            StartTime::Now => None,
            StartTime::At(at) => Some(at).filter(|at| *at > now),
            StartTime::After(delay) => Some(now.after(delay)),
        };
        self.limits_of(tenant, &input)?;
        shared.tenancy.check_stored_bytes(tenant)?;
        // Before the input is checked, which is expensive.
        shared.tenancy.take_event(tenant)?;
        let found = shared.guests.to_operate(tenant, entity.name(), &operation, &input);
        let module = found.await.inspect_err(|_| shared.tenancy.return_event(tenant))?;
        let reply_to = is_call.then(|| reply_to(tenant, idempotency.as_ref(), &*shared.entropy));
        let request = reply_to.as_ref().and_then(ReplyTo::request);
        let waiter = request.map(|request| shared.operations.register(request));
        let key = idempotency.clone();
        let item = InboxItem::Operation(Box::new(Operation {
            name: operation,
            input,
            reply_to,
            section: None,
            due_at: due_at.filter(|_| !is_call),
        }));
        let address = EntityAddress::new(&entity, module);
        let max_bytes = shared.max_history_bytes(tenant);
        let max_waiting = shared.tenancy.max_waiting_operations(tenant);
        let append = InboxAppend {
            tenant,
            id: address.id.clone(),
            item,
            at: now,
            max_bytes,
            max_waiting,
            entity: Some(address),
        };
        match self.append(append, idempotency).await? {
            AppendOutcome::Appended { .. } => Ok(OperateAnswer { outcome: waiter }),
            AppendOutcome::Repeated => {
                shared.tenancy.return_event(tenant);
                if let (Some(key), Some(request)) = (key, request) {
                    // The client waits already, so it also gets an outcome that becomes durable after this query.
                    let answer = shared.store.tenant(tenant).answer_of(&key).await?;
                    answer
                        .iter()
                        .for_each(|outcome| shared.operations.answer(request, outcome));
                }
                Ok(OperateAnswer { outcome: waiter })
            }
            AppendOutcome::Full => Err(Exceeded::of_size(Quota::MaxHistory, max_bytes).into()),
            AppendOutcome::TooManyWaiting => {
                shared.tenancy.return_event(tenant);
                Err(Exceeded::of_rate(Quota::MaxWaitingOperations, Some(max_waiting), FULL_QUEUE_PAUSE).into())
            }
            AppendOutcome::KeyReused => Err(OperateError::KeyReused),
            AppendOutcome::Unknown | AppendOutcome::Ended(_) | AppendOutcome::NotFailed(_) => {
                Err(OperateError::Store(StoreError::Closed))
            }
        }
    }

    /// Releases the lock of an entity, although its holder has not left the critical section. Returns whether the entity
    /// exists.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn unlock_entity(
        &self,
        tenant: TenantId,
        entity: &EntityId,
        section: SectionId,
    ) -> Result<bool, StoreError> {
        let append = InboxAppend {
            tenant,
            id: entity.instance_id(),
            item: InboxItem::Unlock { section },
            at: self.0.shared.clock.now(),
            max_bytes: u64::MAX,
            max_waiting: u64::MAX,
            entity: None,
        };
        let appended = self.append(append, None).await?;
        Ok(matches!(appended, AppendOutcome::Appended { .. }))
    }
}

/// How a client gets the outcome of its call. The number of a request with a key follows from the key, so that the client
/// gets the outcome whichever of its requests it waits with.
pub(super) fn reply_to(tenant: TenantId, idempotency: Option<&IdempotencyKey>, entropy: &dyn Entropy) -> ReplyTo {
    let Some(key) = idempotency else {
        return ReplyTo::Client {
            request: random_number(entropy),
        };
    };
    let mut hash = Sha256::new();
    hash.update(tenant.0.to_le_bytes());
    hash.update(key.fingerprint);
    hash.update(key.key.as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let (first, _) = hash.split_first_chunk().expect("it has 32 bytes");
    ReplyTo::KeyedClient {
        request: u64::from_le_bytes(*first),
        key: key.key.clone(),
        fingerprint: key.fingerprint,
    }
}

fn random_number(entropy: &dyn Entropy) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
