//! The requests of clients: starts, messages, purges, uploads, and waiting for an end. A refused request changes
//! nothing; an accepted one is durable when it is answered.

use std::time::Duration;

use bytes::Bytes;

use super::Engine;
use super::api::{
    Message, MessageError, Origin, PurgeError, PutModuleError, StartAnswer, StartError, StartRequest, StoredModule,
};
use super::creation::Offer;
use super::events;
use super::mail::{EventOutcome, Mail, RaisedEvent};
use super::starts::{self, Wanted};
use crate::model::{EntityId, Event, InboxItem, InstanceId, InstanceNumber, ObservableLimits, Payload, Tags, TenantId};
use crate::store::{
    Addressee, AppendOutcome, Creation, Cursor, Error as StoreError, IdempotencyKey, InboxAppend, ListFilter,
    PurgeMany, PurgeOutcome, PurgeTreeOutcome, PurgedMany, StartOutcome, TurnCommit,
};
use crate::tenancy::{Exceeded, Quota};

/// How long a client waits for a turn that stores its request together with the turn's row. Afterwards the request is
/// stored by itself.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many instances to purge in one transaction.
const PURGED_AT_ONCE: u32 = 500;

/// How many such transactions one request makes at most.
const PURGED_PIECES: u32 = 20;

impl Engine {
    /// Starts an orchestration. It is durable when this returns.
    ///
    /// # Errors
    /// If the start is refused; then nothing was started.
    pub async fn start(&self, request: StartRequest) -> Result<StartAnswer, StartError> {
        let StartRequest {
            tenant,
            function,
            input,
            instance_id,
            start,
            tags,
            idempotency,
            watch,
        } = request;
        let shared = &self.0.shared;
        shared.tenancy.check_tags(tenant, &tags)?;
        let wanted = Wanted {
            tenant,
            function,
            input,
            id: instance_id,
            not_before: start.not_before(shared.clock.now()),
        };
        let instance = starts::admit(shared, wanted).await?;
        let id = instance.id.clone();
        let number = self.0.shared.store.new_number(tenant, &id);
        let end = watch.then(|| self.0.shared.waiters.register(number));
        let creation = Creation {
            instance,
            key: idempotency,
            tags: tags.clone(),
        };
        let outcome = self.create(number, creation).await?;
        if !matches!(outcome, StartOutcome::Created(_)) {
            self.0.shared.tenancy.return_start(tenant);
        }
        match outcome {
            StartOutcome::Created(_) => {
                self.0.shared.stats.started_by_clients.increment();
                self.0.shared.tenancy.count_start(tenant);
                Ok(StartAnswer {
                    instance_id: id,
                    repeated: false,
                    end,
                    tags,
                })
            }
            StartOutcome::Repeated(instance_id) => Ok(StartAnswer {
                instance_id,
                repeated: true,
                end: None,
                tags: Tags::default(),
            }),
            StartOutcome::AlreadyExists(status) => Err(StartError::AlreadyExists(status)),
            StartOutcome::KeyReused => Err(StartError::KeyReused),
            StartOutcome::TenantGone => Err(StartError::TenantGone),
        }
    }

    /// The limits that a new execution of a tenant can observe, if the payload is within them.
    pub(super) fn limits_of(&self, tenant: TenantId, payload: &Payload) -> Result<ObservableLimits, Exceeded> {
        starts::limits_of(&self.0.shared, tenant, payload)
    }

    /// Creates an instance together with its first turn, or without it if the turn runs later, takes long or may end
    /// the host.
    async fn create(&self, number: InstanceNumber, creation: Creation) -> Result<StartOutcome, StoreError> {
        let tenant = creation.instance.tenant;
        let start_at = creation.instance.started.not_before;
        let (offer, offered) = Offer::new(creation.clone(), self.0.cautious);
        if start_at.is_none() && self.0.owners.create(tenant, number, offer) {
            match offered.answer(PATIENCE).await {
                // Without the turn it can be stored.
                None | Some(Err(StoreError::TooLarge)) => {}
                Some(answer) => return answer,
            }
        }
        // In a separate task: if the client disconnects in between, the stored instance must still be woken.
        let (shared, owners) = (self.0.shared.clone(), self.0.owners.clone());
        let stored = self.0.shared.tracker.spawn(async move {
            let created = shared.store.commit(TurnCommit::of_creation(number, creation)).await?;
            if let Some(refused) = created.refused {
                return Ok(refused);
            }
            match start_at {
                // Until then it takes only disk space.
                Some(at) => shared.timers.arm(tenant, number, at),
                // Even if an owner has begun: it may have failed, or looked for the instance before it was stored.
                None => owners.deliver(tenant, number, Mail::Wake),
            }
            Ok(StartOutcome::Created(number))
        });
        stored.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Raises an event for an instance, or controls it. The message is durable when this returns.
    ///
    /// # Errors
    /// If the message is refused; then nothing was delivered.
    pub async fn send(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        message: Message,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<(), MessageError> {
        if EntityId::of(id).is_some() && !matches!(message, Message::Resume { .. }) {
            return Err(MessageError::Entity);
        }
        let tenancy = &self.0.shared.tenancy;
        let is_event = matches!(message, Message::Event(_));
        if let Message::Event(event) = &message {
            self.limits_of(tenant, &event.payload)?;
            tenancy.check_stored_bytes(tenant)?;
            tenancy.take_event(tenant)?;
        } else if idempotency.is_some() {
            tenancy.check_key_of_control(tenant)?;
        }
        let item = match message {
            Message::Event(event) => {
                let is_repeatable = idempotency.is_some();
                match self.raise(tenant, id, event.clone(), is_repeatable).await? {
                    EventOutcome::Durable => return Ok(()),
                    // No owner took it, or the turn with it is too large. The store refuses it, or keeps it for the
                    // instance that has the id now.
                    EventOutcome::NotTaken | EventOutcome::Failed(StoreError::TooLarge) => InboxItem::Event(event),
                    EventOutcome::Failed(error) => return Err(error.into()),
                }
            }
            Message::Terminate { reason } => InboxItem::Terminate { reason },
            Message::Cancel { reason } => InboxItem::Cancel { reason },
            Message::Suspend { reason } => InboxItem::Suspend { reason },
            Message::Resume { reason } => InboxItem::Resume { reason },
        };
        let append = InboxAppend {
            tenant,
            id: id.clone(),
            item,
            at: self.0.shared.clock.now(),
            max_bytes: self.0.shared.max_history_bytes(tenant),
            max_waiting: u64::MAX,
            entity: None,
        };
        let max_bytes = append.max_bytes;
        match self.append(append, idempotency).await? {
            AppendOutcome::Appended { .. } => Ok(()),
            AppendOutcome::Repeated => {
                if is_event {
                    tenancy.return_event(tenant);
                }
                Ok(())
            }
            AppendOutcome::Full => Err(Exceeded::of_size(Quota::MaxHistory, max_bytes).into()),
            AppendOutcome::TooManyWaiting => unreachable!("it has no limit"),
            AppendOutcome::Unknown => Err(MessageError::Unknown),
            AppendOutcome::Ended(status) | AppendOutcome::NotFailed(status) => Err(MessageError::Ended(status)),
            AppendOutcome::KeyReused => Err(MessageError::KeyReused),
        }
    }

    /// Appends a message and notifies the owner of the instance. In a separate task: if the client disconnects in
    /// between, the owner must still learn of the message.
    pub(super) async fn append(
        &self,
        append: InboxAppend,
        key: Option<IdempotencyKey>,
    ) -> Result<AppendOutcome, StoreError> {
        let (store, owners) = (self.0.shared.store.clone(), self.0.owners.clone());
        let tenant = append.tenant;
        let appended = self.0.shared.tracker.spawn(async move {
            let outcome = store.append(append, key).await?;
            if let AppendOutcome::Appended {
                instance,
                row,
                is_at_rest,
            } = &outcome
                && (!is_at_rest || row.item.is_control())
            {
                owners.deliver(tenant, *instance, Mail::Inbox(row.clone()));
            }
            Ok(outcome)
        });
        appended.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Sends an event to the owner of the instance, so that the turn that takes the event stores it. An event with an
    /// idempotency key is only checked here: it is stored together with its key.
    async fn raise(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        event: Event,
        is_repeatable: bool,
    ) -> Result<EventOutcome, MessageError> {
        let declared = self.0.shared.guests.declare_events(tenant);
        if is_repeatable && !declared {
            return Ok(EventOutcome::NotTaken);
        }
        let Some(addressee) = self.0.shared.store.tenant(tenant).addressee(id).await? else {
            return Ok(EventOutcome::NotTaken);
        };
        let Addressee {
            number,
            module,
            function,
            status,
            is_at_rest,
        } = addressee;
        if declared && !status.has_ended() {
            events::check(&*self.0.shared.guests, module, function, &event).await?;
        }
        if is_repeatable || is_at_rest {
            return Ok(EventOutcome::NotTaken);
        }
        let (raised, claim, mut taken) = RaisedEvent::new(event);
        self.0.owners.deliver(tenant, number, Mail::Event(raised));
        let taken = match tokio::time::timeout(PATIENCE, &mut taken).await {
            Ok(taken) => taken,
            // The owner is busy and has not accepted the event: the caller stores it.
            Err(_) if claim.take() => return Ok(EventOutcome::NotTaken),
            Err(_) => taken.await,
        };
        Ok(taken.map_err(|_| StoreError::Closed)?)
    }

    /// Deletes an instance that has ended, with its history and log.
    ///
    /// # Errors
    /// If the instance does not exist or has not ended, or the store fails.
    pub async fn purge(&self, tenant: TenantId, id: &InstanceId) -> Result<(), PurgeError> {
        match self.0.shared.store.purge(tenant, id.clone()).await? {
            PurgeOutcome::Purged => Ok(()),
            PurgeOutcome::Unknown => Err(PurgeError::Unknown),
            PurgeOutcome::NotEnded(status) => Err(PurgeError::NotEnded(status)),
        }
    }

    /// Deletes an instance that has ended and all sub-orchestrations below it. Returns how many instances were deleted.
    ///
    /// # Errors
    /// If the instance does not exist, it or a sub-orchestration has not ended, or the store fails. After a failure in
    /// between, the same call deletes the rest.
    pub async fn purge_tree(&self, tenant: TenantId, id: &InstanceId) -> Result<u64, PurgeError> {
        match self.0.shared.store.purge_tree(tenant, id).await? {
            PurgeTreeOutcome::Purged(purged) => Ok(purged),
            PurgeTreeOutcome::Unknown => Err(PurgeError::Unknown),
            PurgeTreeOutcome::NotEnded(status) => Err(PurgeError::NotEnded(status)),
            PurgeTreeOutcome::ChildrenNotEnded(children) => Err(PurgeError::ChildrenNotEnded(children)),
        }
    }

    /// Deletes instances that have ended and that a filter selects, with `recursive` also the sub-orchestrations below
    /// them, in a bounded part of the list.
    ///
    /// # Errors
    /// If the store fails; what was deleted until then stays deleted.
    pub async fn purge_many(
        &self,
        tenant: TenantId,
        filter: &ListFilter,
        recursive: bool,
        from: Option<Cursor>,
    ) -> Result<PurgedMany, StoreError> {
        let mut done = PurgedMany {
            purged: 0,
            left: 0,
            next: from,
        };
        for _ in 0..PURGED_PIECES {
            let piece = PurgeMany {
                tenant,
                filter: filter.clone(),
                recursive,
                from: done.next.take(),
                limit: PURGED_AT_ONCE,
            };
            let purged = self.0.shared.store.purge_many(piece).await?;
            done.purged += purged.purged;
            done.left += purged.left;
            done.next = purged.next;
            if done.next.is_none() {
                break;
            }
        }
        Ok(done)
    }

    /// Stores a module and makes it the current version of its name.
    ///
    /// # Errors
    /// If the module is refused; then the previous version stays.
    pub async fn put_module(
        &self,
        tenant: TenantId,
        name: &str,
        bytes: Bytes,
        origin: Origin<'_>,
    ) -> Result<StoredModule, PutModuleError> {
        let quotas = self.0.shared.tenancy.tenant(tenant).map(|tenant| tenant.quotas.clone());
        let quotas = quotas.unwrap_or_default();
        quotas.check_signature(&bytes, origin.signature)?;
        let (modules, name, key) = (
            self.0.shared.modules.clone(),
            name.to_owned(),
            origin.key.map(str::to_owned),
        );
        // In a separate task: if the client disconnects in between, the functions of the stored module must still
        // become callable.
        let put = self.0.shared.tracker.spawn(async move {
            let put = modules.put(tenant, &name, bytes, &quotas, key.as_deref());
            put.await
        });
        put.await.unwrap_or(Err(StoreError::Closed.into()))
    }

    /// Removes a module's name and functions; returns whether it existed. Running instances continue.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn delete_module(&self, tenant: TenantId, name: &str) -> Result<bool, StoreError> {
        let (modules, name) = (self.0.shared.modules.clone(), name.to_owned());
        let deleted = self
            .0
            .shared
            .tracker
            .spawn(async move { modules.delete(tenant, &name).await });
        deleted.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Waits until the instance has ended or does not exist, or until the timeout.
    pub async fn wait_for_end(&self, tenant: TenantId, id: &InstanceId, timeout: Duration) {
        let ended = tokio::time::timeout(timeout, self.ended(tenant, id)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(instance_id = %id, %error, "could not check whether an instance has ended");
        }
    }

    async fn ended(&self, tenant: TenantId, id: &InstanceId) -> Result<(), StoreError> {
        let Some(number) = self.0.shared.store.tenant(tenant).number(id).await? else {
            return Ok(());
        };
        loop {
            let waiter = self.0.shared.waiters.register(number);
            let summary = self.0.shared.store.tenant(tenant).summary(id).await?;
            if summary.is_none_or(|summary| summary.number != number || summary.status.has_ended()) {
                return Ok(());
            }
            waiter.end().await;
        }
    }
}
