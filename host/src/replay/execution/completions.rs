//! The outcomes that the guest has not seen yet, in the order in which their tasks were settled.

use std::collections::BTreeMap;

use super::Completion;
use crate::model::{Outcome, TaskId};

/// The outcomes that `wait` has not returned yet. A guest may withdraw tens of thousands of tasks in one turn, so each is
/// found without a search.
#[derive(Debug, Default)]
pub(super) struct Completions {
    next: u64,
    by_order: BTreeMap<u64, Completion>,
    orders: BTreeMap<TaskId, u64>,
}

impl Completions {
    pub(super) fn is_empty(&self) -> bool {
        self.by_order.is_empty()
    }

    /// Adds the outcome of a task that has none here.
    pub(super) fn push(&mut self, task: TaskId, outcome: Outcome) {
        self.by_order.insert(self.next, Completion { task, outcome });
        self.orders.insert(task, self.next);
        self.next += 1;
    }

    /// Removes the outcome of a task, if it is still here.
    pub(super) fn remove(&mut self, task: TaskId) {
        if let Some(order) = self.orders.remove(&task) {
            self.by_order.remove(&order);
        }
    }

    /// Takes all outcomes, in order.
    pub(super) fn take_all(&mut self) -> Vec<Completion> {
        self.orders.clear();
        std::mem::take(&mut self.by_order).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Payload;

    #[test]
    fn outcomes_are_taken_in_order_without_those_that_were_removed() {
        let mut completions = Completions::default();
        for task in [3, 1, 2] {
            completions.push(TaskId(task), Ok(Payload::null()));
        }
        completions.remove(TaskId(1));
        completions.remove(TaskId(7));
        let tasks = |taken: Vec<Completion>| taken.iter().map(|completion| completion.task.0).collect::<Vec<_>>();
        assert_eq!(tasks(completions.take_all()), [3, 2]);
        assert!(completions.is_empty());
        completions.push(TaskId(1), Ok(Payload::null()));
        assert_eq!(tasks(completions.take_all()), [1]);
    }
}
