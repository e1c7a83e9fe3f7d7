//! Statements over many rows, in a few fixed sizes, sent together.
//!
//! A round trip to the connection's thread costs more than writing a row, so each statement takes many rows, and all
//! statements of a batch are sent in one [`Script`]. The text of a statement depends on its number of rows. There are
//! only four sizes: a statement is padded with rows of NULL, which it skips. So each kind of row needs four texts, and
//! batches of any length need few scripts, which stay prepared.

use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};

use super::{
    columns::{Columns, Values},
    end_signal::end_signal,
};
use crate::store::Error;

/// The numbers of rows that a statement can have, in ascending order.
///
/// The largest stays far below SQLite's limit of 32,766 parameters for the widest table.
const SIZES: [usize; 4] = [1, 8, 32, 128];

/// The maximum number of cached scripts. The batches of a busy host have a few dozen shapes.
const MAX_SCRIPTS: usize = 1_000;

/// A statement over a list of rows.
pub(super) struct RowStatement {
    before: &'static str,
    columns: usize,
    after: &'static str,
    texts: [OnceLock<String>; SIZES.len()],
}

/// A value that can bind itself as a row of a [`RowStatement`]. The first column is never NULL.
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

    /// Runs the statement over all rows and collects the rows that it returns.
    pub(super) async fn fetch(
        &'static self,
        connection: &mut SqliteConnection,
        rows: &[impl BindRow],
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut found = Vec::new();
        for chunk in rows.chunks(SIZES[SIZES.len() - 1]) {
            let mut values = Values::default();
            let text = self.text(self.bind(chunk, &mut values));
            let arguments: SqliteArguments = values.into_arguments();
            found.extend(sqlx::query_with(text, arguments).fetch_all(&mut *connection).await?);
        }
        Ok(found)
    }

    /// Binds a chunk of rows, padded to one of the [`SIZES`], and returns the index of the size.
    fn bind<R: BindRow>(&self, chunk: &[R], values: &mut Values) -> usize {
        let size = SIZES
            .iter()
            .position(|size| *size >= chunk.len())
            .expect("no chunk exceeds the largest size");
        chunk.iter().for_each(|row| row.bind(values));
        values.nulls((SIZES[size] - chunk.len()) * self.columns);
        size
    }

    /// The text for one of the [`SIZES`], given by index.
    pub(super) fn text(&'static self, size: usize) -> &'static str {
        self.texts[size].get_or_init(|| {
            let row = format!("({})", vec!["?"; self.columns].join(", "));
            format!("{}{}{}", self.before, vec![row; SIZES[size]].join(", "), self.after)
        })
    }
}

/// Statements that run one after the other in one round trip.
#[derive(Default)]
pub(super) struct Script {
    begin: Option<&'static str>,
    changes: Vec<&'static str>,
    end: Option<&'static str>,
    values: Values,
}

impl Script {
    /// Adds a statement over all rows that returns nothing; does nothing if there are no rows.
    pub(super) fn add(&mut self, statement: &'static RowStatement, rows: &[impl BindRow]) {
        for chunk in rows.chunks(SIZES[SIZES.len() - 1]) {
            let size = statement.bind(chunk, &mut self.values);
            self.changes.push(statement.text(size));
        }
    }

    /// Runs a statement without parameters before everything else.
    pub(super) fn beginning_with(self, statement: &'static str) -> Self {
        Self {
            begin: Some(statement),
            ..self
        }
    }

    /// Runs a statement without parameters after everything else, unless something failed.
    pub(super) fn ending_with(self, statement: &'static str) -> Self {
        Self {
            end: Some(statement),
            ..self
        }
    }

    /// Runs the script and returns how many rows it changed. Fails, before the last statement, if they are fewer than
    /// `certain`.
    pub(super) async fn run(
        mut self,
        connection: &mut SqliteConnection,
        changes: &mut Changes,
        certain: u64,
    ) -> Result<u64, Error> {
        self.values.number(changes.0).number(certain);
        let texts = self
            .begin
            .into_iter()
            .chain(self.changes)
            .chain([CHECK])
            .chain(self.end)
            .chain([TOTAL]);
        let texts: Vec<&'static str> = texts.collect();
        let arguments = self.values.into_arguments();
        // It ends at the first row, which is the last statement's.
        let row = match script_text(&texts) {
            Some(text) => sqlx::query_with(text, arguments).fetch_one(connection).await?,
            None => {
                let text = sqlx::AssertSqlSafe(texts.join(";\n"));
                let query = sqlx::query_with(text, arguments).persistent(false);
                query.fetch_one(connection).await?
            }
        };
        if row.text(1).ok() != Some(END) {
            // The statements after it did not run.
            return Err(Error::Contradiction("a script of changes returned a row".into()));
        }
        let total = row.number(0)?;
        Ok(total.saturating_sub(std::mem::replace(&mut changes.0, total)))
    }
}

/// How many rows a connection had changed when it ran its last script. Other statements may have changed more since,
/// which only makes the check of the next script less strict.
#[derive(Debug, Default)]
pub(super) struct Changes(u64);

/// If too few rows were changed, the absolute value of the smallest integer is an error, and the statements after it do
/// not run. It returns no row.
const CHECK: &str = "SELECT 1 WHERE iif(total_changes() - ? < ?, abs(-9223372036854775808), 0)";

/// The last statement, after the commit. An error would be taken for one of the commit, and the batch written again; so it
/// reads no table and takes no parameter. It uses the connection's own counter, because sqlx counts a statement that changes
/// nothing like the one before it.
const TOTAL: &str = concat!("SELECT total_changes(), 'end' WHERE ", end_signal!());

/// What only the row of [`TOTAL`] has in its second column.
const END: &str = "end";

/// The cached text of a script; none when the cache is full.
fn script_text(texts: &[&'static str]) -> Option<&'static str> {
    /// The addresses of the statements' texts, each of which exists once.
    type Shape = Vec<usize>;
    static SCRIPTS: OnceLock<Mutex<HashMap<Shape, &'static str>>> = OnceLock::new();
    let shape: Shape = texts.iter().map(|text| text.as_ptr().addr()).collect();
    let scripts = SCRIPTS.get_or_init(Mutex::default);
    let mut scripts = scripts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = scripts.get(&shape) {
        return Some(text);
    }
    if scripts.len() >= MAX_SCRIPTS {
        return None;
    }
    // Leaked on purpose: the number of scripts is bounded.
    let text: &'static str = texts.join(";\n").leak();
    scripts.insert(shape, text);
    Some(text)
}
