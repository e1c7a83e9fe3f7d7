//! Instances' logs: lines that guests wrote.

use std::borrow::Cow;

use crate::model::{InboxSeq, InstanceNumber, LogLevel, LogLine};

/// Which lines of an instance's log are wanted.
#[derive(Debug, Clone)]
pub struct LogFilter {
    /// Lines of this level or a more urgent one.
    pub at_least: LogLevel,
    /// Lines after this position; none from the beginning.
    pub after: Option<LogSeq>,
    /// At most that many.
    pub limit: u32,
}

/// Position in an instance's log; grows, with gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogSeq(pub u64);

/// A line with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Where it stands.
    pub seq: LogSeq,
    /// The line.
    pub line: LogLine,
}

/// A line to be written.
pub(super) struct NewLine<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) seq: InboxSeq,
    pub(super) line: Cow<'a, LogLine>,
}
