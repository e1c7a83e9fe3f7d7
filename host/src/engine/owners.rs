//! The table of active owners: who gets a message for an instance.
//!
//! A message either finds the owner that is there or makes one. An owner is removed only while the table is locked and
//! its mailbox is empty, so no message falls between two owners and no instance ever has two.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::owner::ActivityResult;
use super::owner_loop::{self, Shared};
use crate::model::{Event, InboxRow, InstanceNumber};
use crate::store::{Creation, Error as StoreError, StartOutcome};

/// What an owner can be told.
#[derive(Debug)]
pub enum Mail {
    /// A row is in the inbox.
    Inbox(InboxRow),
    /// An activity call has its outcome.
    Result(ActivityResult),
    /// A client raised an event, and is told when it is durable.
    Event(RaisedEvent),
    /// Look whether there is something to do: a timer is due, the host has started.
    Wake,
    /// Forget the guest, if nothing is to do: room is needed.
    Cool,
}

/// An event that is nowhere durable yet, and who raised it.
#[derive(Debug)]
pub struct RaisedEvent {
    event: Event,
    reply: oneshot::Sender<EventOutcome>,
    claim: Claim,
}

/// Decides between an owner that takes a request and a client that does not wait any longer.
#[derive(Debug, Clone, Default)]
pub struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether the caller is the first to claim it.
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl RaisedEvent {
    /// With its claim, and where its fate is told.
    pub fn new(event: Event) -> (Self, Claim, oneshot::Receiver<EventOutcome>) {
        let (reply, taken) = oneshot::channel();
        let claim = Claim::default();
        let raised = Self {
            event,
            reply,
            claim: claim.clone(),
        };
        (raised, claim, taken)
    }

    /// The event and whom to tell, unless it was withdrawn.
    pub fn take(self) -> Option<(Event, oneshot::Sender<EventOutcome>)> {
        self.claim.take().then_some((self.event, self.reply))
    }
}

/// What became of an event that was given to an owner.
#[derive(Debug)]
pub enum EventOutcome {
    /// It is durable.
    Yes,
    /// The owner has no use for it: the instance has ended or is gone. Nothing was stored.
    No,
    /// The store failed.
    Failed(StoreError),
}

/// An instance to be created by its owner's first commit, and who is told what came of it.
#[derive(Debug)]
pub struct PendingCreation {
    /// What to create.
    pub creation: Creation,
    /// Told once it is durable, or refused.
    pub reply: oneshot::Sender<Result<StartOutcome, StoreError>>,
    /// Create it before its first turn runs.
    pub turn_later: bool,
    /// Taken by its owner when it begins, or withdrawn by a caller that no longer waits and creates the instance itself.
    pub claim: Claim,
}

/// The table. Cheap to clone.
#[derive(Clone)]
pub struct Owners(Arc<Inner>);

struct Inner {
    table: Mutex<HashMap<InstanceNumber, mpsc::UnboundedSender<Mail>>>,
    shared: Arc<Shared>,
}

impl Owners {
    /// An empty table.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::default(),
            shared,
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
                Err(mpsc::error::SendError(mail)) => mail,
            },
        };
        if matches!(mail, Mail::Cool) {
            return;
        }
        if self.0.shared.shutdown.is_cancelled() {
            // What is durable is found again at the next start; a result that is not makes its activity run again.
            return;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        // A row need not be handed over: the new owner reads the inbox. A result or an event is nowhere else.
        if matches!(mail, Mail::Result(_) | Mail::Event(_)) {
            sender.send(mail).expect("the receiver is here");
        }
        table.insert(instance, sender);
        drop(table);
        self.spawn(instance, receiver, None);
    }

    /// Makes the owner of an instance that is not stored yet, under a number that nobody knows.
    pub fn create(&self, instance: InstanceNumber, pending_creation: PendingCreation) {
        if self.0.shared.shutdown.is_cancelled() {
            return;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().insert(instance, sender);
        self.spawn(instance, receiver, Some(pending_creation));
    }

    fn spawn(
        &self,
        instance: InstanceNumber,
        mailbox: mpsc::UnboundedReceiver<Mail>,
        pending_creation: Option<PendingCreation>,
    ) {
        let work = owner_loop::run(self.clone(), instance, mailbox, pending_creation);
        self.0.shared.tracker.spawn_on(work, &self.0.shared.runtime);
    }

    /// How many owners there are.
    pub fn active(&self) -> usize {
        self.lock().len()
    }

    /// Removes an owner whose mailbox is empty; says whether it did.
    pub(super) fn remove_if_idle(&self, instance: InstanceNumber, mailbox: &mpsc::UnboundedReceiver<Mail>) -> bool {
        let mut table = self.lock();
        let idle = mailbox.is_empty();
        if idle {
            table.remove(&instance);
        }
        idle
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceNumber, mpsc::UnboundedSender<Mail>>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
