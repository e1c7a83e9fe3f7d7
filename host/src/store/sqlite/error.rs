//! Converts SQLite's errors.

use crate::store::Error;

/// SQLite's code for an interrupted statement. Only queries of clients are interrupted.
const INTERRUPT: &str = "9";

/// SQLite's code for a value or a statement beyond its limits.
const TOO_BIG: &str = "18";

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            Some(INTERRUPT) => Self::QueryTimedOut,
            Some(TOO_BIG) => Self::TooLarge,
            _ => Self::database(error),
        }
    }
}
