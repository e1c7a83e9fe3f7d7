//! The writer's backlog, when more operations wait than fit into a batch: one queue per tenant.
//!
//! A batch takes from the queues in turn, so that a tenant with thousands of waiting operations does not delay all
//! others. Each queue keeps its order. (Callers wait for an answer before they send operations that depend on it, so
//! the order between two queues does not matter.)

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use crate::model::TenantId;

/// The tenant of a queue; `None` for the host's own operations.
type Line = Option<TenantId>;

/// Queues of jobs.
pub(super) struct Backlog<J> {
    /// The queues that are not empty.
    lines: BTreeMap<Line, VecDeque<J>>,
    /// The queue that was served last.
    served: Line,
    length: usize,
}

impl<J> Backlog<J> {
    /// An empty backlog.
    pub(super) fn new() -> Self {
        Self {
            lines: BTreeMap::new(),
            served: None,
            length: 0,
        }
    }

    /// The number of waiting jobs.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether no jobs wait.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends a job to a queue.
    pub(super) fn push(&mut self, line: Line, job: J) {
        self.lines.entry(line).or_default().push_back(job);
        self.length += 1;
    }

    /// Takes the first job of the queue after the one that was served last.
    pub(super) fn pop(&mut self) -> Option<J> {
        let after = (Bound::Excluded(self.served), Bound::Unbounded);
        let next = self.lines.range(after).next().or_else(|| self.lines.first_key_value());
        let line = *next?.0;
        let jobs = self.lines.get_mut(&line).expect("the line is there");
        let job = jobs.pop_front().expect("no line is empty");
        if jobs.is_empty() {
            self.lines.remove(&line);
        }
        self.served = line;
        self.length -= 1;
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_served_in_turn_and_keep_their_order() {
        let mut backlog = Backlog::new();
        let (many, few) = (Some(TenantId(1)), Some(TenantId(2)));
        (0..1_000).for_each(|number| backlog.push(many, (many, number)));
        (0..2).for_each(|number| backlog.push(few, (few, number)));
        backlog.push(None, (None, 0));
        let first: Vec<_> = std::iter::from_fn(|| backlog.pop()).take(6).collect();
        assert_eq!(first, [(many, 0), (few, 0), (None, 0), (many, 1), (few, 1), (many, 2)]);
        backlog.push(few, (few, 2));
        assert_eq!(backlog.pop(), Some((few, 2)));
        assert_eq!(backlog.len(), 997);
        assert_eq!(std::iter::from_fn(|| backlog.pop()).count(), 997);
        assert!(backlog.is_empty());
    }
}
