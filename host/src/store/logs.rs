//! The logs of instances: lines that guests wrote.

use std::borrow::Cow;

use crate::model::{InboxSeq, InstanceNumber, LogLevel, LogLine};

/// Selects lines of an instance's log.
#[derive(Debug, Clone)]
pub struct LogFilter {
    /// The least urgent level.
    pub at_least: LogLevel,
    /// Only lines after this position; `None` starts from the beginning.
    pub after: Option<LogSeq>,
    /// The maximum number of lines.
    pub limit: u32,
}

/// A position in an instance's log. Positions increase, with gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogSeq(pub u64);

/// A stored line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// The line's position.
    pub seq: LogSeq,
    /// The line itself.
    pub line: LogLine,
}

/// A row to write.
pub(super) struct NewLine<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) seq: InboxSeq,
    pub(super) line: Cow<'a, LogLine>,
}
