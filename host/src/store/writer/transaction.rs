//! The transaction of a batch, with as few round trips to the connection's thread as possible.

use super::rows::Rows;
use crate::store::{Error, backend::Connection};

/// A transaction that begins as late as possible: most batches need only what the writer has cached, and begin, write
/// and commit in one round trip. Reading before the transaction begins is safe, because no one else writes.
pub(in crate::store) struct Transaction<'c> {
    connection: &'c mut Connection,
    begun: bool,
}

impl<'c> Transaction<'c> {
    pub(super) fn new(connection: &'c mut Connection) -> Self {
        Self {
            connection,
            begun: false,
        }
    }

    /// The connection, for reading.
    pub(super) fn reading(&mut self) -> &mut Connection {
        self.connection
    }

    /// The connection, for statements that change something. Begins the transaction if necessary.
    pub(in crate::store) async fn changing(&mut self) -> Result<&mut Connection, Error> {
        if !self.begun {
            self.begun = true;
            self.connection.begin().await?;
        }
        Ok(self.connection)
    }

    /// Writes rows, so that later statements see them.
    pub(super) async fn write(&mut self, rows: &Rows<'_>) -> Result<u64, Error> {
        if rows.is_empty() {
            return Ok(0);
        }
        self.changing().await?.write(rows).await
    }

    /// Writes the last rows and commits.
    pub(super) async fn commit(self, rows: &Rows<'_>) -> Result<u64, Error> {
        if rows.is_empty() && !self.begun {
            return Ok(0);
        }
        self.connection.commit(rows, self.begun).await
    }
}
