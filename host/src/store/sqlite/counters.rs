//! The table `counters`: where the reservations of numbers ended.

use sqlx::sqlite::SqliteConnection;

use super::columns::{Columns, stored};
use crate::store::Error;

/// Where the reservations of a counter ended; none if there is no such counter.
pub(super) async fn reserved(connection: &mut SqliteConnection, counter: &'static str) -> Result<Option<u64>, Error> {
    let row = sqlx::query("SELECT reserved FROM counters WHERE counter = ?")
        .bind(counter)
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.number(0)).transpose()
}

/// Moves the reservations of a counter on.
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
