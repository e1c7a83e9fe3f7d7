//! Attempts of the tasks of one execution, as far as they outlast an owner.

use std::collections::BTreeMap;

use crate::model::TaskId;
use crate::replay::{Ledger, Outstanding};
use crate::store::AttemptsSoFar;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// What is noted of activity calls that are to be resumed.
    of_calls: BTreeMap<TaskId, AttemptsSoFar>,
    /// Failed attempts of outstanding sub-orchestrations.
    failed_children: BTreeMap<TaskId, u32>,
}

impl Attempts {
    /// Takes in what the store has noted of outstanding tasks.
    pub(super) fn take_in(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>, ledger: &Ledger) {
        for (task, so_far) in noted {
            match ledger.task(task) {
                Some(Outstanding::Activity(_)) => drop(self.of_calls.insert(task, so_far)),
                Some(Outstanding::SubOrchestration(_)) => drop(self.failed_children.insert(task, so_far.failed)),
                Some(Outstanding::Timer { .. }) | None => {}
            }
        }
    }

    /// What is noted of the activity calls. Whoever resumes them goes by it from now on.
    pub(super) fn take_calls(&mut self) -> BTreeMap<TaskId, AttemptsSoFar> {
        std::mem::take(&mut self.of_calls)
    }

    /// The number of the attempt of a sub-orchestration that is under way, from 1.
    pub(super) fn of_child(&self, task: TaskId) -> u32 {
        self.failed_children.get(&task).copied().unwrap_or(0) + 1
    }

    /// An attempt of a sub-orchestration failed, and there is another.
    pub(super) fn child_failed(&mut self, task: TaskId) {
        *self.failed_children.entry(task).or_default() += 1;
    }

    /// That did not happen.
    pub(super) fn child_did_not_fail(&mut self, task: TaskId) {
        if let Some(count) = self.failed_children.get_mut(&task) {
            *count -= 1;
        }
    }
}
