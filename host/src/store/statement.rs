//! Statements over many rows, in a few fixed sizes.
//!
//! A round trip to the connection's thread costs more than writing a row, so rows travel many at a time. A statement's
//! text depends on how many rows it takes; with four sizes, the last one filled up with rows of NULL that the statement
//! skips, each kind of row needs four prepared statements and a batch of any length needs few round trips.

use std::sync::OnceLock;

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};

use super::columns::Values;

/// How many rows a statement can take, in ascending order.
///
/// Filling up wastes less than binding a few hundred NULLs. The largest stays far below SQLite's limit of 32,766
/// parameters for the widest table.
const SIZES: [usize; 4] = [1, 8, 32, 128];

/// A statement with a list of rows in it.
pub(super) struct RowStatement {
    before: &'static str,
    columns: usize,
    after: &'static str,
    texts: [OnceLock<String>; SIZES.len()],
}

/// What knows how to bind itself as a row of a [`RowStatement`]. The first column is never NULL.
pub(super) trait BindRow {
    /// Binds each column in order.
    fn bind(&self, values: &mut Values);
}

impl RowStatement {
    /// A statement whose text is `before`, then as many `(?, …)` as there are rows, then `after`. It must skip rows whose
    /// first column is NULL.
    pub(super) const fn new(before: &'static str, columns: usize, after: &'static str) -> Self {
        Self {
            before,
            columns,
            after,
            texts: [const { OnceLock::new() }; SIZES.len()],
        }
    }

    /// Runs it over all rows and says how many rows it changed.
    pub(super) async fn execute(
        &'static self,
        connection: &mut SqliteConnection,
        rows: &[impl BindRow],
    ) -> Result<u64, sqlx::Error> {
        let mut changed = 0;
        for (text, arguments) in self.pieces(rows) {
            changed += sqlx::query_with(text, arguments)
                .execute(&mut *connection)
                .await?
                .rows_affected();
        }
        Ok(changed)
    }

    /// Runs it over all rows and collects what it returns.
    pub(super) async fn fetch(
        &'static self,
        connection: &mut SqliteConnection,
        rows: &[impl BindRow],
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut found = Vec::new();
        for (text, arguments) in self.pieces(rows) {
            found.extend(sqlx::query_with(text, arguments).fetch_all(&mut *connection).await?);
        }
        Ok(found)
    }

    fn pieces<R: BindRow>(&'static self, rows: &[R]) -> impl Iterator<Item = (&'static str, SqliteArguments)> {
        rows.chunks(SIZES[SIZES.len() - 1]).map(|chunk| {
            let size = SIZES
                .iter()
                .position(|size| *size >= chunk.len())
                .expect("no chunk exceeds the largest size");
            let mut values = Values::default();
            chunk.iter().for_each(|row| row.bind(&mut values));
            values.nulls((SIZES[size] - chunk.len()) * self.columns);
            (self.text(size), values.into_arguments())
        })
    }

    /// The statement for one of the [`SIZES`].
    pub(super) fn text(&'static self, size: usize) -> &'static str {
        self.texts[size].get_or_init(|| {
            let row = format!("({})", vec!["?"; self.columns].join(", "));
            format!("{}{}{}", self.before, vec![row; SIZES[size]].join(", "), self.after)
        })
    }
}
