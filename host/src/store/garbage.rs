//! Rows that nobody can reach any more: noted when they become so, and deleted in small pieces later.

use crate::model::{ExecutionNumber, InstanceNumber};

/// How many executions of an instance keep their log, the current one included: an instance that continues as new for
/// ever would otherwise fill the disk with it, while its history starts anew each time.
pub(super) const EXECUTIONS_WITH_LOG: u32 = 10;

/// Rows that can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Garbage {
    /// Everything of an instance that was purged or replaced.
    Instance(InstanceNumber),
    /// History and attempts of an execution that continued as new.
    Execution(InstanceNumber, ExecutionNumber),
    /// What nobody will take any more from the inbox of an instance that has ended.
    Inbox(InstanceNumber),
}
