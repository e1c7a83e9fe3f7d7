//! Old attempts make room for new ones: which go with a batch, and how much smaller their instances become.
//!
//! How large a row is must be known before it is deleted, so that what is counted as stored stays true.

use std::collections::HashMap;

use super::plan::Plan;
use crate::store::attempts::{AttemptKey, Prunable};

/// What a batch may prune, as it is before the batch.
#[derive(Default)]
pub(super) struct OldAttempts {
    /// How long the failures of attempts are that new ones take the place of.
    pub(super) bytes: HashMap<AttemptKey, u64>,
    /// Some attempts of a task that has more than are kept.
    pub(super) prunable: Option<Prunable>,
}

impl Plan<'_> {
    /// Deletes an attempt if there is one and the batch has not deleted it yet.
    pub(super) fn prune(&mut self, key: AttemptKey) {
        let Some(bytes) = self.attempts.bytes.remove(&key) else {
            return;
        };
        self.rows.pruned.push(key);
        // What is stored of earlier executions is not counted any more.
        let is_counted = |execution| execution == key.execution;
        if self
            .heads
            .by_number(key.instance)
            .is_some_and(|head| is_counted(head.execution))
        {
            self.resize(key.instance, |sizes| sizes.remove(bytes));
        }
    }

    /// Deletes some attempts of a task that has more than are kept; says whether there was one.
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
