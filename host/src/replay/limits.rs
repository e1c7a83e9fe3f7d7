//! Limits on new turns. Replay is not limited, because a recorded turn respected the limits of its time.

use super::decisions::{self, TASK_BYTES};
use crate::model::Decision;

/// Limits on new turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// Maximum decisions of one turn. Bounds the work that one turn can cause elsewhere.
    pub decisions: usize,
    /// Maximum outstanding tasks of one execution. Bounds the memory of the host over many turns.
    pub tasks: usize,
    /// Maximum bytes of the outstanding calls of one execution, because the host keeps their inputs in memory.
    pub call_bytes: usize,
    /// Maximum bytes of the decisions of one turn. Bounds a history row, and how long other instances wait for the commit.
    pub decision_bytes: usize,
    /// Maximum entities of one critical section.
    pub locked_entities: usize,
    /// Maximum bytes of log lines of one turn. Further lines are dropped and counted.
    pub log_bytes: usize,
    /// Maximum log lines of one turn, because short lines take more memory than their bytes.
    pub log_lines: usize,
    /// Maximum turns of one execution. An orchestration must continue as new before it reaches this limit.
    pub turns: u32,
    /// Maximum bytes of one execution: of its history, and of the messages that were sent to it.
    pub history_bytes: u64,
}

impl TurnLimits {
    /// How large a turn may be.
    pub fn largest_turn(&self) -> TurnSize {
        TurnSize {
            decisions: self.decision_bytes,
            tasks: self
                .decisions
                .saturating_mul(TASK_BYTES as usize)
                .saturating_add(self.decision_bytes),
        }
    }
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            decisions: 100_000,
            tasks: 100_000,
            call_bytes: 64 << 20,
            decision_bytes: 16 << 20,
            locked_entities: 32,
            log_bytes: 64 << 10,
            log_lines: 4_096,
            turns: 1_000_000,
            history_bytes: 256 << 20,
        }
    }
}

/// How much memory a turn takes in the host, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnSize {
    /// Its decisions, which are in memory until they are written.
    pub decisions: usize,
    /// The tasks that it schedules, which are in memory until they have ended, with their inputs.
    pub tasks: usize,
}

impl TurnSize {
    /// More than any turn takes.
    pub const MAX: Self = Self {
        decisions: usize::MAX,
        tasks: usize::MAX,
    };

    /// Whether a turn of this size needs no more than `room` in either respect.
    pub fn fits(self, room: Self) -> bool {
        self.decisions <= room.decisions && self.tasks <= room.tasks
    }

    pub(super) fn add(&mut self, decision: &Decision) {
        self.decisions = self.decisions.saturating_add(decisions::size(decision));
        self.tasks = self.tasks.saturating_add(decisions::task_size(decision));
    }
}
