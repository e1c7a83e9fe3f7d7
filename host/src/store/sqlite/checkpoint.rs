//! Moves committed pages from SQLite's log into the database file, off the writer's path, and keeps the log short.
//!
//! A passive checkpoint disturbs nobody, but a writer that never rests keeps adding to the log behind it, and the log can
//! only start over when all of it has been moved. So when it has grown long, the writer pauses for the little that a
//! passive checkpoint has just left over, and for the readers of that moment.
//!
//! A reader that looks at an old state of the database (a backup, an operator's tool) keeps the pages after that state
//! from being moved. Passive checkpoints show it: pages are left that were in the log one look earlier. Then the writer
//! does not pause, since the log could not start over anyway, and checkpoints become rare until the reader is gone. The
//! file of the log, which has grown meanwhile, is emptied then.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use sqlx::{Connection as _, Row as _, sqlite::SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::open::PAGE_BYTES;
use crate::store::{Error, Stats, writer::WriteGate};

/// How often the log is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// How often it is looked at while a reader keeps it long, at least.
const MAX_INTERVAL: Duration = Duration::from_secs(4);

/// Pages in the log from which on a passive checkpoint is worth its two disk flushes: 4 MiB, SQLite's own default.
const PASSIVE_PAGES: i64 = 1_000;

/// A page in the log has a header of its own, in bytes.
const FRAME_HEADER_BYTES: u64 = 24;

/// Keeps the log short.
pub(super) struct Checkpointer {
    pub(super) connection: SqliteConnection,
    pub(super) gate: WriteGate,
    pub(super) stats: Arc<Stats>,
    /// The file of the log.
    pub(super) log: PathBuf,
    /// Bytes in the log from which on the writer has to pause. Bounds the log on disk and the time of a recovery.
    pub(super) max_bytes: u64,
    /// Pages that were in the log at the last look.
    pub(super) seen_pages: i64,
}

/// What a checkpoint said.
struct Log {
    /// Whether it was given up because of somebody else's lock.
    busy: bool,
    pages: i64,
    moved: i64,
}

/// How the log is after a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// Short enough.
    Short,
    /// Long, and readers keep it so.
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
            // What a reader kept long is shortened when the reader is gone, whether anything is written or not.
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

    /// Looks at the log once, and shortens it if it is worth it.
    pub(super) async fn shorten(&mut self) -> Result<Length, sqlx::Error> {
        let log = self.checkpoint("PRAGMA wal_checkpoint(NOOP)").await?;
        // The log may have started over since.
        let earlier = std::mem::replace(&mut self.seen_pages, log.pages).min(log.pages);
        let is_large = self.file_bytes() > self.max_bytes;
        if log.pages - log.moved < PASSIVE_PAGES && log.pages < self.max_pages() && !is_large {
            return Ok(Length::Short);
        }
        let log = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await?;
        if log.busy || log.moved < earlier {
            self.stats.count_checkpoint_in_use();
            return Ok(Length::InUse);
        }
        if log.pages < self.max_pages() && !is_large {
            return Ok(Length::Short);
        }
        self.start_over().await
    }

    /// Lets the log start over, while the writer pauses. No reader is older than the last look.
    async fn start_over(&mut self) -> Result<Length, sqlx::Error> {
        let gate = Arc::clone(&self.gate);
        let _pause = gate.lock().await;
        self.stats.count_checkpoint_pause();
        // Both wait for the readers of this moment, as long as the connection waits for locks.
        let statement = if self.file_bytes() > self.max_bytes {
            "PRAGMA wal_checkpoint(TRUNCATE)"
        } else {
            // The file stays as it is: one that grew again would cost every commit a write of its size.
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
        let row = sqlx::query(statement).fetch_one(&mut self.connection).await?;
        Ok(Log {
            busy: row.try_get::<i64, _>(0)? != 0,
            pages: row.try_get(1)?,
            moved: row.try_get(2)?,
        })
    }
}
