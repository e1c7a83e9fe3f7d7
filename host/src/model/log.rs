//! Lines that guests write.

use serde::{Deserialize, Serialize};

use super::{TaskId, Timestamp, ids::ExecutionNumber};

/// How urgent a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Finest detail.
    Trace,
    /// For the author.
    Debug,
    /// For the operator.
    Info,
    /// Something looks wrong.
    Warn,
    /// Something went wrong.
    Error,
}

/// One line of an instance's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written: the turn's time, or an activity's own clock.
    pub at: Timestamp,
    /// The execution that wrote it.
    pub execution: ExecutionNumber,
    /// The activity call that wrote it; none for the orchestration itself.
    pub task: Option<TaskId>,
    /// The attempt of that call.
    pub attempt: Option<u32>,
    /// How urgent.
    pub level: LogLevel,
    /// The text, without a line break at its end.
    pub message: String,
}
