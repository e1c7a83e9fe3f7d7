//! The logs of instances: lines that guests wrote.

use std::borrow::Cow;

use super::page::Page;
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

impl LogRow {
    /// The approximate size of the line as JSON, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let escapes = self.line.message.bytes().filter(|byte| *byte < b' ').count();
        Page::ROW_BYTES + self.line.message.len() + escapes * "u0000".len()
    }
}

/// A row to write.
pub(super) struct NewLine<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) seq: InboxSeq,
    pub(super) line: Cow<'a, LogLine>,
}
