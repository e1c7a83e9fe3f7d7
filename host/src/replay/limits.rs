//! Limits on new turns. Replay is not limited, because a recorded turn respected the limits of its time.

/// Limits on new turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// Maximum decisions of one turn. Bounds the work that one turn can cause elsewhere.
    pub decisions: usize,
    /// Maximum outstanding tasks of one execution. Bounds the memory of the host over many turns.
    pub tasks: usize,
    /// Maximum bytes of the outstanding calls of one execution, because the host keeps their inputs in memory.
    pub call_bytes: usize,
    /// Maximum bytes of the decisions of one turn. Bounds a history row.
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

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            decisions: 100_000,
            tasks: 100_000,
            call_bytes: 64 << 20,
            decision_bytes: 64 << 20,
            locked_entities: 32,
            log_bytes: 64 << 10,
            log_lines: 4_096,
            turns: 1_000_000,
            history_bytes: 256 << 20,
        }
    }
}
