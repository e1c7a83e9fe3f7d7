//! Attempts of the tasks of one execution, as far as they outlast an owner.

use std::collections::BTreeMap;

use crate::model::TaskId;
use crate::replay::{Ledger, Outstanding};
use crate::store::{AttemptRow, AttemptsSoFar};

/// Attempts of outstanding tasks; see the module docs.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Recorded attempts of activity calls that were not resumed yet.
    of_calls: BTreeMap<TaskId, AttemptsSoFar>,
    /// The number of failed attempts of each outstanding sub-orchestration.
    failed_children: BTreeMap<TaskId, u32>,
}

impl Attempts {
    /// Receives what the store has recorded for outstanding tasks.
    pub(super) fn take_in(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>, ledger: &Ledger) {
        for (task, so_far) in noted {
            match ledger.task(task) {
                Some(Outstanding::Activity(_)) => drop(self.of_calls.insert(task, so_far)),
                Some(Outstanding::SubOrchestration(_)) => drop(self.failed_children.insert(task, so_far.failed)),
                Some(Outstanding::Entity(_) | Outstanding::Lock | Outstanding::Timer { .. }) | None => {}
            }
        }
    }

    /// Takes the recorded attempts of an activity call. Afterwards the activity table keeps count of them.
    pub(super) fn take_call(&mut self, task: TaskId) -> AttemptsSoFar {
        self.of_calls.remove(&task).unwrap_or_default()
    }

    /// Begins the attempts of an activity call anew, with a row that notes it; without one if none is recorded.
    pub(super) fn begin_anew(
        &mut self,
        task: TaskId,
        note: impl FnOnce(&AttemptsSoFar) -> AttemptRow,
    ) -> Option<AttemptRow> {
        let so_far = self.of_calls.get_mut(&task)?;
        let row = note(so_far);
        so_far.add(&row);
        Some(row)
    }

    /// Drops the recorded attempts of activity calls. They are read again before the calls are resumed.
    pub(super) fn forget_calls(&mut self) {
        self.of_calls.clear();
    }

    /// The number of the current attempt of a sub-orchestration, from 1.
    pub(super) fn of_child(&self, task: TaskId) -> u32 {
        self.failed_children.get(&task).copied().unwrap_or(0) + 1
    }

    /// Counts a failed attempt of a sub-orchestration that will be retried.
    pub(super) fn child_failed(&mut self, task: TaskId) {
        *self.failed_children.entry(task).or_default() += 1;
    }

    /// Undoes [`Self::child_failed`].
    pub(super) fn child_did_not_fail(&mut self, task: TaskId) {
        if let Some(count) = self.failed_children.get_mut(&task) {
            *count -= 1;
        }
    }
}
