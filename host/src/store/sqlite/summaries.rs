//! Summaries of instances, and look-ups by id.

use sqlx::{AssertSqlSafe, SqliteExecutor, sqlite::SqliteRow};

use super::{columns::Columns, instances, modules, tags};
use crate::{
    model::{
        ExecutionNumber, InstanceId, InstanceNumber, InstanceStatus, ModuleNumber, TenantId, Timestamp, TurnNumber,
    },
    store::{
        Addressee, Error, InstanceSummary,
        decode::parse,
        instances::{is_at_rest, start_at},
    },
};

/// The columns of [`summary`]. [`tags::COLUMN`] follows them.
const COLUMNS: &str = "
    i.instance, i.id, f.name, m.digest, i.status, i.execution, i.last_turn, i.created_at_ms, i.updated_at_ms,
    i.custom_status, i.stuck, i.parent_link, i.fuel, i.wake_at_ms,
    i.rewinds";

/// The columns of a summary.
pub(super) fn columns() -> String {
    format!("{COLUMNS}, {}", tags::COLUMN)
}

/// The other tables that [`columns`] refers to. `CROSS JOIN` makes SQLite begin with `instances`.
pub(super) const OTHER_TABLES: &str = "
    CROSS JOIN function_names AS f ON f.function = i.function
    CROSS JOIN modules AS m ON m.module = i.module";

/// The summary of the instance that has the id now.
pub(super) async fn summary_of(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<InstanceSummary>, Error> {
    let text = format!(
        "SELECT {}
         FROM instances AS i {OTHER_TABLES}
         WHERE i.partition = 0 AND i.tenant = ? AND i.id = ?",
        columns()
    );
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(id.as_str())
        .fetch_optional(executor)
        .await?;
    row.as_ref().map(summary).transpose()
}

/// The number of the instance that has the id now.
pub(super) async fn number_of(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<InstanceNumber>, Error> {
    let row = sqlx::query(
        "SELECT instance
         FROM instances
         WHERE partition = 0 AND tenant = ? AND id = ?",
    )
    .bind(i64::from(tenant.0))
    .bind(id.as_str())
    .fetch_optional(executor)
    .await?;
    row.map(|row| row.number(0).map(InstanceNumber)).transpose()
}

/// The status of the instance that has the id now, and while it is pending, when its first turn runs if that is delayed.
pub(super) async fn state_of(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<(InstanceStatus, Option<Timestamp>)>, Error> {
    let row = sqlx::query(
        "SELECT status, wake_at_ms
         FROM instances
         WHERE partition = 0 AND tenant = ? AND id = ?",
    )
    .bind(i64::from(tenant.0))
    .bind(id.as_str())
    .fetch_optional(executor)
    .await?;
    let state = |row: SqliteRow| {
        let status = instances::status(row.number(0)?)?;
        Ok((status, start_at(status, row.optional_number(1)?.map(Timestamp))))
    };
    row.map(state).transpose()
}

/// The instance that has the id now.
pub(super) async fn addressee(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<Addressee>, Error> {
    let row = sqlx::query(
        "SELECT i.instance, i.module, f.name, i.status, i.wake_at_ms
         FROM instances AS i CROSS JOIN function_names AS f ON f.function = i.function
         WHERE i.partition = 0 AND i.tenant = ? AND i.id = ?",
    )
    .bind(i64::from(tenant.0))
    .bind(id.as_str())
    .fetch_optional(executor)
    .await?;
    let addressee = |row: SqliteRow| {
        let status = instances::status(row.number(3)?)?;
        Ok(Addressee {
            number: InstanceNumber(row.number(0)?),
            module: ModuleNumber(row.small_number(1)?),
            function: parse(row.text(2)?, "the function name")?,
            status,
            is_at_rest: is_at_rest(status, row.optional_number(4)?.is_some()),
        })
    };
    row.map(addressee).transpose()
}

/// Decodes a summary from a row of [`columns`].
pub(super) fn summary(row: &SqliteRow) -> Result<InstanceSummary, Error> {
    let number = InstanceNumber(row.number(0)?);
    let status = instances::status(row.number(4)?)?;
    let execution = ExecutionNumber(row.small_number(5)?);
    Ok(InstanceSummary {
        number,
        id: parse(row.text(1)?, "the instance id")?,
        function: parse(row.text(2)?, "the function name")?,
        module_digest: modules::digest(row.bytes(3)?)?,
        status,
        execution,
        last_turn: TurnNumber(row.small_number(6)?),
        created_at: Timestamp(row.number(7)?),
        updated_at: Timestamp(row.number(8)?),
        start_at: start_at(status, row.optional_number(13)?.map(Timestamp)),
        custom_status: instances::custom_status(row.optional_text(9)?, number)?,
        stuck: instances::stuck(row.optional_bytes(10)?, number)?,
        parent_id: instances::parent(row.optional_bytes(11)?, number)?.map(|parent| parent.instance_id),
        fuel: row.number(12)?,
        rewinds: instances::rewinds(row.optional_bytes(14)?, number, execution)?,
        tags: tags::tags(row.optional_text(15)?, number)?,
    })
}
