//! SQLite: a database file in a data folder, and all code that uses SQL or sqlx.
//!
//! The users of this module go through the seam ([`backend`](super::backend)); sqlx's types and errors stay below it.
//! There is a file per table, with one function per query. Only one host can open the folder, so its writer may cache
//! rows.

mod administration;
mod attempts;
mod backup;
mod broadcasts;
mod check;
mod checkpoint;
mod columns;
mod completions;
mod counters;
mod end_signal;
mod entities;
mod error;
mod events;
mod garbage;
mod heartbeats;
mod history;
mod host_keys;
mod idempotency;
mod inbox;
mod inspect;
mod instances;
mod list;
mod logs;
mod migrate;
mod modules;
mod names;
mod open;
mod people;
mod purges;
mod readers;
mod retention;
mod rows;
mod schedules;
mod session;
mod settings;
mod sizes;
mod statement;
mod summaries;
mod tags;
mod takeover;
#[cfg(test)]
mod tests;
mod usage;

use std::{fs::File, future::Future, path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use self::backup::{Backup, backup};
use self::checkpoint::Checkpointer;
pub(super) use self::{people::People, readers::Readers, session::Session};
use super::{
    Error, Opened, Stats, Store, StoreService,
    backend::{self, Connection},
    writer::WriteGate,
};

/// The options of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The folder of the database; created at the first start.
    pub data_dir: PathBuf,
    /// How many queries of the engine can run at a time.
    pub readers: u32,
    /// How many queries of clients can run at a time, in addition to those of the engine.
    pub people_readers: u32,
    /// How long a query of a client may run before it is interrupted.
    pub query_time: Duration,
    /// The durability of an answered change.
    pub synchronous: Synchronous,
    /// The length of SQLite's log in bytes at which the writer pauses for a moment, so that the log can start over.
    pub max_log_bytes: u64,
    /// The maximum size of the database file in bytes; commits that need more fail.
    pub max_bytes: Option<u64>,
}

/// What an answer to a change guarantees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// The change is on disk and survives a power failure.
    #[default]
    Full,
    /// The change survives the end of the host, but a power failure may undo the last changes. For tests and
    /// benchmarks.
    Normal,
}

impl StoreOptions {
    /// The default options for a folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            readers: 4,
            people_readers: 4,
            query_time: Duration::from_secs(10),
            synchronous: Synchronous::default(),
            max_log_bytes: 64 << 20,
            max_bytes: None,
        }
    }
}

/// Work beside the writer: checkpoints, and the lock of the folder.
pub(super) struct Upkeep {
    checkpointer: Checkpointer,
    readers: Readers,
    people: People,
    /// Prevents other hosts from opening the folder until the service has ended.
    _lock: File,
}

impl Upkeep {
    /// Runs the writer and, beside it, the checkpointer; then closes the database.
    pub(super) async fn beside(self, writing: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let Self {
            checkpointer,
            readers,
            people,
            _lock,
        } = self;
        // Stops the checkpointer after the writer, even if the writer panics or this future is dropped.
        let stop = CancellationToken::new();
        let written = async {
            let _stop = stop.clone().drop_guard();
            let written = writing.await;
            people.close().await;
            readers.close().await;
            written
        };
        let (written, shortened) = tokio::join!(written, checkpointer.run(stop.clone()));
        written.and(shortened)
    }
}

impl Store {
    /// Opens the store of a data folder, and creates the folder if necessary. No other process may have it open.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the folder is in use, not writable, or has an unknown version.
    pub async fn open(options: &StoreOptions) -> Result<(Self, StoreService), Error> {
        let lock = open::lock_folder(&options.data_dir)?;
        let found = inspect::look(&options.data_dir);
        let (session, schema) = open::open_writer(options).await?;
        found.report(&schema);
        let (gate, stats) = (WriteGate::default(), Arc::new(Stats::default()));
        let (readers, people) = open::open_readers(options);
        let [_, log, _] = open::files(&options.data_dir);
        let upkeep = Upkeep {
            checkpointer: Checkpointer {
                connection: open::open_checkpointer(options).await?,
                people: people.clone(),
                gate: gate.clone(),
                stats: Arc::clone(&stats),
                log,
                max_bytes: options.max_log_bytes,
                seen_pages: 0,
                in_use_without_queries: None,
            },
            readers: readers.clone(),
            people: people.clone(),
            _lock: lock,
        };
        let opened = Opened {
            connection: Connection::Sqlite(Box::new(session)),
            readers: backend::Readers::Sqlite(readers),
            people: backend::People::Sqlite(people),
            upkeep: backend::Upkeep::Sqlite(Box::new(upkeep)),
            gate,
            stats,
        };
        opened.into_store().await
    }
}
