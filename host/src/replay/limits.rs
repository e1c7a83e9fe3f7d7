//! What one new turn may ask for. Replay is not limited: what was recorded was within the limits of its day.

/// Limits on new turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// Most decisions of one turn. Bounds the work that one turn can cause elsewhere.
    pub decisions: usize,
    /// Most tasks of one execution that wait for their outcomes. Bounds what an execution makes the host remember over many
    /// turns.
    pub tasks: usize,
    /// Most bytes of the calls of one execution that wait for their outcomes: their inputs are in memory until then.
    pub call_bytes: usize,
    /// Most bytes of payload in the decisions of one turn. Bounds a history row.
    pub decision_bytes: usize,
    /// Most bytes of log lines of one turn; what comes after is dropped and counted.
    pub log_bytes: usize,
    /// Most turns of one execution. An orchestration that reaches it should have continued as new.
    pub turns: u32,
    /// Most bytes of one execution: of its history, and of the messages that were sent to it.
    pub history_bytes: u64,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            decisions: 100_000,
            tasks: 100_000,
            call_bytes: 64 << 20,
            decision_bytes: 64 << 20,
            log_bytes: 64 << 10,
            turns: 1_000_000,
            history_bytes: 256 << 20,
        }
    }
}
