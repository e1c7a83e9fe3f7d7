//! Log lines of guests.

use serde::{Deserialize, Serialize};

use super::{TaskId, Timestamp, ids::ExecutionNumber};

/// The severity of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Finest detail.
    Trace,
    /// For authors of modules.
    Debug,
    /// For operators.
    Info,
    /// Something unexpected.
    Warn,
    /// Something failed.
    Error,
}

/// One line of an instance's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written: the time of the turn, or an activity's own clock.
    pub at: Timestamp,
    /// The execution that wrote it.
    pub execution: ExecutionNumber,
    /// The activity call that wrote it; `None` for the orchestration itself.
    pub task: Option<TaskId>,
    /// The number of the attempt that wrote it.
    pub attempt: Option<u32>,
    /// The severity.
    pub level: LogLevel,
    /// The text, without a trailing line break.
    pub message: String,
}
