//! Counters of what the writer did, for metrics and benchmarks.

use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use crate::metrics::{Counter, Distribution, Histogram};
use crate::model::InboxSeq;

/// Ranges of the time of a transaction, in microseconds: a quiet disk takes some hundred, a busy one milliseconds.
const MICROS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
];

/// Ranges of the operations in a transaction, up to the most that there can be.
const OPERATIONS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Ranges of the rows in a transaction.
const ROWS: [u64; 8] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384];

/// Counted since the host started.
#[derive(Debug)]
pub(super) struct Stats {
    operations: Counter,
    rows: Counter,
    batches: Counter,
    failures: Counter,
    checkpoint_pauses: Counter,
    checkpoints_in_use: Counter,
    batch_micros: Histogram<{ MICROS.len() }>,
    batch_operations: Histogram<{ OPERATIONS.len() }>,
    batch_rows: Histogram<{ ROWS.len() }>,
    newest_message: AtomicU64,
    backlog: AtomicUsize,
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
    /// Times that the writer paused so that SQLite's log could start over.
    pub checkpoint_pauses: u64,
    /// Checkpoints that could not shorten SQLite's log, because a reader needed what was there before it.
    pub checkpoints_in_use: u64,
}

/// How large and how slow the writer's transactions were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchStats {
    /// From the beginning of a transaction until it was on disk, in microseconds.
    pub micros: Distribution,
    /// Operations in a transaction.
    pub operations: Distribution,
    /// Rows in a transaction.
    pub rows: Distribution,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            operations: Counter::default(),
            rows: Counter::default(),
            batches: Counter::default(),
            failures: Counter::default(),
            checkpoint_pauses: Counter::default(),
            checkpoints_in_use: Counter::default(),
            batch_micros: Histogram::new(MICROS),
            batch_operations: Histogram::new(OPERATIONS),
            batch_rows: Histogram::new(ROWS),
            newest_message: AtomicU64::new(0),
            backlog: AtomicUsize::new(0),
        }
    }
}

impl Stats {
    /// Counts a batch that was written.
    pub(super) fn count_batch(&self, operations: usize, rows: u64, took: Duration) {
        self.operations.add(operations as u64);
        self.rows.add(rows);
        self.batches.increment();
        self.batch_micros
            .record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.batch_operations.record(operations as u64);
        self.batch_rows.record(rows);
    }

    /// Notes the newest message that is on disk.
    pub(super) fn set_newest_message(&self, seq: InboxSeq) {
        self.newest_message.store(seq.0, Release);
    }

    /// No message that is on disk now is newer than that.
    pub(super) fn newest_message(&self) -> InboxSeq {
        InboxSeq(self.newest_message.load(Acquire))
    }

    /// Notes how many operations the writer has taken and not begun.
    pub(super) fn set_backlog(&self, operations: usize) {
        self.backlog.store(operations, Relaxed);
    }

    /// How many those are.
    pub(super) fn backlog(&self) -> usize {
        self.backlog.load(Relaxed)
    }

    /// Counts something that was not written.
    pub(super) fn count_failure(&self) {
        self.failures.increment();
    }

    /// Counts that the writer pauses for a checkpoint.
    pub(super) fn count_checkpoint_pause(&self) {
        self.checkpoint_pauses.increment();
    }

    /// Counts a checkpoint that a reader stood in the way of.
    pub(super) fn count_checkpoint_in_use(&self) {
        self.checkpoints_in_use.increment();
    }

    /// The counts now.
    pub(super) fn read(&self) -> StoreStats {
        StoreStats {
            operations: self.operations.get(),
            rows: self.rows.get(),
            batches: self.batches.get(),
            failures: self.failures.get(),
            checkpoint_pauses: self.checkpoint_pauses.get(),
            checkpoints_in_use: self.checkpoints_in_use.get(),
        }
    }

    /// Sizes and times by now.
    pub(super) fn read_batches(&self) -> BatchStats {
        BatchStats {
            micros: self.batch_micros.read(),
            operations: self.batch_operations.read(),
            rows: self.batch_rows.read(),
        }
    }
}
