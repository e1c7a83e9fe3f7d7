//! The table `host_keys`.

use sqlx::{Row as _, sqlite::SqliteConnection};

use crate::store::Error;

/// A key by its name.
pub(super) async fn key(connection: &mut SqliteConnection, name: &'static str) -> Result<[u8; 32], Error> {
    let row = sqlx::query("SELECT key FROM host_keys WHERE name = ?")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    let row = row.ok_or_else(|| Error::Damaged(format!("the key {name:?} is missing")))?;
    let key: &[u8] = row.try_get(0)?;
    key.try_into()
        .map_err(|_| Error::Damaged(format!("the key {name:?} has {} bytes instead of 32", key.len())))
}
