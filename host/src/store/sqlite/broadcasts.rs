//! The table `broadcasts`.

use futures::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::columns::{Columns, stored};
use crate::{
    model::{Event, EventName, FromStored as _, InstanceNumber, Payload, TenantId, Timestamp},
    store::{
        Broadcast, BroadcastEnd, BroadcastOutcome, BroadcastPage, BroadcastSummary, Cursor, EndBroadcast,
        EndOfBroadcast, Error, MAX_BROADCASTS, MAX_UNFINISHED_BROADCASTS, NewBroadcast, NextBroadcast,
        broadcasts::{Advance, FORGOTTEN_AT_ONCE, filter},
        page::Page,
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

/// Ends a broadcast that is not finished.
pub(super) async fn end(connection: &mut SqliteConnection, end: &EndBroadcast) -> Result<EndOfBroadcast, Error> {
    let (ended_as, problem) = end.end.stored();
    let ended = sqlx::query(
        "UPDATE broadcasts
         SET finished_at_ms = ?, ended_as = ?, problem = ?
         WHERE tenant = ? AND id = ? AND finished_at_ms IS NULL",
    )
    .bind(stored(end.at.0))
    .bind(ended_as)
    .bind(problem)
    .bind(i64::from(end.tenant.0))
    .bind(end.id.as_str())
    .execute(&mut *connection)
    .await?;
    if ended.rows_affected() > 0 {
        return Ok(EndOfBroadcast::Ended);
    }
    let found = sqlx::query("SELECT 1 FROM broadcasts WHERE tenant = ? AND id = ?")
        .bind(i64::from(end.tenant.0))
        .bind(end.id.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(match found {
        Some(_) => EndOfBroadcast::EndedBefore,
        None => EndOfBroadcast::Unknown,
    })
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
pub(super) async fn next_unfinished(
    pool: &SqlitePool,
    after: Option<TenantId>,
) -> Result<Option<NextBroadcast>, Error> {
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
    let Some(row) = row else { return Ok(None) };
    Ok(Some(match broadcast(&row) {
        Ok(broadcast) => NextBroadcast::Readable(Box::new(broadcast)),
        Err(error @ Error::Damaged(_)) => NextBroadcast::Unreadable {
            tenant: TenantId(row.small_number(0)?),
            id: row.text(1)?.to_owned(),
            error,
        },
        Err(error) => return Err(error),
    }))
}

const SUMMARY: &str = "id, event, created_at_ms, raised, skipped, finished_at_ms, ended_as, problem";

/// A broadcast of a tenant, as clients see it.
pub(super) async fn summary(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    id: &str,
) -> Result<Option<BroadcastSummary>, Error> {
    let text = format!("SELECT {SUMMARY} FROM broadcasts WHERE tenant = ? AND id = ?");
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(id)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(summarized).transpose()
}

/// Broadcasts of a tenant after an id, by id.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    after: Option<&str>,
    limit: u32,
) -> Result<BroadcastPage, Error> {
    let text = format!("SELECT {SUMMARY} FROM broadcasts WHERE tenant = ? AND id > ? ORDER BY id");
    let mut rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(after.unwrap_or_default())
        .fetch(connection);
    let (mut broadcasts, mut size) = (Vec::<BroadcastSummary>::new(), Page::for_answer());
    while let Some(row) = rows.try_next().await? {
        if broadcasts.len() == limit as usize || size.is_full() {
            let next = broadcasts.last().map(|last| last.id.clone());
            return Ok(BroadcastPage { broadcasts, next });
        }
        let summary = summarized(&row)?;
        size.read(summary.bytes());
        broadcasts.push(summary);
    }
    Ok(BroadcastPage { broadcasts, next: None })
}

fn summarized(row: &SqliteRow) -> Result<BroadcastSummary, Error> {
    let ended = match row.optional_number(5)? {
        None => None,
        Some(at) => Some((
            Timestamp(at),
            BroadcastEnd::read(row.number(6)?, row.optional_text(7)?)?,
        )),
    };
    Ok(BroadcastSummary {
        id: row.text(0)?.to_owned(),
        event: row.text(1)?.to_owned(),
        created_at: Timestamp(row.number(2)?),
        raised: row.number(3)?,
        skipped: row.number(4)?,
        ended,
    })
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
