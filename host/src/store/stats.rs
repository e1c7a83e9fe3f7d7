//! Counters of what the writer did, for metrics and benchmarks.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::model::InboxSeq;

/// Counted since the host started.
#[derive(Debug, Default)]
pub(super) struct Stats {
    operations: AtomicU64,
    rows: AtomicU64,
    batches: AtomicU64,
    failures: AtomicU64,
    newest_message: AtomicU64,
}

/// What the writer did since the host started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// Operations answered: turn commits, starts, messages and the like.
    pub operations: u64,
    /// Rows written or deleted by them.
    pub rows: u64,
    /// Transactions they were written in.
    pub batches: u64,
    /// Operations that the database rejected, and batches that it could not begin.
    pub failures: u64,
}

impl Stats {
    /// Counts a batch that was written.
    pub(super) fn count_batch(&self, operations: usize, rows: u64) {
        self.operations.fetch_add(operations as u64, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
        self.batches.fetch_add(1, Relaxed);
    }

    /// Notes the newest message that is on disk.
    pub(super) fn set_newest_message(&self, seq: InboxSeq) {
        self.newest_message.store(seq.0, Release);
    }

    /// No message that is on disk now is newer than that.
    pub(super) fn newest_message(&self) -> InboxSeq {
        InboxSeq(self.newest_message.load(Acquire))
    }

    /// Counts something that was not written.
    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// The counts now.
    pub(super) fn read(&self) -> StoreStats {
        StoreStats {
            operations: self.operations.load(Relaxed),
            rows: self.rows.load(Relaxed),
            batches: self.batches.load(Relaxed),
            failures: self.failures.load(Relaxed),
        }
    }
}
