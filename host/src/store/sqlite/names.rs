//! The table `function_names`: stores each name of an orchestration function once; other tables use its number.

use sqlx::sqlite::SqliteConnection;

use super::columns::Columns;
use crate::{
    model::{FunctionName, TenantId},
    store::Error,
};

/// The number of a name; a new name gets one.
pub(super) async fn intern(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    name: &FunctionName,
) -> Result<u64, Error> {
    sqlx::query(
        "INSERT INTO function_names (tenant, name)
         VALUES (?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(i64::from(tenant.0))
    .bind(name.as_str())
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query(
        "SELECT function
         FROM function_names
         WHERE tenant = ? AND name = ?",
    )
    .bind(i64::from(tenant.0))
    .bind(name.as_str())
    .fetch_one(connection)
    .await?;
    row.number(0)
}
