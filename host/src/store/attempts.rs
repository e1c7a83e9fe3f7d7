//! Attempts of tasks that did not produce the final outcome. They are not part of the history, and replay does not see
//! them.
//!
//! A task may fail for ever, so only its last attempts are kept: each new row replaces an old one. Tasks that had more
//! rows before this limit existed are listed in a table, and the sweeper prunes them.

use std::collections::BTreeMap;

use super::AttemptRow;
use crate::model::{ExecutionNumber, Failure, InstanceNumber, TaskId, Timestamp, codec};

/// How many attempts of a task are kept, counted from the last one.
pub const ATTEMPTS_KEPT: u32 = 10;

/// The most bytes of attempts in the answer to a query for a history.
pub(super) const ATTEMPT_BYTES: usize = 1 << 20;

/// The state of a task's retries, computed from its recorded attempts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttemptsSoFar {
    /// Recorded rows, including those that were deleted since.
    pub noted: u32,
    /// Failed attempts that count for the retry policy.
    pub failed: u32,
    /// The number of trailing rows that were cut off by the end of a host; at most [`ATTEMPTS_KEPT`] are known.
    pub cut_offs: u32,
    /// When the next attempt starts; `None` if it may start at once.
    pub next_at: Option<Timestamp>,
    /// The last failure and its time, if the retry policy was not applied to it yet. Rows of attempts that were cut off
    /// may follow it. If there are so many that it is no longer kept, the policy has been applied: they have started.
    pub undecided: Option<Box<(Failure, Timestamp)>>,
    /// Whether a heartbeat of the task is stored.
    pub has_heartbeat: bool,
    /// Whether the task waits to be completed from outside, so that no attempt runs.
    pub waits: bool,
}

impl AttemptsSoFar {
    /// Adds the next row of the task. Earlier rows may be missing.
    pub fn add(&mut self, row: &AttemptRow) {
        self.noted = row.ordinal;
        self.next_at = row.next_at;
        if row.cut_off {
            // A host that ends while it records the attempts that its predecessor ran leaves them to the next host,
            // which records them again. So the attempt of this row may never have started, and the failure before it
            // stays undecided.
            self.failed = row.number - 1;
            self.cut_offs += 1;
        } else {
            self.failed = row.number;
            self.cut_offs = 0;
            self.undecided = row
                .next_at
                .is_none()
                .then(|| Box::new((row.failure.clone(), row.ended_at)));
        }
    }
}

/// A row to write.
pub(super) struct NewAttempt<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) attempt: &'a AttemptRow,
    /// The encoded failure.
    pub(super) failure: Vec<u8>,
}

impl<'a> NewAttempt<'a> {
    /// Encodes the failure of an attempt.
    pub(super) fn new(instance: InstanceNumber, attempt: &'a AttemptRow) -> Self {
        Self {
            instance,
            attempt,
            failure: codec::encode(&attempt.failure),
        }
    }
}

/// The key of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AttemptKey {
    pub(super) instance: InstanceNumber,
    pub(super) execution: ExecutionNumber,
    pub(super) task: TaskId,
    pub(super) ordinal: u32,
}

impl AttemptKey {
    /// The row that a new one replaces, if the task has enough rows.
    pub(super) fn replaced_by(instance: InstanceNumber, new: &AttemptRow) -> Option<Self> {
        let ordinal = new.ordinal.checked_sub(ATTEMPTS_KEPT).filter(|ordinal| *ordinal > 0)?;
        Some(Self {
            instance,
            execution: new.execution,
            task: new.task,
            ordinal,
        })
    }
}

/// A task with more rows than are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaskToPrune {
    pub(super) instance: InstanceNumber,
    pub(super) execution: ExecutionNumber,
    pub(super) task: TaskId,
}

/// Rows of one task that can be pruned now.
#[derive(Debug)]
pub(super) struct Prunable {
    pub(super) task: TaskToPrune,
    /// The ordinals of the rows to delete, with the length of their failures in bytes.
    pub(super) rows: Vec<(u32, u64)>,
    /// Whether these are all rows of the task that are to be deleted.
    pub(super) all: bool,
}

/// The recorded attempts of some tasks.
#[derive(Debug, Default)]
pub(super) struct AttemptsOfTasks {
    /// The last attempts of each task, by task and ordinal, with abridged failures; only of the first tasks if all of
    /// them are more than [`ATTEMPT_BYTES`].
    pub(super) last: Vec<AttemptRow>,
    /// How many attempts each task has had. Tasks without attempts have no entry.
    pub(super) totals: BTreeMap<TaskId, u32>,
}
