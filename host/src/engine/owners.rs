//! The table of active owners: delivers messages to the owner of an instance.
//!
//! A message goes to the existing owner or starts a new one. An owner is removed only while the table is locked and its
//! mailbox is empty, so no message is lost between two owners and no instance has two.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::creation::Offer;
use super::mail::{EventOutcome, Mail};
use super::mailbox::{self, Budget, Mailbox, Sender};
use super::owner::ActivityResult;
use crate::memory::{Held, Pool};
use crate::model::{InboxRow, InstanceNumber, TenantId};

/// An owner that is about to start.
pub(super) struct NewOwner {
    pub instance: InstanceNumber,
    pub mailbox: Mailbox,
    /// What the owner takes from the memory budget.
    pub memory: Held,
    /// The creation of the instance, if it is not stored yet.
    pub offer: Option<Offer>,
}

/// Starts the task of an owner.
type Spawn = dyn Fn(&Owners, NewOwner) + Send + Sync;

/// Notes that there is no memory for the owner of an instance.
type LeaveOut = dyn Fn(&Owners, TenantId, InstanceNumber) + Send + Sync;

/// What the owners need from the engine.
pub(super) struct Start {
    pub spawn: Box<Spawn>,
    pub leave_out: Box<LeaveOut>,
    /// The part of the memory budget from which owners take.
    pub pool: Pool,
}

/// What an owner takes before it knows its instance, in bytes: its task, mailbox and tables (measured).
pub(super) const OWNER_BYTES: u64 = 40 << 10;

/// The table of active owners. Cheap to clone.
#[derive(Clone)]
pub struct Owners(Arc<Inner>);

struct Inner {
    table: Mutex<HashMap<InstanceNumber, Sender>>,
    shutdown: CancellationToken,
    budget: Budget,
    start: Start,
}

impl Owners {
    /// Creates an empty table whose mailboxes share a budget. After the shutdown, it starts no owner.
    pub(super) fn new(shutdown: CancellationToken, budget: Budget, start: Start) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::default(),
            shutdown,
            budget,
            start,
        }))
    }

    /// Delivers a message to the owner of the instance, and starts an owner if there is none. If there is no memory for
    /// one, the instance is left out until there is; an event goes back to its sender, and all other messages are in the
    /// store.
    pub fn deliver(&self, tenant: TenantId, instance: InstanceNumber, mail: Mail) {
        if let Err(mail) = self.try_deliver(tenant, instance, mail, None) {
            if let Mail::Event(raised) = *mail
                && let Some((_, reply)) = raised.take()
            {
                let _ = reply.send(EventOutcome::NotTaken);
            }
            (self.0.start.leave_out)(self, tenant, instance);
        }
    }

    /// Delivers a stored message to the owner of an instance that rests, if it has one. Otherwise the instance reads the
    /// message when it goes on.
    pub(super) fn deliver_if_active(&self, instance: InstanceNumber, row: InboxRow) {
        if let Some(mailbox) = self.lock().get(&instance) {
            // An owner that panicked leaves the message to the next one.
            let _ = mailbox.send(Mail::Inbox(row));
        }
    }

    /// Delivers a result, which is not in the store.
    ///
    /// # Errors
    /// If there is no owner and no memory for one. The caller stores the result.
    pub fn deliver_result(
        &self,
        tenant: TenantId,
        instance: InstanceNumber,
        result: ActivityResult,
    ) -> Result<(), Box<ActivityResult>> {
        let delivered = self.try_deliver(tenant, instance, Mail::Result(result), None);
        delivered.map_err(|mail| match *mail {
            Mail::Result(result) => Box::new(result),
            _ => unreachable!("the message comes back"),
        })
    }

    /// Wakes an instance that was left out; its owner gets this memory.
    pub(super) fn wake_with(&self, tenant: TenantId, instance: InstanceNumber, memory: Held) {
        let delivered = self.try_deliver(tenant, instance, Mail::Wake, Some(memory));
        debug_assert!(delivered.is_ok(), "there is memory");
    }

    /// Drops the guest of an instance if it is idle.
    pub fn cool(&self, instance: InstanceNumber) {
        if let Some(mailbox) = self.lock().get(&instance) {
            let _ = mailbox.send(Mail::Cool);
        }
    }

    fn try_deliver(
        &self,
        tenant: TenantId,
        instance: InstanceNumber,
        mail: Mail,
        memory: Option<Held>,
    ) -> Result<(), Box<Mail>> {
        let mut table = self.lock();
        let mail = match table.get(&instance) {
            None => mail,
            Some(mailbox) => match mailbox.send(mail) {
                Ok(()) => return Ok(()),
                // The owner panicked. A new one takes over from the store.
                Err(mail) => *mail,
            },
        };
        if self.0.shutdown.is_cancelled() {
            // Durable messages are read at the next start; after a lost result, the activity runs again.
            return Ok(());
        }
        let Some(memory) = memory.or_else(|| self.0.start.pool.try_take(tenant, OWNER_BYTES)) else {
            return Err(Box::new(mail));
        };
        let (sender, mailbox) = mailbox::channel(&self.0.budget, tenant);
        // The new owner reads rows from the inbox. Results and events are not stored, so pass them on; and whoever asked
        // for calls to be started, or for a move, waits until that is done.
        if matches!(
            mail,
            Mail::Result(_) | Mail::Event(_) | Mail::StartCalls(_) | Mail::Move(_)
        ) {
            sender.send(mail).expect("the receiver is here");
        }
        table.insert(instance, sender);
        drop(table);
        self.spawn(instance, mailbox, memory, None);
        Ok(())
    }

    /// Starts the owner of an instance that is not stored yet. No other task knows its number. Returns false if there is
    /// no memory for the owner; then the caller stores the instance.
    pub fn create(&self, tenant: TenantId, instance: InstanceNumber, offer: Offer) -> bool {
        if self.0.shutdown.is_cancelled() {
            return true;
        }
        let Some(memory) = self.0.start.pool.try_take(tenant, OWNER_BYTES) else {
            return false;
        };
        let (sender, mailbox) = mailbox::channel(&self.0.budget, tenant);
        self.lock().insert(instance, sender);
        self.spawn(instance, mailbox, memory, Some(offer));
        true
    }

    fn spawn(&self, instance: InstanceNumber, mailbox: Mailbox, memory: Held, offer: Option<Offer>) {
        let new = NewOwner {
            instance,
            mailbox,
            memory,
            offer,
        };
        (self.0.start.spawn)(self, new);
    }

    /// The number of active owners.
    pub fn active(&self) -> usize {
        self.lock().len()
    }

    /// Removes an owner if its mailbox is empty. Returns whether it did.
    pub(super) fn remove_if_idle(&self, instance: InstanceNumber, mailbox: &Mailbox) -> bool {
        let mut table = self.lock();
        let idle = mailbox.is_empty();
        if idle {
            table.remove(&instance);
        }
        idle
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceNumber, Sender>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
