//! Moves committed pages from SQLite's log into the database file, off the writer's path, and keeps the log short.
//!
//! A passive checkpoint blocks neither the writer nor readers. But a busy writer keeps appending to the log, and the
//! log can only start over when all of it has been moved. So when the log has grown long, the writer writes only small
//! operations until few pages are left to move, and then pauses until those have been moved and the current readers
//! have ended.
//!
//! A reader of an old snapshot (a backup, an operator's tool) prevents newer pages from being moved. The checkpointer
//! detects this when a passive checkpoint leaves pages that were already in the log at the previous check. Then the
//! writer does not pause, since the log could not start over anyway, and checkpoints become rare until the reader has
//! ended. The log's file, which has grown by then, is truncated afterwards. If the log becomes very long, further
//! queries of clients wait for a moment, so that those that read old snapshots end.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, Row as _, sqlite::SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::{open::PAGE_BYTES, people::People};
use crate::store::{Error, Stats, writer::WriteGate};

/// How often the log is checked.
const INTERVAL: Duration = Duration::from_millis(250);

/// The longest interval between checks while a reader keeps the log long.
const MAX_INTERVAL: Duration = Duration::from_secs(4);

/// The number of unmoved pages at which a passive checkpoint is worth its two disk flushes: 4 MiB, SQLite's own
/// default.
const PASSIVE_PAGES: i64 = 1_000;

/// Checkpoints that take longer are logged.
const SLOW: Duration = Duration::from_millis(200);

/// The queries of clients wait when they keep the log this many times as long as it may be. On a busy host there may
/// always be one that is older than the last check.
const QUERIES_WAIT_AT: i64 = 4;

/// After this many checkpoints in a row, large operations wait in any case.
const PASSES_BESIDE_LARGE: u32 = 4;

/// The size in bytes of the header before each page in the log.
const FRAME_HEADER_BYTES: u64 = 24;

/// Keeps the log short.
pub(super) struct Checkpointer {
    pub(super) connection: SqliteConnection,
    pub(super) people: People,
    pub(super) gate: WriteGate,
    pub(super) stats: Arc<Stats>,
    /// The file of the log.
    pub(super) log: PathBuf,
    /// The length of the log in bytes at which the writer pauses. Bounds the log on disk and the time of a recovery.
    pub(super) max_bytes: u64,
    /// The number of pages in the log at the last check.
    pub(super) seen_pages: i64,
    /// How many pages of the log had been moved when it could not start over although no query ran.
    pub(super) in_use_without_queries: Option<i64>,
}

/// The result of a checkpoint.
struct Log {
    /// Whether it gave up because another connection held a lock.
    busy: bool,
    pages: i64,
    moved: i64,
}

/// The state of the log after a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// Short enough.
    Short,
    /// Long, because readers still need it.
    InUse,
}

impl Checkpointer {
    /// Checkpoints until `stop` is cancelled, and then once more, completely.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let mut seen = self.stats.read().batches;
        let (mut interval, mut length) = (INTERVAL, Length::Short);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(interval) => {}
            }
            let batches = self.stats.read().batches;
            // A log that a reader kept long is shortened once the reader has ended, even if nothing is written.
            if batches == seen && length == Length::Short {
                continue;
            }
            seen = batches;
            match self.shorten().await {
                Ok(now) => length = now,
                Err(error) => tracing::warn!(%error, "a checkpoint failed"),
            }
            interval = match length {
                Length::Short => INTERVAL,
                Length::InUse => MAX_INTERVAL.min(interval * 2),
            };
        }
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        self.connection.close().await?;
        Ok(())
    }

    /// Checks the log once, and shortens it if that is worthwhile.
    pub(super) async fn shorten(&mut self) -> Result<Length, sqlx::Error> {
        let log = self.checkpoint("PRAGMA wal_checkpoint(NOOP)").await?;
        // The log may have started over since.
        let earlier = std::mem::replace(&mut self.seen_pages, log.pages).min(log.pages);
        let is_large = self.file_bytes() > self.max_bytes;
        if log.pages - log.moved < PASSIVE_PAGES && log.pages < self.max_pages() && !is_large {
            return Ok(Length::Short);
        }
        let is_long = log.pages >= self.max_pages() || is_large;
        let log = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await?;
        if log.busy || log.moved < earlier {
            // Whoever kept the log in use without queries is no query.
            let may_help = self.in_use_without_queries != Some(log.moved);
            if log.pages >= QUERIES_WAIT_AT * self.max_pages() && may_help {
                return self.without_queries().await;
            }
            self.stats.count_checkpoint_in_use();
            return Ok(Length::InUse);
        }
        if !is_long {
            return Ok(Length::Short);
        }
        self.catch_up(log).await
    }

    /// Lets the queries of clients end, and then the log start over before further ones begin.
    async fn without_queries(&mut self) -> Result<Length, sqlx::Error> {
        let people = self.people.clone();
        let Some(_pause) = people.pause().await else {
            self.stats.count_checkpoint_in_use();
            return Ok(Length::InUse);
        };
        let log = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await?;
        let moved = log.moved;
        let length = self.catch_up(log).await?;
        self.in_use_without_queries = (length == Length::InUse).then_some(moved);
        Ok(length)
    }

    /// Moves what was written during a checkpoint, until little is left, and lets the log start over. Large operations
    /// wait once this takes only a moment, or else the log would never end.
    async fn catch_up(&mut self, mut log: Log) -> Result<Length, sqlx::Error> {
        let mut only_small = None;
        for pass in 0.. {
            let left = log.pages - log.moved;
            if left < PASSIVE_PAGES {
                break;
            }
            if only_small.is_none() && (left <= self.max_pages() || pass >= PASSES_BESIDE_LARGE) {
                only_small = Some(self.gate.only_small());
            }
            let before = log.moved;
            log = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await?;
            if log.busy || log.moved <= before {
                self.stats.count_checkpoint_in_use();
                return Ok(Length::InUse);
            }
        }
        self.start_over().await
    }

    /// Pauses the writer and lets the log start over. No reader is older than the last check.
    async fn start_over(&mut self) -> Result<Length, sqlx::Error> {
        let gate = self.gate.clone();
        let _pause = gate.pass().await;
        self.stats.count_checkpoint_pause();
        // Both wait for the current readers, at most for the connection's busy timeout.
        let statement = if self.file_bytes() > self.max_bytes {
            "PRAGMA wal_checkpoint(TRUNCATE)"
        } else {
            // Keeps the file's length: if the file grew again, each commit would also write its new length.
            "PRAGMA wal_checkpoint(RESTART)"
        };
        let log = self.checkpoint(statement).await?;
        if log.busy {
            self.stats.count_checkpoint_in_use();
            return Ok(Length::InUse);
        }
        Ok(Length::Short)
    }

    fn max_pages(&self) -> i64 {
        let pages = self.max_bytes / (u64::from(PAGE_BYTES) + FRAME_HEADER_BYTES);
        i64::try_from(pages).unwrap_or(i64::MAX)
    }

    fn file_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
    }

    async fn checkpoint(&mut self, statement: &'static str) -> Result<Log, sqlx::Error> {
        let begun = Instant::now();
        let row = sqlx::query(statement).fetch_one(&mut self.connection).await?;
        let log = Log {
            busy: row.try_get::<i64, _>(0)? != 0,
            pages: row.try_get(1)?,
            moved: row.try_get(2)?,
        };
        let took = begun.elapsed();
        if took > SLOW {
            tracing::debug!(
                statement,
                log.busy,
                log.pages,
                log.moved,
                ?took,
                "a checkpoint took long"
            );
        }
        Ok(log)
    }
}
