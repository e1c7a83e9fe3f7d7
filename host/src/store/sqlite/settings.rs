//! The table `settings`: plain values and secrets that activities read by name.

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::columns::{Columns, stored};
use crate::{
    model::{TenantId, Timestamp},
    store::{Error, SettingKind, SettingRow},
};

/// Stores a setting, and replaces one of the same name.
pub(super) async fn put(connection: &mut SqliteConnection, row: &SettingRow) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO settings (tenant, kind, name, value, modules, updated_at_ms)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (tenant, kind, name) DO UPDATE
         SET value = excluded.value, modules = excluded.modules, updated_at_ms = excluded.updated_at_ms",
    )
    .bind(i64::from(row.tenant.0))
    .bind(row.kind as i64)
    .bind(row.name.as_str())
    .bind(row.value.as_slice())
    .bind(serde_json::to_string(&row.modules).expect("texts can be written as JSON"))
    .bind(stored(row.updated_at.0))
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes a setting; returns whether it existed.
pub(super) async fn delete(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    kind: SettingKind,
    name: &str,
) -> Result<bool, Error> {
    let deleted = sqlx::query("DELETE FROM settings WHERE tenant = ? AND kind = ? AND name = ?")
        .bind(i64::from(tenant.0))
        .bind(kind as i64)
        .bind(name)
        .execute(connection)
        .await?;
    Ok(deleted.rows_affected() > 0)
}

/// The settings of one tenant, or of all, by tenant, kind and name.
pub(super) async fn of(pool: &SqlitePool, tenant: Option<TenantId>) -> Result<Vec<SettingRow>, Error> {
    let range = tenant.map_or((0, i64::MAX), |tenant| (i64::from(tenant.0), i64::from(tenant.0)));
    let rows = sqlx::query(
        "SELECT tenant, kind, name, value, modules, updated_at_ms
         FROM settings
         WHERE tenant BETWEEN ? AND ?
         ORDER BY tenant, kind, name",
    )
    .bind(range.0)
    .bind(range.1)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let name = row.text(2)?.to_owned();
            let modules = serde_json::from_str(row.text(4)?)
                .map_err(|error| Error::Damaged(format!("the modules of the setting {name:?}: {error}")))?;
            Ok(SettingRow {
                tenant: TenantId(row.small_number(0)?),
                kind: match row.number(1)? {
                    0 => SettingKind::Plain,
                    _ => SettingKind::Secret,
                },
                name,
                value: row.bytes(3)?.to_vec(),
                modules,
                updated_at: Timestamp(row.number(5)?),
            })
        })
        .collect()
}
