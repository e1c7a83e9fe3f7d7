//! What owners are told, and by whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::owner::ActivityResult;
use crate::model::{Event, InboxRow, history::outcome_bytes};
use crate::store::Error as StoreError;

/// What an owner can be told.
#[derive(Debug)]
pub enum Mail {
    /// A row is in the inbox.
    Inbox(InboxRow),
    /// An activity call has its outcome.
    Result(ActivityResult),
    /// An event from a client. The client gets its answer once the event is durable.
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
    /// With its claim, and where its outcome is sent.
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
    Durable,
    /// The owner did not take it, and nothing was stored: the sender has it stored, if the instance is still there.
    NotTaken,
    /// The store failed.
    Failed(StoreError),
}

impl Mail {
    /// About how much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        const BESIDE: usize = 256;
        let content = match self {
            Self::Inbox(row) => usize::try_from(row.item.payload_bytes()).unwrap_or(usize::MAX),
            Self::Result(result) => {
                let outcome = usize::try_from(outcome_bytes(&result.outcome)).unwrap_or(usize::MAX);
                outcome + result.logs.iter().map(|line| line.message.len()).sum::<usize>()
            }
            Self::Event(raised) => raised.event.payload.as_str().len(),
            Self::Wake | Self::Cool => 0,
        };
        content.saturating_add(BESIDE)
    }
}
