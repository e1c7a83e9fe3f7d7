//! The writer's backlog, when more operations wait than fit into a batch: one queue per tenant.
//!
//! The queue that was served least is served next, measured in bytes (start-time fair queueing: Goyal, Vin and Cheng,
//! 1996). So neither thousands of waiting operations of a tenant nor a few of many megabytes delay all others. After a
//! very large operation, a queue waits for a [limited](MAX_AHEAD) part of what others have. Each queue keeps its order.
//! (Callers wait for an answer before they send operations that depend on it, so the order between two queues does not
//! matter.)

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::model::TenantId;

/// What an operation costs in addition to its bytes: it changes at least a few pages of the database.
const JOB_BYTES: u64 = 8 << 10;

/// How far a queue may be ahead of the others, in bytes.
const MAX_AHEAD: u64 = 8 << 20;

/// Whose operations a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Line {
    /// The host's own, for which somebody waits.
    Host,
    /// The host's own beside everything else, such as deleting rows.
    Upkeep,
    /// Those of instances that the writer does not know at the moment.
    Unknown,
    Tenant(TenantId),
}

/// Queues of jobs.
pub(super) struct Backlog<J> {
    /// Those with jobs, and those that were served since the backlog was last empty.
    lines: HashMap<Line, Queue<J>>,
    /// The queues with jobs, by their [`Queue::served`].
    order: BTreeSet<(u64, Line)>,
    /// [`Queue::served`] of the queue that was served last.
    now: u64,
    length: usize,
}

struct Queue<J> {
    jobs: VecDeque<(usize, J)>,
    /// The cost of the jobs taken from it, in bytes. A queue that had no jobs for a while does not catch up.
    served: u64,
}

impl<J> Backlog<J> {
    /// An empty backlog.
    pub(super) fn new() -> Self {
        Self {
            lines: HashMap::new(),
            order: BTreeSet::new(),
            now: 0,
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

    /// Whether several queues have had jobs since the backlog was last empty.
    pub(super) fn is_shared(&self) -> bool {
        self.lines.len() > 1
    }

    /// Appends a job that writes this many bytes to a queue.
    pub(super) fn push(&mut self, line: Line, bytes: usize, job: J) {
        let queue = self.lines.entry(line).or_insert_with(|| Queue {
            jobs: VecDeque::new(),
            served: 0,
        });
        if queue.jobs.is_empty() {
            queue.served = queue.served.max(self.now);
            self.order.insert((queue.served, line));
        }
        queue.jobs.push_back((bytes, job));
        self.length += 1;
    }

    /// Takes the first job of the queue that was served least, of those whose first job writes at most `max_each` bytes.
    /// Returns `None` if there is none, or if the job writes more than `room` bytes.
    pub(super) fn pop(&mut self, max_each: usize, room: usize) -> Option<J> {
        let first_bytes = |line: &Line| self.lines[line].jobs[0].0;
        let (served, line) = *self.order.iter().find(|(_, line)| first_bytes(line) <= max_each)?;
        if first_bytes(&line) > room {
            return None;
        }
        let queue = self.lines.get_mut(&line).expect("the line is there");
        let (bytes, job) = queue.jobs.pop_front().expect("a line in the order has jobs");
        self.order.remove(&(served, line));
        self.now = self.now.max(served);
        let cost = bytes as u64 + JOB_BYTES;
        queue.served = (served + cost).min(self.now + MAX_AHEAD);
        if !queue.jobs.is_empty() {
            self.order.insert((queue.served, line));
        }
        self.length -= 1;
        if self.is_empty() {
            self.lines.clear();
            self.now = 0;
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Line = Line::Tenant(TenantId(1));
    const FEW: Line = Line::Tenant(TenantId(2));

    fn take<J>(backlog: &mut Backlog<J>, count: usize) -> Vec<J> {
        let jobs = std::iter::from_fn(|| backlog.pop(usize::MAX, usize::MAX));
        jobs.take(count).collect()
    }

    #[test]
    fn queues_are_served_in_turn_and_keep_their_order() {
        let mut backlog = Backlog::new();
        (0..1_000).for_each(|number| backlog.push(MANY, 10, (MANY, number)));
        (0..2).for_each(|number| backlog.push(FEW, 10, (FEW, number)));
        backlog.push(Line::Host, 10, (Line::Host, 0));
        assert_eq!(
            take(&mut backlog, 6),
            [(Line::Host, 0), (MANY, 0), (FEW, 0), (MANY, 1), (FEW, 1), (MANY, 2)]
        );
        backlog.push(FEW, 10, (FEW, 2));
        assert_eq!(take(&mut backlog, 2), [(FEW, 2), (MANY, 3)]);
        assert_eq!(backlog.len(), 996);
        assert_eq!(take(&mut backlog, 1_000).len(), 996);
        assert!(backlog.is_empty() && backlog.lines.is_empty() && backlog.order.is_empty());
    }

    /// The positions of the jobs of a queue in an order.
    fn positions(order: &[(Line, u32)], line: Line) -> Vec<usize> {
        let all = order.iter().enumerate();
        all.filter(|(_, job)| job.0 == line).map(|(at, _)| at).collect()
    }

    #[test]
    fn large_jobs_wait_for_small_ones_of_others() {
        let mut backlog = Backlog::new();
        let large = 1 << 20;
        (0..3).for_each(|number| backlog.push(MANY, large, (MANY, number)));
        (0..1_000).for_each(|number| backlog.push(FEW, 0, (FEW, number)));
        let order = take(&mut backlog, 1_003);
        let small_per_large = (large as u64 + JOB_BYTES).div_ceil(JOB_BYTES) as usize;
        let expected = [0, small_per_large + 1, 2 * small_per_large + 1];
        let found = positions(&order, MANY);
        assert!(
            found.iter().zip(expected).all(|(found, at)| found.abs_diff(at) <= 1),
            "{found:?}"
        );
    }

    #[test]
    fn a_very_large_job_does_not_block_its_queue_for_long() {
        let mut backlog = Backlog::new();
        backlog.push(MANY, 1 << 30, (MANY, 0));
        backlog.push(MANY, 0, (MANY, 1));
        (0..100_000).for_each(|number| backlog.push(FEW, 0, (FEW, number)));
        let order = take(&mut backlog, 100_002);
        let most = (MAX_AHEAD / JOB_BYTES) as usize + 1;
        assert_eq!(positions(&order, MANY), [0, most]);
    }

    #[test]
    fn a_queue_without_jobs_does_not_save_up_its_share() {
        let mut backlog = Backlog::new();
        (0..100).for_each(|_| backlog.push(MANY, 10, MANY));
        take(&mut backlog, 50);
        (0..100).for_each(|_| backlog.push(FEW, 10, FEW));
        let next = take(&mut backlog, 20);
        assert_eq!(next.iter().filter(|line| **line == FEW).count(), 10);
    }

    #[test]
    fn it_is_shared_until_it_is_empty_again() {
        let mut backlog = Backlog::new();
        (0..3).for_each(|_| backlog.push(MANY, 10, MANY));
        assert!(!backlog.is_shared());
        backlog.push(FEW, 10, FEW);
        take(&mut backlog, 2);
        assert!(backlog.is_shared(), "the other queue was served a moment ago");
        take(&mut backlog, 2);
        backlog.push(MANY, 10, MANY);
        assert!(!backlog.is_shared());
    }

    #[test]
    fn a_job_without_room_is_the_first_of_the_next_batch() {
        let mut backlog = Backlog::new();
        backlog.push(MANY, 1_000, "large");
        backlog.push(MANY, 1, "behind it");
        assert_eq!(backlog.pop(usize::MAX, 999), None);
        backlog.push(FEW, 10, "small");
        assert_eq!(backlog.pop(100, 999), Some("small"));
        assert_eq!(backlog.pop(100, 999), None, "the order of a queue is kept");
        assert_eq!(take(&mut backlog, 3), ["large", "behind it"]);
    }
}
