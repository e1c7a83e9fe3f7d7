//! The table `broadcasts`.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::columns::{Columns, stored};
use crate::{
    model::{Event, EventName, FromStored as _, InstanceNumber, Payload, TenantId, Timestamp},
    store::{
        Broadcast, BroadcastOutcome, Cursor, Error, MAX_BROADCASTS, MAX_UNFINISHED_BROADCASTS, NewBroadcast,
        broadcasts::{Advance, FORGOTTEN_AT_ONCE, filter},
    },
};

/// Stores a broadcast, unless it is stored already or the tenant has too many.
pub(super) async fn create(connection: &mut SqliteConnection, new: &NewBroadcast) -> Result<BroadcastOutcome, Error> {
    let tenant = i64::from(new.tenant.0);
    let exists = sqlx::query("SELECT 1 FROM tenants WHERE tenant = ?")
        .bind(tenant)
        .fetch_optional(&mut *connection)
        .await?;
    if exists.is_none() {
        return Ok(BroadcastOutcome::TenantGone);
    }
    let same = sqlx::query("SELECT fingerprint FROM broadcasts WHERE tenant = ? AND id = ?")
        .bind(tenant)
        .bind(new.key.key.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = same {
        return Ok(match new.key.is_of(row.bytes(0)?) {
            true => BroadcastOutcome::Repeated,
            false => BroadcastOutcome::KeyReused,
        });
    }
    let counts = sqlx::query(
        "SELECT count(*), count(*) FILTER (WHERE finished_at_ms IS NULL)
         FROM broadcasts
         WHERE tenant = ?",
    )
    .bind(tenant)
    .fetch_one(&mut *connection)
    .await?;
    if counts.number(1)? >= MAX_UNFINISHED_BROADCASTS {
        return Ok(BroadcastOutcome::TooMany(MAX_UNFINISHED_BROADCASTS));
    }
    if counts.number(0)? >= MAX_BROADCASTS {
        return Ok(BroadcastOutcome::TooMany(MAX_BROADCASTS));
    }
    sqlx::query(
        "INSERT INTO broadcasts (tenant, id, fingerprint, event, payload, filter, created_at_ms, below, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
                 (SELECT coalesce(max(i.instance), 0) + 1
                  FROM instances AS i INDEXED BY instances_by_tenant
                  WHERE i.partition = 0 AND i.tenant = ?1),
                 ?8)",
    )
    .bind(tenant)
    .bind(new.key.key.as_str())
    .bind(new.key.fingerprint.as_slice())
    .bind(new.event.name.as_str())
    .bind(new.event.payload.as_str())
    .bind(new.filter_text())
    .bind(stored(new.at.0))
    .bind(stored(new.bytes()))
    .execute(connection)
    .await?;
    Ok(BroadcastOutcome::Created)
}

/// Moves a broadcast on. Returns whether it was where the piece begins.
pub(super) async fn advance(connection: &mut SqliteConnection, advance: &Advance<'_>) -> Result<bool, Error> {
    let moved = sqlx::query(
        "UPDATE broadcasts
         SET below = ?, raised = raised + ?, skipped = skipped + ?, finished_at_ms = ?
         WHERE tenant = ? AND id = ? AND below = ? AND finished_at_ms IS NULL",
    )
    .bind(stored(advance.below().0))
    .bind(stored(advance.raised))
    .bind(stored(advance.skipped))
    .bind(advance.finished_at().map(|at| stored(at.0)))
    .bind(i64::from(advance.piece.tenant.0))
    .bind(advance.piece.id.as_str())
    .bind(stored(advance.piece.from.number().0))
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() > 0)
}

/// Deletes some broadcasts that were finished before a time. Returns the tenant and the counted bytes of each.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    before: Timestamp,
) -> Result<Vec<(TenantId, u64)>, Error> {
    let rows = sqlx::query(
        "DELETE FROM broadcasts
         WHERE broadcast IN
            (SELECT broadcast FROM broadcasts WHERE finished_at_ms < ? ORDER BY finished_at_ms LIMIT ?)
         RETURNING tenant, bytes",
    )
    .bind(stored(before.0))
    .bind(i64::from(FORGOTTEN_AT_ONCE))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((TenantId(row.small_number(0)?), row.number(1)?)))
        .collect()
}

const COLUMNS: &str = "tenant, id, event, payload, filter, created_at_ms, below, raised, skipped, finished_at_ms";

/// A broadcast of a tenant.
pub(super) async fn find(pool: &SqlitePool, tenant: TenantId, id: &str) -> Result<Option<Broadcast>, Error> {
    let text = format!("SELECT {COLUMNS} FROM broadcasts WHERE tenant = ? AND id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(id)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(broadcast).transpose()
}

/// The oldest broadcast that is not finished, of the next tenant after this one that has any.
pub(super) async fn next_unfinished(pool: &SqlitePool, after: Option<TenantId>) -> Result<Option<Broadcast>, Error> {
    let text = format!(
        "SELECT {COLUMNS}
         FROM broadcasts INDEXED BY broadcasts_unfinished
         WHERE finished_at_ms IS NULL AND tenant > ?
         ORDER BY tenant, broadcast
         LIMIT 1"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(after.map_or(-1, |tenant| i64::from(tenant.0)))
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(broadcast).transpose()
}

fn broadcast(row: &SqliteRow) -> Result<Broadcast, Error> {
    let id = row.text(1)?.to_owned();
    let damaged = |what: &str| Error::Damaged(format!("the {what} of broadcast {id:?} cannot be read"));
    Ok(Broadcast {
        tenant: TenantId(row.small_number(0)?),
        event: Event {
            name: EventName::from_stored(row.text(2)?).map_err(|_| damaged("event"))?,
            payload: Payload::parse(row.text(3)?, usize::MAX).map_err(|_| damaged("payload"))?,
        },
        filter: filter(row.text(4)?)?,
        created_at: Timestamp(row.number(5)?),
        from: Cursor::below(InstanceNumber(row.number(6)?)),
        raised: row.number(7)?,
        skipped: row.number(8)?,
        finished_at: row.optional_number(9)?.map(Timestamp),
        id,
    })
}
