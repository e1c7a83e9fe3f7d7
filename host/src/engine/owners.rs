//! The table of active owners: who gets a message for an instance.
//!
//! A message either finds the owner that is there or makes one. An owner is removed only while the table is locked and
//! its mailbox is empty, so no message falls between two owners and no instance ever has two.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::mail::{Mail, PendingCreation};
use super::mailbox::{self, Budget, Mailbox, Sender};
use super::shared::Shared;
use crate::model::InstanceNumber;

/// Starts the task of an owner: for an instance that is stored, or for one to be created.
pub(super) type Spawn = fn(&Owners, InstanceNumber, Mailbox, Option<PendingCreation>);

/// The table. Cheap to clone.
#[derive(Clone)]
pub struct Owners(Arc<Inner>);

struct Inner {
    table: Mutex<HashMap<InstanceNumber, Sender>>,
    shared: Arc<Shared>,
    budget: Budget,
    spawn: Spawn,
}

impl Owners {
    /// An empty table, whose mailboxes share a budget.
    pub(super) fn new(shared: Arc<Shared>, budget: Budget, spawn: Spawn) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::default(),
            shared,
            budget,
            spawn,
        }))
    }

    /// What all owners share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
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
        if self.0.shared.shutdown.is_cancelled() {
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
        (self.0.spawn)(self, instance, mailbox, None);
    }

    /// Makes the owner of an instance that is not stored yet, under a number that nobody knows.
    pub fn create(&self, instance: InstanceNumber, creation: PendingCreation) {
        if self.0.shared.shutdown.is_cancelled() {
            return;
        }
        let (sender, mailbox) = mailbox::channel(&self.0.budget);
        self.lock().insert(instance, sender);
        (self.0.spawn)(self, instance, mailbox, Some(creation));
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
