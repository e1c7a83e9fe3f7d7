//! Messages to owners.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::owner::{ActivityResult, MoveTo};
use crate::model::{Event, InboxRow, StuckReason};
use crate::store::Error as StoreError;

/// A message to an owner.
#[derive(Debug)]
pub enum Mail {
    /// A row was added to the inbox.
    Inbox(InboxRow),
    /// An activity call has its outcome.
    Result(ActivityResult),
    /// An event from a client. The client gets its answer once the event is durable.
    Event(RaisedEvent),
    /// Check for work: a timer is due, or the host has started.
    Wake,
    /// Drop the guest if it is idle, to free memory.
    Cool,
    /// Start activity calls that were left out because there was no memory for them. The guard is dropped when the owner
    /// has done so.
    StartCalls(oneshot::Sender<()>),
    /// Move the instance to another module version.
    Move(Box<MoveMail>),
}

/// A request to move an instance. Without an answer, the owner has ended and the instance was not moved.
#[derive(Debug)]
pub struct MoveMail {
    /// Where to.
    pub to: MoveTo,
    /// The channel for the outcome. Once it is closed, the owner gives up.
    pub reply: oneshot::Sender<MoveOutcome>,
}

/// What became of a move.
#[derive(Debug)]
pub enum MoveOutcome {
    /// The instance runs on the other version.
    Moved,
    /// The history fits; the instance was not to be moved.
    Fits,
    /// The history does not fit, and the instance stays.
    Misfit(StuckReason),
}

/// An event that is not durable yet, with the channel to its sender.
#[derive(Debug)]
pub struct RaisedEvent {
    event: Event,
    reply: oneshot::Sender<EventOutcome>,
    claim: Claim,
}

/// Decides between an owner that accepts a request and a client that stops waiting for it: the first to claim it wins.
#[derive(Debug, Clone, Default)]
pub struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether the caller is the first to claim it.
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl RaisedEvent {
    /// Creates a raised event; returns it with its claim and the receiver of its outcome.
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

    /// The event and the channel for its outcome; `None` if the sender has withdrawn it.
    pub fn take(self) -> Option<(Event, oneshot::Sender<EventOutcome>)> {
        self.claim.take().then_some((self.event, self.reply))
    }
}

/// The outcome of an event that was sent to an owner.
#[derive(Debug)]
pub enum EventOutcome {
    /// The event is durable.
    Durable,
    /// The owner did not take the event and nothing was stored: the sender stores it if the instance still exists.
    NotTaken,
    /// The store failed.
    Failed(StoreError),
}

impl Mail {
    /// The approximate size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        const BESIDE: usize = 256;
        let content = match self {
            Self::Inbox(row) => usize::try_from(row.item.payload_bytes()).unwrap_or(usize::MAX),
            Self::Event(raised) => raised.event.payload.as_str().len(),
            // Results have memory of the part for calls; the others have no content, and are few.
            Self::Result(_) | Self::Wake | Self::Cool | Self::StartCalls(_) | Self::Move(_) => return 0,
        };
        content.saturating_add(BESIDE)
    }
}
