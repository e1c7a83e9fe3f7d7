//! The table of active owners: delivers messages to the owner of an instance.
//!
//! A message goes to the existing owner or starts a new one. An owner is removed only while the table is locked and its
//! mailbox is empty, so no message is lost between two owners and no instance has two.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::creation::Offer;
use super::mail::Mail;
use super::mailbox::{self, Budget, Mailbox, Sender};
use crate::model::InstanceNumber;

/// An owner that is about to start.
pub(super) struct NewOwner {
    pub instance: InstanceNumber,
    pub mailbox: Mailbox,
    /// The creation of the instance, if it is not stored yet.
    pub offer: Option<Offer>,
}

/// Starts the task of an owner.
type Spawn = Box<dyn Fn(&Owners, NewOwner) + Send + Sync>;

/// The table of active owners. Cheap to clone.
#[derive(Clone)]
pub struct Owners(Arc<Inner>);

struct Inner {
    table: Mutex<HashMap<InstanceNumber, Sender>>,
    shutdown: CancellationToken,
    budget: Budget,
    spawn: Spawn,
}

impl Owners {
    /// Creates an empty table whose mailboxes share a budget. After the shutdown, it starts no owner.
    pub(super) fn new(
        shutdown: CancellationToken,
        budget: Budget,
        spawn: impl Fn(&Self, NewOwner) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::default(),
            shutdown,
            budget,
            spawn: Box::new(spawn),
        }))
    }

    /// Delivers a message to the owner of the instance, and starts an owner if there is none.
    pub fn deliver(&self, instance: InstanceNumber, mail: Mail) {
        let mut table = self.lock();
        let mail = match table.get(&instance) {
            None => mail,
            Some(mailbox) => match mailbox.send(mail) {
                Ok(()) => return,
                // The owner panicked. A new one takes over from the store.
                Err(mail) => *mail,
            },
        };
        if matches!(mail, Mail::Cool) {
            return;
        }
        if self.0.shutdown.is_cancelled() {
            // Durable messages are read at the next start; after a lost result, the activity runs again.
            return;
        }
        let (sender, mailbox) = mailbox::channel(&self.0.budget);
        // The new owner reads rows from the inbox. Results and events are not stored, so pass them on; and whoever asked
        // for calls to be started waits until they are.
        if matches!(mail, Mail::Result(_) | Mail::Event(_) | Mail::StartCalls(_)) {
            sender.send(mail).expect("the receiver is here");
        }
        table.insert(instance, sender);
        drop(table);
        self.spawn(instance, mailbox, None);
    }

    /// Starts the owner of an instance that is not stored yet. No other task knows its number.
    pub fn create(&self, instance: InstanceNumber, offer: Offer) {
        if self.0.shutdown.is_cancelled() {
            return;
        }
        let (sender, mailbox) = mailbox::channel(&self.0.budget);
        self.lock().insert(instance, sender);
        self.spawn(instance, mailbox, Some(offer));
    }

    fn spawn(&self, instance: InstanceNumber, mailbox: Mailbox, offer: Option<Offer>) {
        let new = NewOwner {
            instance,
            mailbox,
            offer,
        };
        (self.0.spawn)(self, new);
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
