//! Messages that wait for an instance. They are durable until the commit of the turn that takes them.

use serde::{Deserialize, Serialize};

use super::{
    Event, InboxSeq, LockRequest, Operation, Outcome, Payload, SectionId, Started, StateChange, TaskId, Timestamp,
    history::{ENTRY_BYTES, outcome_bytes},
    ids::ExecutionNumber,
};

/// The oldest events of one name that wait for an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// The folded name.
    pub name: String,
    /// The events, in order of arrival.
    pub events: Vec<(InboxSeq, Event)>,
    /// Whether more events of this name wait.
    pub more: bool,
}

/// One message in an instance's inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    /// The position in the order of arrival.
    pub seq: InboxSeq,
    /// The content of the message.
    pub item: InboxItem,
}

impl InboxItem {
    /// Whether the message is a control message: a suspended instance is woken for it, and it is read before the rest
    /// of a long inbox.
    pub fn is_control(&self) -> bool {
        match self {
            Self::Start(_)
            | Self::Terminate { .. }
            | Self::Cancel { .. }
            | Self::Suspend { .. }
            | Self::Resume { .. }
            | Self::Rewind { .. } => true,
            // Otherwise a long queue of others would keep the holder of a lock waiting, and thus the others as well.
            Self::Operation(operation) => operation.section.is_some(),
            Self::Unlock { .. } => true,
            // An entity that is stuck is woken for it.
            Self::SetState(_) => true,
            Self::TaskEnded { .. } | Self::Event(_) | Self::Lock(_) => false,
        }
    }

    /// The time until which the message waits.
    pub fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Operation(operation) => operation.due_at,
            _ => None,
        }
    }

    /// Bytes of the payloads and texts in the message.
    pub fn payload_bytes(&self) -> u64 {
        match self {
            Self::Start(started) => {
                let carried: u64 = started.events.iter().map(event_bytes).sum();
                started.input.bytes() + carried
            }
            Self::TaskEnded { outcome, .. } => outcome_bytes(outcome),
            Self::Event(event) => event.payload.bytes(),
            Self::Operation(operation) => operation.input.bytes(),
            Self::Lock(request) => request.then.len() as u64 * ENTRY_BYTES,
            Self::Unlock { .. } => 0,
            Self::SetState(change) => change.state.as_ref().map_or(0, Payload::bytes),
            Self::Terminate { reason }
            | Self::Cancel { reason }
            | Self::Suspend { reason }
            | Self::Resume { reason }
            | Self::Rewind { reason } => reason.len() as u64,
        }
    }
}

/// The number of bytes stored for a waiting event.
pub fn event_bytes(event: &Event) -> u64 {
    let text = |text: &str| {
        // The length in groups of seven bits, then the text.
        let bits = usize::BITS - text.len().leading_zeros();
        u64::from(bits.div_ceil(7).max(1)) + text.len() as u64
    };
    // One byte each for the version and the variant.
    2 + text(event.name.as_str()) + text(event.payload.as_str())
}

/// The kinds of messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InboxItem {
    /// Start an execution: the instance was just created, or continued as new.
    Start(Box<Started>),
    /// A task of an execution ended. Other executions ignore it.
    TaskEnded {
        /// The execution that waits.
        execution: ExecutionNumber,
        /// The task in that execution.
        task: TaskId,
        /// The attempt that ended, for a sub-orchestration; 0 for an activity, whose outcome is final.
        attempt: u32,
        /// The outcome of the task or attempt.
        outcome: Outcome,
    },
    /// An external event.
    Event(Event),
    /// Terminate the instance, without running it again.
    Terminate {
        /// The reason given, possibly empty.
        reason: String,
    },
    /// Suspend the instance: it takes no messages until `Resume`.
    Suspend {
        /// The reason given, possibly empty.
        reason: String,
    },
    /// Resume a suspended instance, or retry a stuck one.
    Resume {
        /// The reason given, possibly empty.
        reason: String,
    },
    /// Apply an operation. Only entities get it.
    Operation(Box<Operation>),
    /// Lock the entity for a critical section when its turn comes, and ask the next one.
    Lock(Box<LockRequest>),
    /// The critical section was left.
    Unlock {
        /// The section.
        section: SectionId,
    },
    /// Rewind the instance, which has failed: what failed runs again, what succeeded is kept.
    Rewind {
        /// The reason given, possibly empty.
        reason: String,
    },
    /// Ask the instance to cancel itself. Only orchestrations get it.
    Cancel {
        /// The reason given, possibly empty.
        reason: String,
    },
    /// Replace or delete the state, for an operator. Only entities get it.
    SetState(Box<StateChange>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::codec;

    #[test]
    fn event_bytes_is_the_stored_size() {
        for (name, length) in [
            ("a", 0),
            ("Ünï", 124),
            ("b", 125),
            ("c", 126),
            ("d", 20_000),
            ("e", 3_000_000),
        ] {
            let name: String = name.repeat(if length == 125 { 190 } else { 1 });
            let event = Event {
                name: name.parse().expect("a name"),
                payload: Payload::of(&"x".repeat(length)),
            };
            let stored = codec::encode(&InboxItem::Event(event.clone()));
            assert_eq!(event_bytes(&event), stored.len() as u64, "{length}");
        }
    }
}
