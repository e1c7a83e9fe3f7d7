//! The tables `schedules` and `schedule_definitions`.

use futures::TryStreamExt as _;
use sqlx::{
    SqliteExecutor,
    sqlite::{SqliteConnection, SqlitePool, SqliteRow},
};

use super::columns::{Columns, stored};
use crate::{
    model::{ScheduleName, TenantId, Timestamp},
    store::{
        Error, ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow, ScheduleWrite,
        decode::decode,
        modules::Counted,
        page::Page,
        schedules::{counted_bytes, read_definition, read_name},
    },
};

/// Why a change is refused, if it is.
pub(super) async fn refusal(
    connection: &mut SqliteConnection,
    change: &ScheduleChange,
) -> Result<Option<ScheduleChanged>, Error> {
    let tenant = sqlx::query("SELECT 1 FROM tenants WHERE tenant = ?")
        .bind(i64::from(change.tenant.0))
        .fetch_optional(&mut *connection)
        .await?;
    if tenant.is_none() {
        return Ok(Some(ScheduleChanged::TenantGone));
    }
    let found = sqlx::query("SELECT revision FROM schedules WHERE partition = 0 AND tenant = ? AND name = ?")
        .bind(i64::from(change.tenant.0))
        .bind(change.name.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let found = found.map(|row| row.number(0)).transpose()?;
    if !change.fits(found) {
        return Ok(Some(ScheduleChanged::Conflict));
    }
    match &change.write {
        ScheduleWrite::Put { max, .. } if found.is_none() => {
            let count = sqlx::query("SELECT count(*) FROM schedules WHERE partition = 0 AND tenant = ?")
                .bind(i64::from(change.tenant.0))
                .fetch_one(connection)
                .await?
                .number(0)?;
            Ok((count >= *max).then_some(ScheduleChanged::TooMany))
        }
        _ => Ok(None),
    }
}

/// Writes a change that is not refused.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    change: &ScheduleChange,
    revision: u64,
) -> Result<Counted<()>, Error> {
    let before = counted(&mut *connection, change).await?;
    match &change.write {
        ScheduleWrite::Put {
            definition,
            state,
            next_at,
            at,
            ..
        } => {
            put_definition(&mut *connection, change, definition).await?;
            sqlx::query(
                "INSERT INTO schedules (partition, tenant, name, revision, next_at_ms, state, definition_bytes,
                                        created_at_ms, updated_at_ms)
                 VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (partition, tenant, name) DO UPDATE
                 SET revision = excluded.revision,
                     next_at_ms = excluded.next_at_ms,
                     state = excluded.state,
                     definition_bytes = excluded.definition_bytes,
                     updated_at_ms = excluded.updated_at_ms",
            )
            .bind(i64::from(change.tenant.0))
            .bind(change.name.as_str())
            .bind(stored(revision))
            .bind(next_at.map(|at| stored(at.0)))
            .bind(state.as_slice())
            .bind(stored(definition.len() as u64))
            .bind(stored(at.0))
            .bind(stored(at.0))
            .execute(&mut *connection)
            .await?;
        }
        ScheduleWrite::Advance { state, next_at } => {
            sqlx::query(
                "UPDATE schedules
                 SET revision = ?, next_at_ms = ?, state = ?
                 WHERE partition = 0 AND tenant = ? AND name = ?",
            )
            .bind(stored(revision))
            .bind(next_at.map(|at| stored(at.0)))
            .bind(state.as_slice())
            .bind(i64::from(change.tenant.0))
            .bind(change.name.as_str())
            .execute(&mut *connection)
            .await?;
        }
        ScheduleWrite::Delete => {
            for statement in [
                "DELETE FROM schedules WHERE partition = 0 AND tenant = ? AND name = ?",
                "DELETE FROM schedule_definitions WHERE partition = 0 AND tenant = ? AND name = ?",
            ] {
                sqlx::query(statement)
                    .bind(i64::from(change.tenant.0))
                    .bind(change.name.as_str())
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    let after = counted(connection, change).await?;
    Ok(Counted {
        outcome: (),
        before,
        after,
    })
}

async fn put_definition(
    executor: impl SqliteExecutor<'_>,
    change: &ScheduleChange,
    definition: &[u8],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO schedule_definitions (partition, tenant, name, definition)
         VALUES (0, ?, ?, ?)
         ON CONFLICT (partition, tenant, name) DO UPDATE
         SET definition = excluded.definition",
    )
    .bind(i64::from(change.tenant.0))
    .bind(change.name.as_str())
    .bind(definition)
    .execute(executor)
    .await?;
    Ok(())
}

/// What counts of the schedule as stored, in bytes.
async fn counted(executor: impl SqliteExecutor<'_>, change: &ScheduleChange) -> Result<u64, Error> {
    let row = sqlx::query(
        "SELECT definition_bytes, length(state)
         FROM schedules
         WHERE partition = 0 AND tenant = ? AND name = ?",
    )
    .bind(i64::from(change.tenant.0))
    .bind(change.name.as_str())
    .fetch_optional(executor)
    .await?;
    match row {
        Some(row) => Ok(counted_bytes(change.name.as_str(), row.number(0)?, row.number(1)?)),
        None => Ok(0),
    }
}

/// Tenants with schedules, and when the first of each is due.
pub(super) async fn first_due(pool: &SqlitePool) -> Result<Vec<(TenantId, Timestamp)>, Error> {
    let rows = sqlx::query(
        "SELECT tenant, min(next_at_ms)
         FROM schedules INDEXED BY schedules_by_time
         WHERE partition = 0 AND next_at_ms IS NOT NULL
         GROUP BY tenant
         ORDER BY tenant",
    )
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| Ok((TenantId(row.small_number(0)?), Timestamp(row.number(1)?))))
        .collect()
}

/// When the first schedule of a tenant is due.
pub(super) const FIRST_DUE_OF: &str = "
    SELECT next_at_ms
    FROM schedules
    WHERE partition = 0 AND tenant = ? AND next_at_ms >= 0
    ORDER BY next_at_ms
    LIMIT 1";

/// Schedules of a tenant that are due, the earliest first.
pub(super) const DUE: &str = "
    SELECT name
    FROM schedules
    WHERE partition = 0 AND tenant = ? AND next_at_ms <= ?
    ORDER BY next_at_ms, name
    LIMIT ?";

/// When the first schedule of a tenant is due.
pub(super) async fn first_due_of(pool: &SqlitePool, tenant: TenantId) -> Result<Option<Timestamp>, Error> {
    let row = sqlx::query(FIRST_DUE_OF)
        .bind(i64::from(tenant.0))
        .fetch_optional(pool)
        .await?;
    row.map(|row| row.number(0).map(Timestamp)).transpose()
}

/// Schedules of a tenant that are due, the earliest first.
pub(super) async fn due(
    pool: &SqlitePool,
    tenant: TenantId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<ScheduleName>, Error> {
    let rows = sqlx::query(DUE)
        .bind(i64::from(tenant.0))
        .bind(stored(now.0))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| read_name(row.text(0)?)).collect()
}

/// A schedule.
pub(super) async fn find(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    name: &ScheduleName,
) -> Result<Option<ScheduleRow>, Error> {
    let row = sqlx::query(
        "SELECT s.name, s.revision, s.next_at_ms, s.state, s.created_at_ms, s.updated_at_ms, d.definition
         FROM schedules AS s
         JOIN schedule_definitions AS d
           ON d.partition = s.partition AND d.tenant = s.tenant AND d.name = s.name
         WHERE s.partition = 0 AND s.tenant = ? AND s.name = ?",
    )
    .bind(i64::from(tenant.0))
    .bind(name.as_str())
    .fetch_optional(executor)
    .await?;
    row.map(|row| schedule(&row, tenant)).transpose()
}

/// The number of schedules of a tenant.
pub(super) async fn count(connection: &mut SqliteConnection, tenant: TenantId) -> Result<u64, Error> {
    let row = sqlx::query("SELECT count(*) FROM schedules WHERE partition = 0 AND tenant = ?")
        .bind(i64::from(tenant.0))
        .fetch_one(connection)
        .await?;
    row.number(0)
}

/// Schedules after a name, by name.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    after: Option<&ScheduleName>,
    limit: u32,
) -> Result<SchedulePage, Error> {
    let mut rows = sqlx::query(
        "SELECT s.name, s.revision, s.next_at_ms, s.state, s.created_at_ms, s.updated_at_ms, d.definition
         FROM schedules AS s
         JOIN schedule_definitions AS d
           ON d.partition = s.partition AND d.tenant = s.tenant AND d.name = s.name
         WHERE s.partition = 0 AND s.tenant = ? AND s.name > ?
         ORDER BY s.name",
    )
    .bind(i64::from(tenant.0))
    .bind(after.map_or("", ScheduleName::as_str))
    .fetch(connection);
    let (mut schedules, mut size) = (Vec::<ScheduleRow>::new(), Page::for_answer());
    while let Some(row) = rows.try_next().await? {
        if schedules.len() == limit as usize || size.is_full() {
            let next = schedules.last().map(|last| last.name.clone());
            return Ok(SchedulePage { schedules, next });
        }
        let schedule = schedule(&row, tenant)?;
        size.read(schedule.bytes());
        schedules.push(schedule);
    }
    Ok(SchedulePage { schedules, next: None })
}

fn schedule(row: &SqliteRow, tenant: TenantId) -> Result<ScheduleRow, Error> {
    let name = read_name(row.text(0)?)?;
    Ok(ScheduleRow {
        tenant,
        revision: row.number(1)?,
        next_at: row.optional_number(2)?.map(Timestamp),
        state: decode(row.bytes(3)?, || format!("the state of the schedule {name}"))?,
        created_at: Timestamp(row.number(4)?),
        updated_at: Timestamp(row.number(5)?),
        schedule: read_definition(row.bytes(6)?, name.as_str())?,
        name,
    })
}
