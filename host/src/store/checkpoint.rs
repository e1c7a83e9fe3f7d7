//! Moves committed pages from SQLite's log into the database file, off the writer's path.
//!
//! A passive checkpoint disturbs nobody, but a writer that never rests keeps adding to the log behind it, and the log can
//! only start over when all of it has been moved. So when it has grown long, the writer is asked to pause for the little
//! that a passive checkpoint has just left over.

use std::{sync::Arc, time::Duration};

use sqlx::{Connection as _, Row as _, sqlite::SqliteConnection};
use tokio_util::sync::CancellationToken;

use super::{Error, Stats, writer::WriteGate};

/// How often the log is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Pages in the log from which on a passive checkpoint is worth its two disk flushes: 4 MiB, SQLite's own default.
const PASSIVE_PAGES: i64 = 1_000;

/// Pages in the log from which on the writer has to pause: 64 MiB. Bounds the log on disk and the time of a recovery.
const PAUSE_PAGES: i64 = 16_000;

/// Keeps the log short.
pub(super) struct Checkpointer {
    pub(super) connection: SqliteConnection,
    pub(super) gate: WriteGate,
    pub(super) stats: Arc<Stats>,
}

/// What a checkpoint said.
struct Log {
    pages: i64,
    moved: i64,
}

impl Checkpointer {
    /// Checkpoints until `stop` is cancelled, and then once more, completely.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let mut seen = self.stats.read().batches;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let batches = self.stats.read().batches;
            if batches == seen {
                continue;
            }
            seen = batches;
            if let Err(error) = self.shorten().await {
                tracing::warn!(%error, "a checkpoint failed");
            }
        }
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        self.connection.close().await?;
        Ok(())
    }

    async fn shorten(&mut self) -> Result<(), sqlx::Error> {
        let log = self.checkpoint("PRAGMA wal_checkpoint(NOOP)").await?;
        if log.pages - log.moved < PASSIVE_PAGES && log.pages < PAUSE_PAGES {
            return Ok(());
        }
        let log = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await?;
        if log.pages >= PAUSE_PAGES {
            let gate = Arc::clone(&self.gate);
            let _pause = gate.lock().await;
            // The log starts over in the file as it is: a file that grew again would cost every commit a write of its size.
            self.checkpoint("PRAGMA wal_checkpoint(RESTART)").await?;
        }
        Ok(())
    }

    async fn checkpoint(&mut self, statement: &'static str) -> Result<Log, sqlx::Error> {
        let row = sqlx::query(statement).fetch_one(&mut self.connection).await?;
        Ok(Log {
            pages: row.try_get(1)?,
            moved: row.try_get(2)?,
        })
    }
}
