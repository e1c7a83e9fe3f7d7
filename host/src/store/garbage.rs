//! Rows that are no longer reachable: recorded when they become garbage, and deleted later in small pieces.

use crate::model::{ExecutionNumber, InstanceNumber};

/// How many executions of an instance keep their log, including the current one. Without a limit, an instance that
/// continues as new for ever would fill the disk with log lines, although its history starts over each time.
pub(super) const EXECUTIONS_WITH_LOG: u32 = 10;

/// Rows to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Garbage {
    /// All rows of an instance that was purged or replaced.
    Instance(InstanceNumber),
    /// The history and attempts of an execution that continued as new.
    Execution(InstanceNumber, ExecutionNumber),
    /// The remaining inbox rows of an instance that has ended.
    Inbox(InstanceNumber),
}
