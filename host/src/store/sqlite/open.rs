//! Opens the data folder: lock, file, settings, schema.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection as _, Executor,
    sqlite::{
        SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};

use super::{
    People, Readers, Session, StoreOptions, Synchronous,
    migrate::{self, Schema},
};
use crate::priority::{self, Background};
use crate::store::Error;

/// The database in the data folder.
const DATABASE_FILE: &str = "windlass.db";

/// A host locks this file while it uses the folder.
const LOCK_FILE: &str = "windlass.lock";

/// SQLite's page size in bytes: the block size of most file systems, and SQLite's default. Applies to new files only.
pub(super) const PAGE_BYTES: u32 = 4_096;

/// The writer's page cache, in KiB. It holds the pages of active instances; other pages come from the operating
/// system's cache.
const WRITER_CACHE_KIB: u32 = 16 * 1024;

/// The page cache of each reader, in KiB. Readers serve short queries from many places and rely on the operating
/// system's cache.
const READER_CACHE_KIB: u32 = 2 * 1024;

/// How long a connection waits for a lock. Only a checkpoint or one of the operator's tools can hold one; the lock file
/// keeps other hosts out.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a checkpoint waits for readers before it gives up until the next time. Short, because the writer may be
/// paused.
const CHECKPOINT_BUSY_TIMEOUT: Duration = Duration::from_millis(50);

/// The number of prepared statements cached per connection: enough for all statements in all sizes.
const STATEMENTS: usize = 300;

/// Creates the folder if it does not exist (readable by its owner only, because payloads are private) and locks it.
pub(super) fn lock_folder(folder: &Path) -> Result<File, Error> {
    let unusable =
        |what: &str, error: std::io::Error| Error::Unusable(format!("{what} {} failed: {error}", folder.display()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unusable("creating", error))?;
    let path = folder.join(LOCK_FILE);
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| unusable("opening the lock file in", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Unusable(format!("another host is using {}", folder.display()))),
        Err(TryLockError::Error(error)) => Err(unusable("locking", error)),
    }
}

/// Recovers the log after a crash, migrates the schema, and opens the writer's connection.
pub(super) async fn open_writer(options: &StoreOptions) -> Result<(Session, Schema), Error> {
    let unusable = |error: sqlx::Error| unusable(&options.data_dir, error);
    let schema = prepare(options).await?;
    let mut settings = writer_settings(options);
    if let Some(bytes) = options.max_bytes {
        settings = settings.pragma("max_page_count", (bytes / u64::from(PAGE_BYTES)).max(1).to_string());
    }
    Ok((Session::connect(settings).await.map_err(unusable)?, schema))
}

/// Recovers the log after a crash, and migrates the schema. A migration may write a table anew. So the limit of the
/// database does not apply, or the host would not start again, and what SQLite sorts goes to temporary files if it is
/// large.
async fn prepare(options: &StoreOptions) -> Result<Schema, Error> {
    let unusable = |error: sqlx::Error| unusable(&options.data_dir, error);
    let settings = writer_settings(options).pragma("temp_store", "FILE");
    let mut connection = settings.connect().await.map_err(unusable)?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut connection)
        .await
        .map_err(unusable)?;
    if mode != "wal" {
        return Err(Error::Unusable(format!(
            "{} does not allow SQLite's write-ahead log (is it on a network file system?)",
            options.data_dir.display()
        )));
    }
    let schema = migrate::migrate(&mut connection).await?;
    // Moves recovered pages into the database file, which also proves that the file and its log are writable.
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await
        .map_err(unusable)?;
    connection.close().await.map_err(unusable)?;
    Ok(schema)
}

/// The error when the database cannot be opened.
pub(super) fn unusable(data_dir: &Path, error: sqlx::Error) -> Error {
    Error::Unusable(format!(
        "opening {DATABASE_FILE} in {} failed: {error}",
        data_dir.display()
    ))
}

/// The paths of the database, its write-ahead log, and the log's index.
pub(super) fn files(data_dir: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| data_dir.join(format!("{DATABASE_FILE}{suffix}")))
}

/// Connection options for an existing database, which a host may be using.
pub(super) fn existing(data_dir: &Path) -> Result<SqliteConnectOptions, Error> {
    let [database, ..] = files(data_dir);
    if !database.is_file() {
        return Err(Error::Unusable(format!("there is no {}", database.display())));
    }
    Ok(file(&database))
}

/// The options that all connections to a file share.
pub(super) fn file(database: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(BUSY_TIMEOUT)
        // No foreign keys are declared, see the first migration.
        .foreign_keys(false)
        // No memory map: with one, an I/O error would raise a signal that kills the host instead of failing one
        // request.
        .pragma("mmap_size", "0")
        .disable_statement_logging()
}

/// How many rows a reader of clients' queries reads ahead. A row may have many megabytes, and a page ends early.
const ROWS_AHEAD: usize = 4;

/// Creates the readers of the engine and of clients. The database must exist.
pub(super) fn open_readers(options: &StoreOptions) -> (Readers, People) {
    let settings = settings(options)
        .read_only(true)
        .pragma("cache_size", format!("-{READER_CACHE_KIB}"));
    let people = People::new(
        settings.clone().row_buffer_size(ROWS_AHEAD),
        options.people_readers,
        options.query_time,
    );
    let engine = SqlitePoolOptions::new()
        .max_connections(options.readers.max(1))
        // A connection to a file does not go stale; a test before each use would double the round trips.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| Box::pin(give_way(connection)))
        .connect_lazy_with(settings);
    (Readers(engine), people)
}

/// Lowers the priority of the thread of a connection.
async fn give_way(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut has_priority = true;
    // SQLite calls this on the thread of the connection.
    connection.lock_handle().await?.set_progress_handler(1, move || {
        if std::mem::take(&mut has_priority) {
            priority::lower(Background::Loads);
        }
        true
    });
    connection.execute("SELECT 1").await?;
    connection.lock_handle().await?.remove_progress_handler();
    Ok(())
}

/// Opens a connection for checkpoints.
pub(super) async fn open_checkpointer(options: &StoreOptions) -> Result<SqliteConnection, Error> {
    Ok(settings(options)
        .busy_timeout(CHECKPOINT_BUSY_TIMEOUT)
        .connect()
        .await?)
}

fn writer_settings(options: &StoreOptions) -> SqliteConnectOptions {
    settings(options)
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        // Later rows reuse freed pages. Returning them to the file system would slow down every commit.
        .auto_vacuum(SqliteAutoVacuum::None)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match options.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        })
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
        // Checkpoints run on their own connection, so that they do not delay commits.
        .pragma("wal_autocheckpoint", "0")
}

/// The options that all connections of the host share.
fn settings(options: &StoreOptions) -> SqliteConnectOptions {
    file(&options.data_dir.join(DATABASE_FILE))
        .statement_cache_capacity(STATEMENTS)
        .pragma("temp_store", "MEMORY")
}
