//! How SQLite fails.

use crate::store::Error;

/// The code of a statement that was interrupted. Only those of people's readers are.
const INTERRUPT: &str = "9";

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            Some(INTERRUPT) => Self::QueryTimedOut,
            _ => Self::database(error),
        }
    }
}
