//! The transaction of a batch, in as few round trips to the connection's thread as can be.

use sqlx::sqlite::SqliteConnection;

use super::rows::Rows;
use crate::store::{
    Error,
    statement::{Changes, Script},
};

/// A transaction that begins when it must: most batches are judged by what the writer remembers, and begin, write and
/// commit in one trip. What is read before it begins is what would be read inside, since nobody else writes.
pub(in crate::store) struct Transaction<'c> {
    connection: &'c mut SqliteConnection,
    changes: &'c mut Changes,
    begun: bool,
}

impl<'c> Transaction<'c> {
    pub(super) fn new(connection: &'c mut SqliteConnection, changes: &'c mut Changes) -> Self {
        Self {
            connection,
            changes,
            begun: false,
        }
    }

    /// The connection, for reading.
    pub(super) fn reading(&mut self) -> &mut SqliteConnection {
        self.connection
    }

    /// The connection, for statements that change something: begins the transaction.
    pub(in crate::store) async fn changing(&mut self) -> Result<&mut SqliteConnection, Error> {
        if !self.begun {
            self.begun = true;
            sqlx::query(BEGIN).execute(&mut *self.connection).await?;
        }
        Ok(self.connection)
    }

    /// Writes rows, so that statements which follow see them.
    pub(super) async fn write(&mut self, rows: &Rows<'_>) -> Result<u64, Error> {
        if rows.is_empty() {
            return Ok(0);
        }
        self.changing().await?;
        rows.script().run(self.connection, self.changes, rows.certain()).await
    }

    /// Writes the last rows and commits.
    pub(super) async fn commit(self, rows: &Rows<'_>) -> Result<u64, Error> {
        if rows.is_empty() && !self.begun {
            return Ok(0);
        }
        let script: Script = rows.script();
        let script = if self.begun {
            script
        } else {
            script.beginning_with(BEGIN)
        };
        let script = script.ending_with(COMMIT);
        script.run(self.connection, self.changes, rows.certain()).await
    }
}

const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
