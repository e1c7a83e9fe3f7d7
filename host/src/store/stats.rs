//! Counters of the writer, for metrics and benchmarks.

use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use crate::metrics::{Counter, Distribution, Histogram};
use crate::model::InboxSeq;

/// Histogram buckets for the duration of a transaction, in microseconds: hundreds on a quiet disk, thousands on a busy
/// one.
const MICROS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
];

/// Histogram buckets for the operations in a transaction, up to the maximum.
const OPERATIONS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Histogram buckets for the rows in a transaction.
const ROWS: [u64; 8] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384];

/// The writer's counters, since the host started.
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

/// A snapshot of the writer's counters since the host started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// Operations answered: turn commits, starts, messages and the like.
    pub operations: u64,
    /// Rows that they wrote or deleted.
    pub rows: u64,
    /// Transactions that contained them.
    pub batches: u64,
    /// Operations that the database rejected, and batches whose transaction could not begin.
    pub failures: u64,
    /// How often the writer paused so that SQLite's log could start over.
    pub checkpoint_pauses: u64,
    /// Checkpoints that could not shorten SQLite's log because a reader still needed older data.
    pub checkpoints_in_use: u64,
}

/// The sizes and durations of the writer's transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchStats {
    /// The time from the beginning of a transaction until it was on disk, in microseconds.
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
    /// Counts a committed batch.
    pub(super) fn count_batch(&self, operations: usize, rows: u64, took: Duration) {
        self.operations.add(operations as u64);
        self.rows.add(rows);
        self.batches.increment();
        self.batch_micros
            .record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.batch_operations.record(operations as u64);
        self.batch_rows.record(rows);
    }

    /// Sets the newest position of a committed batch.
    pub(super) fn set_newest_message(&self, seq: InboxSeq) {
        self.newest_message.store(seq.0, Release);
    }

    /// The newest position of a committed batch. All messages up to it are on disk, or were consumed.
    pub(super) fn newest_message(&self) -> InboxSeq {
        InboxSeq(self.newest_message.load(Acquire))
    }

    /// Sets the number of operations that the writer has received but not started.
    pub(super) fn set_backlog(&self, operations: usize) {
        self.backlog.store(operations, Relaxed);
    }

    /// The number of operations that the writer has received but not started.
    pub(super) fn backlog(&self) -> usize {
        self.backlog.load(Relaxed)
    }

    /// Counts an operation or batch that was not written.
    pub(super) fn count_failure(&self) {
        self.failures.increment();
    }

    /// Counts a pause of the writer for a checkpoint.
    pub(super) fn count_checkpoint_pause(&self) {
        self.checkpoint_pauses.increment();
    }

    /// Counts a checkpoint that a reader blocked.
    pub(super) fn count_checkpoint_in_use(&self) {
        self.checkpoints_in_use.increment();
    }

    /// A snapshot of the counters.
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

    /// A snapshot of sizes and durations.
    pub(super) fn read_batches(&self) -> BatchStats {
        BatchStats {
            micros: self.batch_micros.read(),
            operations: self.batch_operations.read(),
            rows: self.batch_rows.read(),
        }
    }
}
