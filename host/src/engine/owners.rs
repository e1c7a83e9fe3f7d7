//! The table of active owners: who gets a message for an instance.
//!
//! A message either finds the owner that is there or makes one. An owner is removed only while the table is locked and
//! its mailbox is empty, so no message falls between two owners and no instance ever has two.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::creation::Offer;
use super::mail::Mail;
use super::mailbox::{self, Budget, Mailbox, Sender};
use crate::model::InstanceNumber;

/// An owner that is to begin.
pub(super) struct NewOwner {
    pub instance: InstanceNumber,
    pub mailbox: Mailbox,
    /// If the instance is not stored yet, its creation.
    pub offer: Option<Offer>,
}

/// Starts the task of an owner.
type Spawn = Box<dyn Fn(&Owners, NewOwner) + Send + Sync>;

/// The table. Cheap to clone.
#[derive(Clone)]
pub struct Owners(Arc<Inner>);

struct Inner {
    table: Mutex<HashMap<InstanceNumber, Sender>>,
    shutdown: CancellationToken,
    budget: Budget,
    spawn: Spawn,
}

impl Owners {
    /// An empty table, whose mailboxes share a budget. After the shutdown, no owner begins.
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

    /// Gives a message to the owner of the instance, which is made if there is none.
    pub fn deliver(&self, instance: InstanceNumber, mail: Mail) {
        let mut table = self.lock();
        let mail = match table.get(&instance) {
            None => mail,
            Some(mailbox) => match mailbox.send(mail) {
                Ok(()) => return,
                // The owner panicked. Another one takes over from what is stored.
                Err(mail) => *mail,
            },
        };
        if matches!(mail, Mail::Cool) {
            return;
        }
        if self.0.shutdown.is_cancelled() {
            // What is durable is found again at the next start; a result that is not makes its activity run again.
            return;
        }
        let (sender, mailbox) = mailbox::channel(&self.0.budget);
        // A row need not be handed over: the new owner reads the inbox. A result or an event is nowhere else.
        if matches!(mail, Mail::Result(_) | Mail::Event(_)) {
            sender.send(mail).expect("the receiver is here");
        }
        table.insert(instance, sender);
        drop(table);
        self.spawn(instance, mailbox, None);
    }

    /// Makes the owner of an instance that is not stored yet, under a number that nobody knows.
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

    /// How many owners there are.
    pub fn active(&self) -> usize {
        self.lock().len()
    }

    /// Removes an owner whose mailbox is empty; says whether it did.
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
