//! What waits for the writer when it is more than a batch takes: each tenant's operations in a line of their own.
//!
//! A batch takes from the lines in turns, so that one who has thousands of operations waiting does not put all others
//! behind them. Within a line they keep the order in which they came. (Those who ask wait for the answer before they ask
//! for what follows from it, so nobody can tell in which order two lines were served.)

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use crate::model::TenantId;

/// Whose line it is; none for what the host does for itself.
type Line = Option<TenantId>;

/// Lines of jobs.
pub(super) struct Backlog<J> {
    /// Those that are not empty.
    lines: BTreeMap<Line, VecDeque<J>>,
    /// The one that was served last.
    served: Line,
    length: usize,
}

impl<J> Backlog<J> {
    /// Nothing waits.
    pub(super) fn new() -> Self {
        Self {
            lines: BTreeMap::new(),
            served: None,
            length: 0,
        }
    }

    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Whether none does.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Puts a job at the end of a line.
    pub(super) fn push(&mut self, line: Line, job: J) {
        self.lines.entry(line).or_default().push_back(job);
        self.length += 1;
    }

    /// The next job: the first one of the line after the one that was served last.
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
    fn lines_are_served_in_turns_and_each_in_its_order() {
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
