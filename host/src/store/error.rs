//! How the store fails.

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
    /// What is to be written does not fit what is stored, for example a turn that is not the next one: a mistake of the
    /// host's own. The caller must drop what it believes about the instance and load it again.
    #[error("the change does not fit what is stored: {0}")]
    Contradiction(String),
    /// The database refused or failed (disk full, I/O error). Worth trying again later.
    #[error("the database failed")]
    Database(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// A copy of the database could not be written.
    #[error("the backup was not written: {0}")]
    Backup(String),
    /// A query for a person took too long and was interrupted. A narrower one may do.
    #[error("the query took too long and was interrupted")]
    QueryTimedOut,
    /// Too many queries for people wait. Worth trying again soon.
    #[error("too many queries wait")]
    TooManyQueries,
    /// Another host has taken over what was to be changed. The writer stops, and so does the host.
    #[error("another host has taken over")]
    NotOwner,
    /// The writer has stopped because the host is ending.
    #[error("the host is shutting down")]
    Closed,
}

impl Error {
    /// What a database said when it failed.
    pub(super) fn database(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Database(Arc::new(error))
    }
}
