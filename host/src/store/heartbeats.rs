//! The last heartbeats of activity calls. They are not part of the history, and replay does not see them.
//!
//! A call has one row, which each stored heartbeat replaces. The row stays until its execution is deleted.

use crate::model::{ExecutionNumber, InstanceNumber, Payload, TaskId, Timestamp};

/// The most bytes of heartbeats in the answer to a query for a history.
pub(super) const HEARTBEAT_BYTES: usize = 1 << 20;

/// The last heartbeat of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The execution that made the call.
    pub execution: ExecutionNumber,
    /// The task of the call.
    pub task: TaskId,
    /// What the attempt reported.
    pub details: Payload,
    /// When it reported this.
    pub at: Timestamp,
}

/// The key of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HeartbeatKey {
    pub(super) instance: InstanceNumber,
    pub(super) execution: ExecutionNumber,
    pub(super) task: TaskId,
}

impl HeartbeatKey {
    /// The key of a heartbeat.
    pub(super) fn of(instance: InstanceNumber, heartbeat: &Heartbeat) -> Self {
        Self {
            instance,
            execution: heartbeat.execution,
            task: heartbeat.task,
        }
    }
}

/// A row to write.
pub(super) struct NewHeartbeat<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) heartbeat: &'a Heartbeat,
}
