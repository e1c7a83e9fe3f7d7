//! A history that the caller folds while the store reads it, with what belongs to its outstanding tasks, all from one
//! snapshot. The store does not know what a history means; the caller does, and passes a [`HistoryFold`].

use std::collections::{BTreeMap, BTreeSet};

use super::{AttemptRow, InstanceDetails};
use crate::model::{InstanceId, InstanceStatus, Rewinds, TaskId, Timestamp, Turn};

/// A longer history is not read for a fold, in turns.
pub const MAX_FOLDED_TURNS: u32 = 50_000;

/// A larger history is not read for a fold, in stored bytes: some ten milliseconds of reading and decoding.
pub const MAX_FOLDED_BYTES: u64 = 16 << 20;

/// What a caller computes from a history, turn by turn.
pub trait HistoryFold: Send {
    /// Begins with an execution that has these rewinds.
    fn begin(&mut self, rewinds: &Rewinds);

    /// Adds the next turn.
    ///
    /// # Errors
    /// If the turn cannot follow the last one. The message names the problem.
    fn add(&mut self, turn: Turn) -> Result<(), String>;

    /// The tasks whose last attempts the caller wants, after the last turn.
    fn tasks(&self) -> Vec<TaskId>;

    /// The instances whose status the caller wants, given the last attempts of the tasks.
    fn instances(&self, attempts: &BTreeMap<TaskId, AttemptRow>) -> Vec<InstanceId>;
}

/// An instance with the fold of its current execution.
#[derive(Debug)]
pub struct Folded<F> {
    /// The instance.
    pub details: InstanceDetails,
    /// The fold of all turns; without any turn if the history `is_too_long`.
    pub fold: F,
    /// Whether the history has more than [`MAX_FOLDED_TURNS`] or [`MAX_FOLDED_BYTES`].
    pub is_too_long: bool,
    /// The last attempt of each task that the fold asked for and that has any. Their failures are
    /// [brief](crate::model::Failure::brief).
    pub attempts: BTreeMap<TaskId, AttemptRow>,
    /// Those of the tasks that the fold asked for that wait to be completed from outside.
    pub completed_outside: BTreeSet<TaskId>,
    /// The instances that the fold asked for and that exist: the status, and while it is pending, when its first turn
    /// runs if that is delayed.
    pub instances: BTreeMap<InstanceId, (InstanceStatus, Option<Timestamp>)>,
}
