//! The table `counters`: which numbers are reserved.

use sqlx::sqlite::SqliteConnection;

use super::columns::{Columns, stored};
use crate::store::Error;

/// The first number of a counter that is not reserved; none if there is no such counter.
pub(super) async fn reserved(connection: &mut SqliteConnection, counter: &'static str) -> Result<Option<u64>, Error> {
    let row = sqlx::query("SELECT reserved FROM counters WHERE counter = ?")
        .bind(counter)
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.number(0)).transpose()
}

/// Reserves all numbers of a counter below `reserved`.
pub(super) async fn reserve(
    connection: &mut SqliteConnection,
    counter: &'static str,
    reserved: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE counters SET reserved = ? WHERE counter = ?")
        .bind(stored(reserved))
        .bind(counter)
        .execute(connection)
        .await?;
    Ok(())
}
