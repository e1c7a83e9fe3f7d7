//! Rows that are no longer reachable: recorded when they become garbage, and deleted later in small pieces.

use crate::model::{ExecutionNumber, InstanceNumber, TenantId};

/// How many executions of an instance keep their log, including the current one. Without a limit, an instance that
/// continues as new for ever would fill the disk with log lines, although its history starts over each time.
pub(super) const EXECUTIONS_WITH_LOG: u32 = 10;

/// Rows to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Garbage {
    /// All rows of an instance that was purged or replaced.
    Instance(InstanceNumber),
    /// The history, attempts and heartbeats of an execution that continued as new.
    Execution(InstanceNumber, ExecutionNumber),
    /// The remaining inbox rows of an instance that has ended.
    Inbox(InstanceNumber),
}

/// The maximum bytes that one sweep deletes, beside the last row: freeing the pages of a large row takes as long as
/// writing it.
pub(super) const MAX_SWEPT_BYTES: u64 = 2 << 20;

/// What a sweep may still delete in its transaction.
pub(super) struct Room {
    rows: u64,
    bytes: u64,
}

impl Room {
    /// Room for that many rows.
    pub(super) fn new(rows: u64) -> Self {
        Self {
            rows,
            bytes: MAX_SWEPT_BYTES,
        }
    }

    /// The rows that may still be deleted.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The bytes that may still be deleted.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing more may be deleted.
    pub(super) fn is_used_up(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }

    /// Takes the room of a row with this many bytes.
    pub(super) fn take(&mut self, bytes: u64) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What a sweep has deleted.
#[derive(Default)]
pub(super) struct Swept {
    /// Whether there may be more.
    pub(super) more: bool,
    /// The size of deleted lines of earlier executions, by instance.
    pub(super) old_logs: Vec<(InstanceNumber, u64)>,
    /// The size of deleted idempotency keys, by tenant.
    pub(super) keys: Vec<(TenantId, u64)>,
}
