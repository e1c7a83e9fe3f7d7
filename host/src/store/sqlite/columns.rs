//! Values between Rust and SQLite, whose integers are signed.

use sqlx::{
    Row as _, Sqlite,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::store::Error;

/// The integer that is stored for a number. A number that does not fit, which no count or time reaches, becomes the
/// largest.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The parameters of one statement, in order.
#[derive(Default)]
pub(super) struct Values(SqliteArguments);

impl Values {
    /// Binds an integer.
    pub(super) fn number(&mut self, number: impl Into<u64>) -> &mut Self {
        self.add(stored(number.into()))
    }

    /// Binds an integer that may be negative.
    pub(super) fn signed(&mut self, number: i64) -> &mut Self {
        self.add(number)
    }

    /// Binds an integer or NULL.
    pub(super) fn optional_number(&mut self, number: Option<impl Into<u64>>) -> &mut Self {
        self.add(number.map(|number| stored(number.into())))
    }

    /// Binds text.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.add(text)
    }

    /// Binds text or NULL.
    pub(super) fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        self.add(text)
    }

    /// Binds bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.add(bytes)
    }

    /// Binds bytes or NULL.
    pub(super) fn optional_bytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        self.add(bytes)
    }

    /// Binds NULL that many times.
    pub(super) fn nulls(&mut self, count: usize) -> &mut Self {
        for _ in 0..count {
            self.add(None::<i64>);
        }
        self
    }

    /// Converts the parameters for sqlx.
    pub(super) fn into_arguments(self) -> SqliteArguments {
        self.0
    }

    fn add<'t, T: sqlx::Encode<'t, Sqlite> + sqlx::Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        sqlx::Arguments::add(&mut self.0, value).expect("integers, texts and bytes can always be encoded");
        self
    }
}

/// Reads the columns of a row by position.
pub(super) trait Columns {
    /// An integer that is not negative.
    fn number(&self, column: usize) -> Result<u64, Error>;
    /// An integer that fits into 32 bits.
    fn small_number(&self, column: usize) -> Result<u32, Error>;
    /// An integer that is not negative, or NULL.
    fn optional_number(&self, column: usize) -> Result<Option<u64>, Error>;
    /// Text.
    fn text(&self, column: usize) -> Result<&str, Error>;
    /// Text or NULL.
    fn optional_text(&self, column: usize) -> Result<Option<&str>, Error>;
    /// Bytes.
    fn bytes(&self, column: usize) -> Result<&[u8], Error>;
    /// Bytes or NULL.
    fn optional_bytes(&self, column: usize) -> Result<Option<&[u8]>, Error>;
}

impl Columns for SqliteRow {
    fn number(&self, column: usize) -> Result<u64, Error> {
        unsigned(self.try_get(column)?)
    }

    fn small_number(&self, column: usize) -> Result<u32, Error> {
        let number = self.number(column)?;
        u32::try_from(number).map_err(|_| Error::Damaged(format!("the number {number} is too large")))
    }

    fn optional_number(&self, column: usize) -> Result<Option<u64>, Error> {
        self.try_get::<Option<i64>, _>(column)?.map(unsigned).transpose()
    }

    fn text(&self, column: usize) -> Result<&str, Error> {
        Ok(self.try_get(column)?)
    }

    fn optional_text(&self, column: usize) -> Result<Option<&str>, Error> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: usize) -> Result<&[u8], Error> {
        Ok(self.try_get(column)?)
    }

    fn optional_bytes(&self, column: usize) -> Result<Option<&[u8]>, Error> {
        Ok(self.try_get(column)?)
    }
}

fn unsigned(number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(|_| Error::Damaged(format!("the number {number} is negative")))
}
