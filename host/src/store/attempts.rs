//! Tries of tasks that did not bring the final outcome. Outside replay.
//!
//! A task may fail for ever, so only its last attempts are kept: each one that is added takes the place of an old one.
//! Tasks that had more before that was so are noted, and pruned by the sweeper.

use std::collections::BTreeMap;

use super::AttemptRow;
use crate::model::{ExecutionNumber, Failure, InstanceNumber, TaskId, Timestamp, codec};

/// How many attempts of a task are kept: the last ones.
pub const ATTEMPTS_KEPT: u32 = 10;

/// What the noted attempts of a task say about the next one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttemptsSoFar {
    /// Rows noted, including those that are deleted again.
    pub noted: u32,
    /// Attempts that failed and count.
    pub failed: u32,
    /// How many of the last rows were cut off by the end of a host; at most [`ATTEMPTS_KEPT`] are known.
    pub cut_offs: u32,
    /// When the next attempt starts; none if it may start at once.
    pub next_at: Option<Timestamp>,
    /// The last failure and when it was noted, if no row says what the retry policy makes of it. Rows of attempts that were
    /// cut off may follow it: fewer than [`ATTEMPTS_KEPT`], so it is always among the rows that are kept.
    pub undecided: Option<Box<(Failure, Timestamp)>>,
}

impl AttemptsSoFar {
    /// Takes in the next row of the task. Earlier ones may be missing.
    pub fn add(&mut self, row: &AttemptRow) {
        self.noted = row.ordinal;
        self.next_at = row.next_at;
        if row.cut_off {
            // A host that ends while it notes what its predecessor ran leaves that for the next one to note again. So
            // the attempt that this row is about may never have started, and the failure before it stays undecided.
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

/// An attempt to be written.
pub(super) struct NewAttempt<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) attempt: &'a AttemptRow,
    /// The failure as it is stored.
    pub(super) failure: Vec<u8>,
}

impl<'a> NewAttempt<'a> {
    /// An attempt of an instance.
    pub(super) fn new(instance: InstanceNumber, attempt: &'a AttemptRow) -> Self {
        Self {
            instance,
            attempt,
            failure: codec::encode(&attempt.failure),
        }
    }
}

/// One row, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AttemptKey {
    pub(super) instance: InstanceNumber,
    pub(super) execution: ExecutionNumber,
    pub(super) task: TaskId,
    pub(super) ordinal: u32,
}

impl AttemptKey {
    /// The row that a new one takes the place of, if the task has that many.
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

/// What can be pruned now.
#[derive(Debug)]
pub(super) struct Prunable {
    pub(super) task: TaskToPrune,
    /// The ordinals of rows that can go, with the length of their failures.
    pub(super) rows: Vec<(u32, u64)>,
    /// Whether these are all of them.
    pub(super) all: bool,
}

/// The attempts of some tasks.
#[derive(Debug, Default)]
pub(super) struct AttemptsOfTasks {
    /// The last ones of each task, by task and ordinal; of the first tasks only, if they would fill more than a [page](super::page).
    pub(super) last: Vec<AttemptRow>,
    /// How many each task has had; nothing of tasks that have had none.
    pub(super) totals: BTreeMap<TaskId, u32>,
}
