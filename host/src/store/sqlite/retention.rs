//! The table `retention_rules`, and the queries over the index `instances_to_expire`.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, SqliteExecutor,
    sqlite::{SqliteConnection, SqliteRow},
};

use super::{
    columns::{Columns, stored},
    instances,
};
use crate::{
    model::{
        EndPosition, InstanceNumber, InstanceStatus, Kept, MAX_RETENTION_RULES, RetentionRule, RetentionScope,
        TenantId, Timestamp,
    },
    store::{
        Changed, Descendant, EndedFunction, EndedInstance, EndedInstances, Error, RetentionRow, decode::parse,
        retention::INSTANCE_BYTES,
    },
};

/// The status of an ended orchestration without a parent, and NULL for other instances. SQLite recognizes the expression of
/// the index.
const ENDED_AS: &str = "iif(status >= 10 AND parent IS NULL AND substr(id, 1, 1) <> '@', status, NULL)";

/// How a scope is stored.
fn stored_scope(scope: &RetentionScope) -> (&str, i64) {
    let function = scope.function.as_ref().map_or("", |function| function.as_str());
    (function, scope.status.map_or(0, |status| status as i64))
}

/// Stores a rule, and replaces one of the same scope.
pub(super) async fn put(connection: &mut SqliteConnection, row: &RetentionRow) -> Result<Changed, Error> {
    let tenant = i64::from(row.tenant.0);
    let owner = sqlx::query("SELECT 1 FROM tenants WHERE tenant = ?")
        .bind(tenant)
        .fetch_optional(&mut *connection)
        .await?;
    if owner.is_none() {
        return Ok(Changed::Unknown);
    }
    let (function, status) = stored_scope(&row.rule.scope);
    let others = sqlx::query(
        "SELECT count(*)
         FROM retention_rules
         WHERE tenant = ? AND (function, status) <> (?, ?)",
    )
    .bind(tenant)
    .bind(function)
    .bind(status)
    .fetch_one(&mut *connection)
    .await?
    .number(0)?;
    if others >= u64::from(MAX_RETENTION_RULES) {
        return Ok(Changed::TooMany);
    }
    let Kept { age, count } = row.rule.kept;
    sqlx::query(
        "INSERT INTO retention_rules (tenant, function, status, max_age_ms, max_count, updated_at_ms)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (tenant, function, status) DO UPDATE
         SET max_age_ms = excluded.max_age_ms, max_count = excluded.max_count, updated_at_ms = excluded.updated_at_ms",
    )
    .bind(tenant)
    .bind(function)
    .bind(status)
    .bind(age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
    .bind(count.map(i64::from))
    .bind(stored(row.updated_at.0))
    .execute(connection)
    .await?;
    Ok(Changed::Done(None))
}

/// Deletes a rule; returns whether it existed.
pub(super) async fn delete(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    scope: &RetentionScope,
) -> Result<bool, Error> {
    let (function, status) = stored_scope(scope);
    let deleted = sqlx::query("DELETE FROM retention_rules WHERE tenant = ? AND function = ? AND status = ?")
        .bind(i64::from(tenant.0))
        .bind(function)
        .bind(status)
        .execute(connection)
        .await?;
    Ok(deleted.rows_affected() > 0)
}

/// The next tenant with rules.
pub(super) async fn next_tenant(
    executor: impl SqliteExecutor<'_>,
    after: Option<TenantId>,
) -> Result<Option<TenantId>, Error> {
    let row = sqlx::query("SELECT tenant FROM retention_rules WHERE tenant > ? ORDER BY tenant LIMIT 1")
        .bind(after.map_or(-1, |tenant| i64::from(tenant.0)))
        .fetch_optional(executor)
        .await?;
    row.map(|row| row.small_number(0).map(TenantId)).transpose()
}

/// The rules of a tenant, by function and status.
pub(super) async fn rules(executor: impl SqliteExecutor<'_>, tenant: TenantId) -> Result<Vec<RetentionRow>, Error> {
    let rows = sqlx::query(
        "SELECT function, status, max_age_ms, max_count, updated_at_ms
         FROM retention_rules
         WHERE tenant = ?
         ORDER BY function, status",
    )
    .bind(i64::from(tenant.0))
    .fetch_all(executor)
    .await?;
    let rule = |row: &SqliteRow| {
        let (function, status) = (row.text(0)?, row.number(1)?);
        let function = (!function.is_empty()).then(|| parse(function, "the function of a retention rule"));
        let count = row.optional_number(3)?.map(u32::try_from).transpose();
        Ok(RetentionRow {
            tenant,
            rule: RetentionRule {
                scope: RetentionScope {
                    function: function.transpose()?,
                    status: (status != 0).then(|| instances::status(status)).transpose()?,
                },
                kept: Kept {
                    age: row.optional_number(2)?.map(Duration::from_millis),
                    count: count.map_err(|_| Error::Damaged("the count of a retention rule is too large".into()))?,
                },
            },
            updated_at: Timestamp(row.number(4)?),
        })
    };
    rows.iter().map(rule).collect()
}

/// The function with the next number that has instances in the index.
pub(super) async fn next_function(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    after: Option<u64>,
) -> Result<Option<EndedFunction>, Error> {
    let row = sqlx::query(AssertSqlSafe(next_function_query()))
        .bind(i64::from(tenant.0))
        .bind(after.map_or(-1, stored))
        .fetch_optional(executor)
        .await?;
    let function = |row: SqliteRow| {
        Ok(EndedFunction {
            number: row.number(0)?,
            name: parse(row.text(1)?, "the function name")?,
        })
    };
    row.map(function).transpose()
}

pub(super) fn next_function_query() -> String {
    format!(
        "SELECT e.function, f.name
         FROM (SELECT function
               FROM instances INDEXED BY instances_to_expire
               WHERE partition = 0 AND tenant = ? AND function > ? AND {ENDED_AS} IS NOT NULL
               ORDER BY function
               LIMIT 1) AS e
         CROSS JOIN function_names AS f ON f.function = e.function"
    )
}

/// The instance that follows `count` others that ended later.
pub(super) async fn first_surplus(
    executor: impl SqliteExecutor<'_>,
    of: EndedInstances<'_>,
    count: u32,
) -> Result<Option<EndPosition>, Error> {
    let row = sqlx::query(AssertSqlSafe(first_surplus_query(of.statuses)))
        .bind(i64::from(of.tenant.0))
        .bind(stored(of.function))
        .bind(i64::from(count))
        .fetch_optional(executor)
        .await?;
    row.map(|row| position(&row)).transpose()
}

pub(super) fn first_surplus_query(statuses: &[InstanceStatus]) -> String {
    format!(
        "{}
         ORDER BY updated_at_ms DESC, instance DESC
         LIMIT 1 OFFSET ?3",
        union(statuses, "")
    )
}

/// The index rows of each status, with two columns. SQLite merges the statuses in the order of the index, so it neither
/// sorts nor reads more rows than are asked for.
fn union(statuses: &[InstanceStatus], condition: &str) -> String {
    let of_status = |status: &InstanceStatus| {
        format!(
            "SELECT updated_at_ms, instance
             FROM instances INDEXED BY instances_to_expire
             WHERE partition = 0 AND tenant = ?1 AND function = ?2 AND {ENDED_AS} = {}{condition}",
            *status as u8
        )
    };
    let all: Vec<_> = statuses.iter().map(of_status).collect();
    all.join(" UNION ALL ")
}

fn position(row: &SqliteRow) -> Result<EndPosition, Error> {
    Ok(EndPosition {
        ended_at: Timestamp(row.number(0)?),
        instance: InstanceNumber(row.number(1)?),
    })
}

/// Instances between two places, those first that ended first.
pub(super) async fn between(
    executor: impl SqliteExecutor<'_>,
    of: EndedInstances<'_>,
    after: Option<EndPosition>,
    before: EndPosition,
    limit: u32,
) -> Result<Vec<EndedInstance>, Error> {
    let after = after.map_or((-1, -1), |after| (stored(after.ended_at.0), stored(after.instance.0)));
    let rows = sqlx::query(AssertSqlSafe(between_query(of.statuses)))
        .bind(i64::from(of.tenant.0))
        .bind(stored(of.function))
        .bind(after.0)
        .bind(after.1)
        .bind(stored(before.ended_at.0))
        .bind(stored(before.instance.0))
        .bind(i64::from(limit))
        .fetch_all(executor)
        .await?;
    let instance = |row: &SqliteRow| {
        Ok(EndedInstance {
            position: position(row)?,
            id: parse(row.text(2)?, "the instance id")?,
            status: instances::status(row.number(3)?)?,
            has_children: row.number(4)? != 0,
            bytes: row.number(5)? + INSTANCE_BYTES,
        })
    };
    let mut found = rows.iter().map(instance).collect::<Result<Vec<_>, Error>>()?;
    found.sort_unstable_by_key(|instance| instance.position);
    Ok(found)
}

/// Whether an instance has children, and the length of its custom status.
const CHILDREN_AND_BYTES: &str = "
    EXISTS (SELECT 1
            FROM instances AS c INDEXED BY instances_by_parent
            WHERE c.partition = 0 AND c.parent = i.instance),
    coalesce(octet_length(i.custom_status), 0)";

pub(super) fn between_query(statuses: &[InstanceStatus]) -> String {
    let within = " AND (updated_at_ms, instance) > (?3, ?4) AND (updated_at_ms, instance) < (?5, ?6)";
    format!(
        "SELECT e.updated_at_ms, e.instance, i.id, i.status, {CHILDREN_AND_BYTES}
         FROM (SELECT * FROM ({}
                              ORDER BY updated_at_ms, instance
                              LIMIT ?7)) AS e
         CROSS JOIN instances AS i ON i.partition = 0 AND i.instance = e.instance",
        union(statuses, within)
    )
}

/// How many instances are before a place, at most `limit`.
pub(super) async fn count(
    executor: impl SqliteExecutor<'_>,
    of: EndedInstances<'_>,
    before: EndPosition,
    limit: u32,
) -> Result<u64, Error> {
    let row = sqlx::query(AssertSqlSafe(count_query(of.statuses)))
        .bind(i64::from(of.tenant.0))
        .bind(stored(of.function))
        .bind(stored(before.ended_at.0))
        .bind(stored(before.instance.0))
        .bind(i64::from(limit))
        .fetch_one(executor)
        .await?;
    row.number(0)
}

pub(super) fn count_query(statuses: &[InstanceStatus]) -> String {
    let condition = " AND (updated_at_ms, instance) < (?3, ?4)";
    format!("SELECT count(*) FROM ({} LIMIT ?5)", union(statuses, condition))
}

/// The children of an instance with larger numbers than `after`.
pub(super) async fn descendants(
    executor: impl SqliteExecutor<'_>,
    parent: InstanceNumber,
    after: Option<InstanceNumber>,
    limit: u32,
) -> Result<Vec<Descendant>, Error> {
    let rows = sqlx::query(AssertSqlSafe(descendants_query()))
        .bind(stored(parent.0))
        .bind(after.map_or(-1, |after| stored(after.0)))
        .bind(i64::from(limit))
        .fetch_all(executor)
        .await?;
    let descendant = |row: &SqliteRow| {
        Ok(Descendant {
            instance: InstanceNumber(row.number(0)?),
            status: instances::status(row.number(1)?)?,
            has_children: row.number(2)? != 0,
            bytes: row.number(3)? + INSTANCE_BYTES,
        })
    };
    rows.iter().map(descendant).collect()
}

pub(super) fn descendants_query() -> String {
    format!(
        "SELECT i.instance, i.status, {CHILDREN_AND_BYTES}
         FROM instances AS i INDEXED BY instances_by_parent
         WHERE i.partition = 0 AND i.parent = ? AND i.instance > ?
         ORDER BY i.instance
         LIMIT ?"
    )
}
