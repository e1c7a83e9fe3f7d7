//! The tables `tenants` and `api_keys`. Each change is a few plain statements within the writer's transaction.

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::{
    columns::{Columns, stored},
    counters, retention, settings,
};
use crate::{
    model::{Role, TenantId, TenantName, Timestamp},
    store::{Change, Changed, Error, KeyRow, TenantRow},
};

/// Makes a change within the writer's transaction.
pub(super) async fn change(connection: &mut SqliteConnection, change: &Change) -> Result<Changed, Error> {
    match change {
        Change::CreateTenant { name, quotas, at } => create_tenant(connection, name, quotas, *at).await,
        Change::SetTenant {
            tenant,
            disabled,
            quotas,
        } => {
            let changed = sqlx::query("UPDATE tenants SET disabled = ?, quotas = ? WHERE tenant = ?")
                .bind(i64::from(*disabled))
                .bind(quotas.as_str())
                .bind(i64::from(tenant.0))
                .execute(connection)
                .await?;
            Ok(done_if(changed.rows_affected() > 0))
        }
        Change::DeleteTenant(tenant) => delete_tenant(connection, *tenant).await,
        Change::CreateKey(key) => create_key(connection, key).await,
        Change::PutSetting(row) => {
            settings::put(connection, row).await?;
            Ok(Changed::Done(None))
        }
        Change::DeleteSetting { tenant, kind, name } => {
            Ok(done_if(settings::delete(connection, *tenant, *kind, name).await?))
        }
        Change::PutRetentionRule(row) => retention::put(connection, row).await,
        Change::DeleteRetentionRule { tenant, scope } => {
            Ok(done_if(retention::delete(connection, *tenant, scope).await?))
        }
        Change::RevokeKey(id) => {
            let deleted = sqlx::query("DELETE FROM api_keys WHERE id = ?")
                .bind(id.as_str())
                .execute(connection)
                .await?;
            Ok(done_if(deleted.rows_affected() > 0))
        }
    }
}

fn done_if(found: bool) -> Changed {
    if found { Changed::Done(None) } else { Changed::Unknown }
}

async fn create_tenant(
    connection: &mut SqliteConnection,
    name: &TenantName,
    quotas: &str,
    at: Timestamp,
) -> Result<Changed, Error> {
    let taken = sqlx::query("SELECT 1 FROM tenants WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    if taken.is_some() {
        return Ok(Changed::Taken);
    }
    let number = counters::reserved(connection, "tenant").await?;
    let number = number.ok_or_else(|| Error::Damaged("the counter \"tenant\" is missing".into()))?;
    counters::reserve(connection, "tenant", number + 1).await?;
    let tenant = u32::try_from(number).map_err(|_| Error::Damaged("no tenant numbers are left".into()))?;
    sqlx::query("INSERT INTO tenants (tenant, name, quotas, created_at_ms) VALUES (?, ?, ?, ?)")
        .bind(i64::from(tenant))
        .bind(name.as_str())
        .bind(quotas)
        .bind(stored(at.0))
        .execute(connection)
        .await?;
    Ok(Changed::Done(Some(TenantId(tenant))))
}

/// Deletes everything of a tenant except its instances. The bytes of modules come first, because they are found through
/// `modules`.
const TABLES_OF_A_TENANT: [&str; 14] = [
    "DELETE FROM module_bytes WHERE module IN (SELECT module FROM modules WHERE tenant = ?)",
    "DELETE FROM functions WHERE tenant = ?",
    "DELETE FROM module_names WHERE tenant = ?",
    "DELETE FROM modules WHERE tenant = ?",
    "DELETE FROM function_names WHERE tenant = ?",
    "DELETE FROM idempotency_keys WHERE partition = 0 AND tenant = ?",
    "DELETE FROM schedules WHERE partition = 0 AND tenant = ?",
    "DELETE FROM schedule_definitions WHERE partition = 0 AND tenant = ?",
    "DELETE FROM api_keys WHERE tenant = ?",
    "DELETE FROM usage WHERE tenant = ?",
    "DELETE FROM settings WHERE tenant = ?",
    "DELETE FROM broadcasts WHERE tenant = ?",
    "DELETE FROM retention_rules WHERE tenant = ?",
    "DELETE FROM tenants WHERE tenant = ?",
];

async fn delete_tenant(connection: &mut SqliteConnection, tenant: TenantId) -> Result<Changed, Error> {
    let number = i64::from(tenant.0);
    let exists = sqlx::query("SELECT 1 FROM tenants WHERE tenant = ?")
        .bind(number)
        .fetch_optional(&mut *connection)
        .await?;
    if exists.is_none() {
        return Ok(Changed::Unknown);
    }
    let instances = sqlx::query("SELECT count(*) FROM instances WHERE partition = 0 AND tenant = ?")
        .bind(number)
        .fetch_one(&mut *connection)
        .await?
        .number(0)?;
    if instances > 0 {
        return Ok(Changed::NotEmpty(instances));
    }
    for statement in TABLES_OF_A_TENANT {
        sqlx::query(statement).bind(number).execute(&mut *connection).await?;
    }
    Ok(Changed::Done(None))
}

async fn create_key(connection: &mut SqliteConnection, key: &KeyRow) -> Result<Changed, Error> {
    let owner = sqlx::query("SELECT 1 FROM tenants WHERE tenant = ?")
        .bind(i64::from(key.tenant.0))
        .fetch_optional(&mut *connection)
        .await?;
    if owner.is_none() {
        return Ok(Changed::Unknown);
    }
    let created = sqlx::query(
        "INSERT INTO api_keys (id, tenant, role, hash, label, created_at_ms, expires_at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(key.id.as_str())
    .bind(i64::from(key.tenant.0))
    .bind(key.role as i64)
    .bind(key.hash.to_vec())
    .bind(key.label.as_str())
    .bind(stored(key.created_at.0))
    .bind(key.expires_at.map(|at| stored(at.0)))
    .execute(connection)
    .await?;
    Ok(if created.rows_affected() > 0 {
        Changed::Done(None)
    } else {
        Changed::Taken
    })
}

/// All tenants, by number.
pub(super) async fn tenants(pool: &SqlitePool) -> Result<Vec<TenantRow>, Error> {
    let rows = sqlx::query("SELECT tenant, name, disabled, quotas, created_at_ms FROM tenants ORDER BY tenant")
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            let name = row.text(1)?;
            Ok(TenantRow {
                tenant: TenantId(row.small_number(0)?),
                name: name
                    .parse()
                    .map_err(|problem| Error::Damaged(format!("the name of tenant {name:?} {problem}")))?,
                disabled: row.number(2)? != 0,
                quotas: row.text(3)?.to_owned(),
                created_at: Timestamp(row.number(4)?),
            })
        })
        .collect()
}

/// All keys, by id.
pub(super) async fn keys(pool: &SqlitePool) -> Result<Vec<KeyRow>, Error> {
    let rows = sqlx::query(
        "SELECT id, tenant, role, hash, label, created_at_ms, expires_at_ms
         FROM api_keys
         ORDER BY id",
    )
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let id = row.text(0)?.to_owned();
            let damaged = |what: &str| Error::Damaged(format!("the {what} of key {id} cannot be read"));
            Ok(KeyRow {
                tenant: TenantId(row.small_number(1)?),
                role: Role::of(row.number(2)?).ok_or_else(|| damaged("role"))?,
                hash: row.bytes(3)?.try_into().map_err(|_| damaged("hash"))?,
                label: row.text(4)?.to_owned(),
                created_at: Timestamp(row.number(5)?),
                expires_at: row.optional_number(6)?.map(Timestamp),
                id,
            })
        })
        .collect()
}
