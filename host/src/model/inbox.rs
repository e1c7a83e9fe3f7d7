//! Messages that wait for an instance: durable until the commit of the turn that takes them.

use serde::{Deserialize, Serialize};

use super::{Event, InboxSeq, Outcome, Started, TaskId, ids::ExecutionNumber};

/// One message in an instance's inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    /// Its place in the order of arrival.
    pub seq: InboxSeq,
    /// What it says.
    pub item: InboxItem,
}

impl InboxItem {
    /// Whether an owner must know of the message whatever else waits: a suspended instance is woken for it, and it is
    /// read before the rest of a long inbox.
    pub fn is_control(&self) -> bool {
        match self {
            Self::Start(_) | Self::Terminate { .. } | Self::Suspend { .. } | Self::Resume { .. } => true,
            Self::TaskEnded { .. } | Self::Event(_) => false,
        }
    }
}

/// What an inbox can hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InboxItem {
    /// Begin an execution: the instance was just created, or continued as new.
    Start(Box<Started>),
    /// A task of an execution ended. Ignored by any other execution.
    TaskEnded {
        /// The execution that waits.
        execution: ExecutionNumber,
        /// The task in it.
        task: TaskId,
        /// Which attempt ended, for a sub-orchestration; the outcome of an activity is final and says 0.
        attempt: u32,
        /// How.
        outcome: Outcome,
    },
    /// An external event.
    Event(Event),
    /// End the instance without running it again.
    Terminate {
        /// The reason given, possibly empty.
        reason: String,
    },
    /// Stop taking messages until `Resume`.
    Suspend {
        /// The reason given, possibly empty.
        reason: String,
    },
    /// Go on after `Suspend`, or try a stuck instance again.
    Resume {
        /// The reason given, possibly empty.
        reason: String,
    },
}
