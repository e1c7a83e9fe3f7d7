//! Errors of the store.

use std::sync::Arc;

/// Why a store operation failed. Nothing of the operation was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The data folder cannot be used: locked by another host, not writable, from a newer version. The host must not
    /// start.
    #[error("cannot use the data folder: {0}")]
    Unusable(String),
    /// A stored row cannot be read. The instance it belongs to is stuck; others are unaffected.
    #[error("a stored row cannot be read: {0}")]
    Damaged(String),
    /// The change does not fit the stored state, for example a turn that is not the next one: a bug in the host. The
    /// caller must drop its state of the instance and load it again.
    #[error("the change does not fit what is stored: {0}")]
    Contradiction(String),
    /// The database failed (disk full, I/O error). The caller may retry later.
    #[error("the database failed")]
    Database(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// A row of the change is larger than the database can store. The change can never be written.
    #[error("a row is larger than the database can store")]
    TooLarge,
    /// A copy of the database could not be written.
    #[error("the backup was not written: {0}")]
    Backup(String),
    /// A client's query took too long and was interrupted. A narrower query may succeed.
    #[error("the query took too long and was interrupted")]
    QueryTimedOut,
    /// Too many queries of clients are waiting. The caller may retry soon.
    #[error("too many queries wait")]
    TooManyQueries,
    /// Another host has taken over the partition of the changed rows. The writer stops, and so does the host.
    #[error("another host has taken over")]
    NotOwner,
    /// The writer has stopped because the host is ending.
    #[error("the host is shutting down")]
    Closed,
}

impl Error {
    /// Wraps an error of the database.
    pub(super) fn database(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Database(Arc::new(error))
    }
}
