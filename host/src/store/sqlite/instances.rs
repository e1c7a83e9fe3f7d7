//! The table `instances`: the current state of each instance.

use sqlx::{
    AssertSqlSafe,
    sqlite::{SqliteConnection, SqlitePool, SqliteRow},
};

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{
        EntityState, ExecutionNumber, InstanceNumber, InstanceStatus, Parent, Payload, Rewinds, StuckReason, TenantId,
        Timestamp, TurnNumber, codec,
    },
    store::{
        Error, WakeUp,
        decode::{decode, parse},
        instances::{ById, ByNumber, ChangedInstance, CreatedInstance, InstanceHead},
        sizes::Sizes,
    },
};

impl BindRow for CreatedInstance<'_> {
    fn bind(&self, values: &mut Values) {
        let state = &self.state;
        values
            .number(state.number.0)
            .number(self.tenant.0)
            .text(self.id.as_str())
            .number(self.function)
            .number(self.created_at.0)
            .optional_number(self.parent.map(|parent| parent.instance.0))
            .optional_bytes(self.parent.map(codec::encode).as_deref())
            .number(state.status as u8)
            .number(state.execution.0)
            .number(state.last_turn.0)
            .optional_number(state.wake_at.map(|at| at.0))
            .number(state.in_flight)
            .number(state.module.0)
            .number(state.updated_at.0)
            .number(state.fuel)
            .optional_bytes(state.stuck.map(codec::encode).as_deref())
            .optional_text(state.custom_status.flatten())
            .optional_bytes(state.entity)
            .number(state.sizes.execution)
            .number(state.sizes.events)
            .number(state.sizes.log)
            .number(state.sizes.old_logs)
            .number(state.sizes.tags);
    }
}

/// Creates instances.
pub(super) static CREATE: RowStatement = RowStatement::new(
    "WITH v(instance, tenant, id, function, created_at_ms, parent, parent_link, status, execution, last_turn,
            wake_at_ms, in_flight, module, updated_at_ms, fuel, stuck, custom_status, entity, execution_bytes,
            event_bytes, log_bytes, old_log_bytes, tag_bytes) AS (VALUES ",
    23,
    ")
     INSERT INTO instances
        (partition, instance, tenant, id, function, created_at_ms, parent, parent_link, status, execution, last_turn,
         wake_at_ms, in_flight, module, updated_at_ms, fuel, stuck, custom_status, entity, execution_bytes,
         event_bytes, log_bytes, old_log_bytes, tag_bytes, unclean_ends)
     SELECT 0, v.instance, v.tenant, v.id, v.function, v.created_at_ms, v.parent, v.parent_link, v.status, v.execution,
            v.last_turn, v.wake_at_ms, v.in_flight, v.module, v.updated_at_ms, v.fuel, v.stuck, v.custom_status,
            v.entity, v.execution_bytes, v.event_bytes, v.log_bytes, v.old_log_bytes, v.tag_bytes, 0
     FROM v
     WHERE v.instance IS NOT NULL",
);

impl BindRow for ChangedInstance<'_> {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.number.0)
            .number(self.status as u8)
            .number(self.execution.0)
            .number(self.last_turn.0)
            .optional_number(self.wake_at.map(|at| at.0))
            .number(self.in_flight)
            .number(self.module.0)
            .number(self.updated_at.0)
            .number(self.fuel)
            .optional_bytes(self.stuck.map(codec::encode).as_deref())
            .number(self.custom_status.is_some())
            .optional_text(self.custom_status.flatten())
            .optional_bytes(self.entity)
            .optional_bytes(self.rewinds.as_deref())
            .number(self.sizes.execution)
            .number(self.sizes.events)
            .number(self.sizes.log)
            .number(self.sizes.old_logs);
    }
}

/// Changes instances.
pub(super) static CHANGE: RowStatement = RowStatement::new(
    "WITH v(instance, status, execution, last_turn, wake_at_ms, in_flight, module, updated_at_ms, fuel, stuck,
            new_custom_status, custom_status, entity, rewinds, execution_bytes, event_bytes, log_bytes, old_log_bytes)
        AS (VALUES ",
    18,
    ")
     UPDATE instances
     SET status = v.status,
         execution = v.execution,
         last_turn = v.last_turn,
         wake_at_ms = v.wake_at_ms,
         in_flight = v.in_flight,
         module = v.module,
         updated_at_ms = v.updated_at_ms,
         fuel = instances.fuel + v.fuel,
         stuck = v.stuck,
         custom_status = iif(v.new_custom_status, v.custom_status, instances.custom_status),
         entity = coalesce(v.entity, instances.entity),
         rewinds = coalesce(v.rewinds, instances.rewinds),
         execution_bytes = v.execution_bytes,
         event_bytes = v.event_bytes,
         log_bytes = v.log_bytes,
         old_log_bytes = v.old_log_bytes
     FROM v
     WHERE instances.partition = 0 AND instances.instance = v.instance",
);

/// Lets instances that failed run again.
pub(super) static REVIVE: RowStatement = RowStatement::new(
    "WITH v(instance) AS (VALUES ",
    1,
    ")
     UPDATE instances
     SET status = 1
     FROM v
     WHERE instances.partition = 0 AND instances.instance = v.instance AND instances.status = 11",
);

impl BindRow for ByNumber {
    fn bind(&self, values: &mut Values) {
        values.number(self.0.0);
    }
}

impl BindRow for ById<'_> {
    fn bind(&self, values: &mut Values) {
        values.number(self.0.0).text(self.1.as_str());
    }
}

pub(super) static HEADS_BY_NUMBER: RowStatement = RowStatement::new(
    "WITH v(instance) AS (VALUES ",
    1,
    ")
     SELECT i.instance, i.tenant, i.id, i.status, i.execution, i.last_turn, i.execution_bytes, i.event_bytes,
            i.log_bytes, i.old_log_bytes, i.wake_at_ms, i.parent, i.tag_bytes,
            CASE WHEN substr(i.id, 1, 1) = '@' THEN
                (SELECT count(*)
                 FROM (SELECT 1 FROM inbox AS m WHERE m.partition = 0 AND m.instance = i.instance LIMIT 10000))
            ELSE 0 END
     FROM v CROSS JOIN instances AS i
     WHERE i.partition = 0 AND i.instance = v.instance",
);

pub(super) static HEADS_BY_ID: RowStatement = RowStatement::new(
    "WITH v(tenant, id) AS (VALUES ",
    2,
    ")
     SELECT i.instance, i.tenant, i.id, i.status, i.execution, i.last_turn, i.execution_bytes, i.event_bytes,
            i.log_bytes, i.old_log_bytes, i.wake_at_ms, i.parent, i.tag_bytes,
            CASE WHEN substr(i.id, 1, 1) = '@' THEN
                (SELECT count(*)
                 FROM (SELECT 1 FROM inbox AS m WHERE m.partition = 0 AND m.instance = i.instance LIMIT 10000))
            ELSE 0 END
     FROM v CROSS JOIN instances AS i
     WHERE i.partition = 0 AND i.tenant = v.tenant AND i.id = v.id",
);

/// Deletes the rows of instances; their rows in other tables become garbage.
pub(super) static DELETE: RowStatement = RowStatement::new(
    "DELETE FROM instances NOT INDEXED
     WHERE partition = 0 AND instance IN (VALUES ",
    1,
    ")",
);

/// The heads of those instances that exist.
pub(super) async fn heads_by_number(
    connection: &mut SqliteConnection,
    wanted: &[ByNumber],
) -> Result<Vec<InstanceHead>, Error> {
    HEADS_BY_NUMBER
        .fetch(connection, wanted)
        .await?
        .iter()
        .map(head)
        .collect()
}

/// The heads of those instances that exist.
pub(super) async fn heads_by_id(
    connection: &mut SqliteConnection,
    wanted: &[ById<'_>],
) -> Result<Vec<InstanceHead>, Error> {
    HEADS_BY_ID.fetch(connection, wanted).await?.iter().map(head).collect()
}

fn head(row: &SqliteRow) -> Result<InstanceHead, Error> {
    let number = InstanceNumber(row.number(0)?);
    Ok(InstanceHead {
        number,
        tenant: TenantId(row.small_number(1)?),
        id: parse(row.text(2)?, "the instance id")?,
        status: status(row.number(3)?)?,
        execution: ExecutionNumber(row.small_number(4)?),
        last_turn: TurnNumber(row.small_number(5)?),
        parent: row.optional_number(11)?.map(InstanceNumber),
        has_wake_up: row.optional_number(10)?.is_some(),
        waiting: row.number(13)?,
        sizes: Sizes {
            execution: row.number(6)?,
            events: row.number(7)?,
            log: row.number(8)?,
            old_logs: row.number(9)?,
            tags: row.number(12)?,
            log_full_at: None,
        },
    })
}

/// The smallest status number of ended instances, for the texts of queries.
pub(super) const FIRST_ENDED: u8 = InstanceStatus::FIRST_ENDED;

/// The status number of failed instances, for the texts of queries.
pub(super) const FAILED: u8 = InstanceStatus::Failed as u8;

const SUSPENDED: u8 = InstanceStatus::Suspended as u8;

const STUCK: u8 = InstanceStatus::Stuck as u8;

const PENDING: u8 = InstanceStatus::Pending as u8;

/// Marks a live instance as stuck; returns whether there was one. Timers do not wake it until it is resumed.
pub(super) async fn mark_stuck(
    connection: &mut SqliteConnection,
    instance: InstanceNumber,
    reason: &StuckReason,
    at: Timestamp,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(AssertSqlSafe(format!(
        "UPDATE instances
             SET status = {STUCK}, stuck = ?, updated_at_ms = ?, wake_at_ms = NULL
             WHERE partition = 0 AND instance = ? AND status < {FIRST_ENDED}"
    )))
    .bind(codec::encode(reason))
    .bind(stored(at.0))
    .bind(stored(instance.0))
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Live instances of all tenants that must be woken when the host starts, in ascending order after a number: those with
/// activities in flight, those with control messages, and those with other messages or events unless they are
/// suspended. One that waits for the time of its first turn is among them only if a control message follows its start.
/// Each part is limited by itself, so that a page does not read all rows of the pages after it.
pub(super) async fn to_wake_at_start(
    pool: &SqlitePool,
    after: Option<InstanceNumber>,
    limit: u32,
) -> Result<Vec<(TenantId, InstanceNumber)>, Error> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT *
             FROM (SELECT instance, tenant
                   FROM instances INDEXED BY instances_in_flight
                   WHERE partition = 0 AND instance > ?1 AND in_flight > 0
                   ORDER BY instance
                   LIMIT ?2)
             UNION
             SELECT *
             FROM (SELECT m.instance, i.tenant
                   FROM inbox AS m CROSS JOIN instances AS i
                   WHERE m.partition = 0 AND m.instance > ?1
                      AND i.partition = 0 AND i.instance = m.instance
                      AND i.status < {FIRST_ENDED}
                      AND (i.status <> {SUSPENDED} OR m.control = 1)
                      -- The wake-up time covers delayed messages once the owner has stored it.
                      AND (m.due_at_ms IS NULL OR i.wake_at_ms IS NULL OR m.due_at_ms < i.wake_at_ms)
                      AND (i.status <> {PENDING} OR i.wake_at_ms IS NULL
                           OR (m.control = 1
                               AND EXISTS (SELECT 1
                                           FROM inbox AS s
                                           WHERE s.partition = 0 AND s.instance = m.instance AND s.control = 1
                                              AND s.seq < m.seq)))
                   GROUP BY m.instance
                   ORDER BY m.instance
                   LIMIT ?2)
             UNION
             SELECT *
             FROM (SELECT instance, tenant
                   FROM instances INDEXED BY instances_with_events
                   WHERE partition = 0 AND instance > ?1 AND event_bytes > 0
                      AND status < {FIRST_ENDED} AND status <> {SUSPENDED}
                      AND (status <> {PENDING} OR wake_at_ms IS NULL)
                   ORDER BY instance
                   LIMIT ?2)
             ORDER BY 1
             LIMIT ?2"
    )))
    .bind(after.map_or(-1, |number| stored(number.0)))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| Ok((TenantId(row.small_number(1)?), InstanceNumber(row.number(0)?))))
        .collect()
}

/// Live instances of a tenant, in ascending order after a number, that have messages, events, activities in flight, or
/// a wake-up that is due. One that waits for the time of its first turn is among them only if a control message follows
/// its start.
pub(super) async fn to_wake_of(
    pool: &SqlitePool,
    tenant: TenantId,
    now: Timestamp,
    after: Option<InstanceNumber>,
    limit: u32,
) -> Result<Vec<InstanceNumber>, Error> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT i.instance
             FROM instances AS i INDEXED BY instances_by_tenant
             WHERE i.partition = 0 AND i.tenant = ? AND i.instance > ? AND i.status < {FIRST_ENDED}
                AND (i.in_flight > 0 OR i.wake_at_ms <= ?
                     OR iif(i.status = {PENDING} AND i.wake_at_ms IS NOT NULL,
                            EXISTS (SELECT 1
                                    FROM inbox AS m
                                    WHERE m.partition = 0 AND m.instance = i.instance AND m.control = 1
                                    LIMIT 1 OFFSET 1),
                            i.event_bytes > 0
                            OR EXISTS (SELECT 1 FROM inbox AS m WHERE m.partition = 0 AND m.instance = i.instance)))
             ORDER BY i.instance
             LIMIT ?"
    )))
    .bind(i64::from(tenant.0))
    .bind(after.map_or(-1, |number| stored(number.0)))
    .bind(stored(now.0))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok(InstanceNumber(row.number(0)?))).collect()
}

/// The wake-ups after a position, the earliest first, of all tenants except some.
pub(super) async fn wake_ups(
    pool: &SqlitePool,
    after: Option<(Timestamp, InstanceNumber)>,
    except: &[TenantId],
    limit: u32,
) -> Result<Vec<WakeUp>, Error> {
    const ALL: &str = "SELECT wake_at_ms, instance, tenant
         FROM instances
         WHERE partition = 0 AND wake_at_ms >= ?1 AND (wake_at_ms > ?1 OR instance > ?2)
         ORDER BY wake_at_ms, instance
         LIMIT ?3";
    const SOME: &str = "SELECT wake_at_ms, instance, tenant
         FROM instances
         WHERE partition = 0 AND wake_at_ms >= ?1 AND (wake_at_ms > ?1 OR instance > ?2) AND tenant NOT IN (SELECT value FROM json_each(?3))
         ORDER BY wake_at_ms, instance
         LIMIT ?4";
    let (time, instance) = after.map_or((-1, -1), |(time, instance)| (stored(time.0), stored(instance.0)));
    let query = if except.is_empty() {
        sqlx::query(ALL).bind(time).bind(instance)
    } else {
        let except: Vec<u32> = except.iter().map(|tenant| tenant.0).collect();
        let except = serde_json::to_string(&except).expect("numbers can be written as JSON");
        sqlx::query(SOME).bind(time).bind(instance).bind(except)
    };
    let rows = query.bind(i64::from(limit)).fetch_all(pool).await?;
    let wake_ups = rows.iter().map(|row| {
        Ok(WakeUp {
            at: Timestamp(row.number(0)?),
            instance: InstanceNumber(row.number(1)?),
            tenant: TenantId(row.small_number(2)?),
        })
    });
    wake_ups.collect()
}

/// Statuses as a bit mask.
pub(super) fn status_mask(statuses: &[InstanceStatus]) -> i64 {
    statuses.iter().fold(0, |mask, status| mask | (1 << (*status as u8)))
}

/// Decodes a stored status.
pub(super) fn status(number: u64) -> Result<InstanceStatus, Error> {
    let status = u8::try_from(number).ok().and_then(InstanceStatus::from_number);
    status.ok_or_else(|| Error::Damaged(format!("an instance has the unknown status {number}")))
}

/// Decodes the stored custom status of an instance.
pub(super) fn custom_status(text: Option<&str>, instance: InstanceNumber) -> Result<Option<Payload>, Error> {
    let status = text.map(|text| Payload::parse(text, usize::MAX)).transpose();
    status.map_err(|error| Error::Damaged(format!("the custom status of instance {instance} {error}")))
}

/// Decodes what is stored of an entity.
pub(super) fn entity(bytes: Option<&[u8]>, instance: InstanceNumber) -> Result<Option<EntityState>, Error> {
    bytes
        .map(|bytes| decode(bytes, || format!("the state of entity {instance}")))
        .transpose()
}

/// Decodes the stored parent of an instance.
pub(super) fn parent(bytes: Option<&[u8]>, instance: InstanceNumber) -> Result<Option<Parent>, Error> {
    bytes
        .map(|bytes| decode(bytes, || format!("the parent of instance {instance}")))
        .transpose()
}

/// Decodes the stored rewinds of an instance, as far as they concern an execution.
pub(super) fn rewinds(
    bytes: Option<&[u8]>,
    instance: InstanceNumber,
    execution: ExecutionNumber,
) -> Result<Rewinds, Error> {
    let stored = bytes
        .map(|bytes| decode(bytes, || format!("the rewinds of instance {instance}")))
        .transpose()?;
    Ok(Rewinds::of(stored, execution))
}

/// Decodes the stored reason why an instance is stuck.
pub(super) fn stuck(bytes: Option<&[u8]>, instance: InstanceNumber) -> Result<Option<StuckReason>, Error> {
    bytes
        .map(|bytes| decode(bytes, || format!("the reason why instance {instance} is stuck")))
        .transpose()
}
