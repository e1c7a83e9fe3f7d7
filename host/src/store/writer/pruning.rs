//! Deletes old attempts: which ones a batch deletes, and how this changes the sizes of their instances.
//!
//! The size of a row must be known before it is deleted, to keep the stored bytes exact.

use std::collections::HashMap;

use super::plan::Plan;
use crate::store::attempts::{AttemptKey, Prunable};

/// Attempts that a batch may prune, in their state before the batch.
#[derive(Default)]
pub(super) struct OldAttempts {
    /// The lengths of the failures of the attempts that new ones replace, in bytes.
    pub(super) bytes: HashMap<AttemptKey, u64>,
    /// Some surplus attempts of one task.
    pub(super) prunable: Option<Prunable>,
}

impl Plan<'_> {
    /// Deletes an attempt if it exists and the batch has not deleted it yet.
    pub(super) fn prune(&mut self, key: AttemptKey) {
        let Some(bytes) = self.attempts.bytes.remove(&key) else {
            return;
        };
        self.rows.pruned.push(key);
        // The rows of earlier executions are no longer counted.
        let is_counted = |execution| execution == key.execution;
        if self
            .heads
            .by_number(key.instance)
            .is_some_and(|head| is_counted(head.execution))
        {
            self.resize(key.instance, |sizes| sizes.remove(bytes));
        }
    }

    /// Deletes some surplus attempts of one task. Returns whether there was such a task.
    pub(super) fn prune_attempts(&mut self) -> bool {
        let Some(Prunable { task, rows, all }) = self.attempts.prunable.take() else {
            return false;
        };
        for (ordinal, bytes) in rows {
            let key = AttemptKey {
                instance: task.instance,
                execution: task.execution,
                task: task.task,
                ordinal,
            };
            self.attempts.bytes.insert(key, bytes);
            self.prune(key);
        }
        if all {
            self.rows.pruned_tasks.push(task);
        }
        true
    }
}
