//! The tables `modules`, `module_bytes`, `module_names` and `functions`: uploaded code, and which module offers which
//! function.

use futures::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, SqliteExecutor,
    sqlite::{SqliteConnection, SqlitePool, SqliteRow},
};

use super::{
    columns::{Columns, stored},
    instances::{FAILED, FIRST_ENDED},
    purges,
};
use crate::{
    model::{
        FunctionKind, FunctionName, InstanceNumber, ModuleDescription, ModuleDigest, ModuleNumber, TenantId, Timestamp,
        codec,
    },
    store::{
        Error,
        decode::decode,
        modules::{
            BYTES_GRACE_MS, Counted, MAX_USERS, ModulePage, ModuleVersion, OldVersion, PossibleUser, PossibleUsers,
            PutModule, PutModuleOutcome, without_functions,
        },
        page::Page,
    },
};

/// Stores a module and makes it the current version of its name.
pub(super) async fn put(
    connection: &mut SqliteConnection,
    put: &PutModule,
) -> Result<Counted<PutModuleOutcome>, Error> {
    let before = counted(&mut *connection, put.tenant, put.digest).await?;
    let outcome = put_rows(&mut *connection, put).await?;
    let after = counted(connection, put.tenant, put.digest).await?;
    Ok(Counted { outcome, before, after })
}

/// What counts of a version as stored, in bytes: the compiled code and the description, while its bytes are kept.
async fn counted(executor: impl SqliteExecutor<'_>, tenant: TenantId, digest: ModuleDigest) -> Result<u64, Error> {
    let row = sqlx::query(
        "SELECT coalesce(sum(m.compiled_bytes + length(m.description) + coalesce(length(m.events), 0)
                             + coalesce(length(m.entities), 0)), 0)
         FROM modules AS m
         WHERE m.tenant = ? AND m.digest = ?
            AND EXISTS (SELECT 1 FROM module_bytes AS b WHERE b.module = m.module)",
    )
    .bind(i64::from(tenant.0))
    .bind(digest.0.to_vec())
    .fetch_one(executor)
    .await?;
    row.number(0)
}

async fn put_rows(connection: &mut SqliteConnection, put: &PutModule) -> Result<PutModuleOutcome, Error> {
    let tenant = sqlx::query("SELECT 1 FROM tenants WHERE tenant = ?")
        .bind(i64::from(put.tenant.0))
        .fetch_optional(&mut *connection)
        .await?;
    if tenant.is_none() {
        return Ok(PutModuleOutcome::TenantGone);
    }
    if let Some((function, module)) = taken_function(connection, put).await? {
        return Ok(PutModuleOutcome::FunctionTaken { function, module });
    }
    let current = current_number(connection, put.tenant, &put.name).await?;
    let number = upsert_version(connection, put).await?;
    if current == Some(number) {
        return Ok(PutModuleOutcome::Stored { number, new: false });
    }
    put_bytes(connection, number, &put.bytes).await?;
    if let Some(current) = current {
        supersede(connection, current, put.at).await?;
    }
    put_name(connection, put.tenant, &put.name, number).await?;
    replace_functions(connection, put).await?;
    Ok(PutModuleOutcome::Stored { number, new: true })
}

/// Deletes a module's name and functions; returns whether it existed. Instances that run on it continue.
pub(super) async fn delete(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    name: &str,
    at: Timestamp,
) -> Result<bool, Error> {
    let Some(current) = current_number(connection, tenant, name).await? else {
        return Ok(false);
    };
    supersede(connection, current, at).await?;
    sqlx::query("DELETE FROM module_names WHERE tenant = ? AND name = ?")
        .bind(i64::from(tenant.0))
        .bind(name)
        .execute(&mut *connection)
        .await?;
    delete_functions(connection, tenant, name).await?;
    Ok(true)
}

async fn taken_function(
    connection: &mut SqliteConnection,
    put: &PutModule,
) -> Result<Option<(FunctionName, String)>, Error> {
    for function in &put.description.functions {
        let row = sqlx::query(
            "SELECT module_name
             FROM functions
             WHERE tenant = ? AND kind = ? AND function = ? AND module_name <> ?",
        )
        .bind(i64::from(put.tenant.0))
        .bind(i64::from(put.description.kind as u8))
        .bind(function.name.as_str())
        .bind(put.name.as_str())
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = row {
            return Ok(Some((function.name.clone(), row.text(0)?.to_owned())));
        }
    }
    Ok(None)
}

async fn current_number(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    name: &str,
) -> Result<Option<ModuleNumber>, Error> {
    let row = sqlx::query("SELECT module FROM module_names WHERE tenant = ? AND name = ?")
        .bind(i64::from(tenant.0))
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.small_number(0).map(ModuleNumber)).transpose()
}

/// Creates the row of the version, or reuses that of an earlier upload of the same bytes.
async fn upsert_version(connection: &mut SqliteConnection, put: &PutModule) -> Result<ModuleNumber, Error> {
    let row = sqlx::query(
        "INSERT INTO modules (tenant, name, digest, kind, description, size, uploaded_at_ms, uploaded_by, events,
                              entities, compiled_bytes)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (tenant, digest) DO UPDATE
         SET name = excluded.name,
             kind = excluded.kind,
             description = excluded.description,
             events = excluded.events,
             entities = excluded.entities,
             compiled_bytes = excluded.compiled_bytes,
             uploaded_at_ms = iif(superseded_at_ms IS NULL, uploaded_at_ms, excluded.uploaded_at_ms),
             uploaded_by = iif(superseded_at_ms IS NULL, uploaded_by, excluded.uploaded_by),
             superseded_at_ms = NULL
         RETURNING module",
    )
    .bind(i64::from(put.tenant.0))
    .bind(put.name.as_str())
    .bind(put.digest.0.to_vec())
    .bind(i64::from(put.description.kind as u8))
    .bind(codec::encode(&put.description))
    .bind(stored(put.bytes.len() as u64))
    .bind(stored(put.at.0))
    .bind(put.by.as_deref())
    .bind((!put.description.events.is_empty()).then(|| codec::encode(&put.description.events)))
    .bind((!put.description.entities.is_empty()).then(|| codec::encode(&put.description.entities)))
    .bind(stored(put.compiled_bytes))
    .fetch_one(connection)
    .await?;
    Ok(ModuleNumber(row.small_number(0)?))
}

async fn put_bytes(connection: &mut SqliteConnection, number: ModuleNumber, bytes: &[u8]) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO module_bytes (module, bytes)
         VALUES (?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(i64::from(number.0))
    .bind(bytes)
    .execute(connection)
    .await?;
    Ok(())
}

async fn supersede(connection: &mut SqliteConnection, number: ModuleNumber, at: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE modules SET superseded_at_ms = ? WHERE module = ?")
        .bind(stored(at.0))
        .bind(i64::from(number.0))
        .execute(connection)
        .await?;
    Ok(())
}

async fn put_name(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    name: &str,
    number: ModuleNumber,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO module_names (tenant, name, module)
         VALUES (?, ?, ?)
         ON CONFLICT (tenant, name) DO UPDATE SET module = excluded.module",
    )
    .bind(i64::from(tenant.0))
    .bind(name)
    .bind(i64::from(number.0))
    .execute(connection)
    .await?;
    Ok(())
}

async fn replace_functions(connection: &mut SqliteConnection, put: &PutModule) -> Result<(), Error> {
    delete_functions(connection, put.tenant, &put.name).await?;
    for function in &put.description.functions {
        sqlx::query(
            "INSERT INTO functions (tenant, kind, function, module_name)
             VALUES (?, ?, ?, ?)",
        )
        .bind(i64::from(put.tenant.0))
        .bind(i64::from(put.description.kind as u8))
        .bind(function.name.as_str())
        .bind(put.name.as_str())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn delete_functions(connection: &mut SqliteConnection, tenant: TenantId, name: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM functions WHERE tenant = ? AND module_name = ?")
        .bind(i64::from(tenant.0))
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}

/// The next version, of any tenant, whose bytes are stored and that no new call can use any more.
pub(super) async fn next_old_version(
    pool: &SqlitePool,
    after: Option<ModuleNumber>,
    now: Timestamp,
) -> Result<Option<OldVersion>, Error> {
    let row = sqlx::query(
        "SELECT m.module, m.tenant, m.superseded_at_ms, m.digest
         FROM module_bytes AS b CROSS JOIN modules AS m ON m.module = b.module
         WHERE b.module > ? AND m.superseded_at_ms + ? < ?
         ORDER BY b.module
         LIMIT 1",
    )
    .bind(after.map_or(-1, |number| i64::from(number.0)))
    .bind(stored(BYTES_GRACE_MS))
    .bind(stored(now.0))
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(OldVersion {
            number: ModuleNumber(row.small_number(0)?),
            tenant: TenantId(row.small_number(1)?),
            superseded_at: Timestamp(row.number(2)?),
            digest: digest(row.bytes(3)?)?,
        })
    })
    .transpose()
}

/// Instances after a number that may need the bytes of an old version, because they have not ended or may be rewound:
/// those that run on it, and those that are old enough to have called it and have failed, may have received the failure
/// of a call, or have activity calls or sub-orchestrations. Examines a bounded number of instances.
///
/// An instance that does not need them now never will, because no new call can use the version unless the same bytes
/// are uploaded again.
pub(super) async fn possible_users(
    pool: &SqlitePool,
    version: &OldVersion,
    after: Option<InstanceNumber>,
) -> Result<PossibleUsers, Error> {
    let after = after.map_or(-1, |number| stored(number.0));
    let last = purges::last_examined(pool, version.tenant, after).await?;
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT i.instance, i.module = ?1
             FROM instances AS i INDEXED BY instances_by_tenant
             WHERE i.partition = 0 AND i.tenant = ?2 AND i.instance > ?3 AND i.instance <= ?4
                AND (i.status < {FIRST_ENDED} OR i.status = {FAILED})
                -- An entity runs on the current version.
                AND substr(i.id, 1, 1) <> '@'
                AND (i.module = ?1
                     OR (i.created_at_ms <= ?5
                         AND (i.in_flight > 0 OR i.status = {FAILED} OR i.last_turn > 1
                              OR EXISTS (SELECT 1
                                         FROM instances AS c INDEXED BY instances_by_parent
                                         WHERE c.partition = 0 AND c.parent = i.instance))))
             ORDER BY i.instance
             LIMIT ?6"
    )))
    .bind(i64::from(version.number.0))
    .bind(i64::from(version.tenant.0))
    .bind(after)
    .bind(last.map_or(i64::MAX, |number| stored(number.0)))
    .bind(stored(version.superseded_at.0.saturating_add(BYTES_GRACE_MS)))
    .bind(i64::from(MAX_USERS))
    .fetch_all(pool)
    .await?;
    let instances = rows
        .iter()
        .map(|row| {
            Ok(PossibleUser {
                instance: InstanceNumber(row.number(0)?),
                runs_on_it: row.number(1)? == 1,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let is_full = instances.len() >= MAX_USERS as usize;
    let next = instances.last().map(|user| user.instance).filter(|_| is_full).or(last);
    Ok(PossibleUsers { instances, next })
}

/// Deletes the bytes and the description of an old version, unless they were uploaded again in the meantime; returns
/// whether it did.
pub(super) async fn delete_bytes(
    connection: &mut SqliteConnection,
    version: &OldVersion,
) -> Result<Counted<bool>, Error> {
    let before = counted(&mut *connection, version.tenant, version.digest).await?;
    let done = sqlx::query(
        "DELETE FROM module_bytes
         WHERE module = ?1
            AND EXISTS (SELECT 1 FROM modules AS m WHERE m.module = ?1 AND m.superseded_at_ms = ?2)",
    )
    .bind(i64::from(version.number.0))
    .bind(stored(version.superseded_at.0))
    .execute(&mut *connection)
    .await?;
    let outcome = done.rows_affected() == 1;
    if outcome {
        forget_description(connection, version.number).await?;
    }
    let after = if outcome { 0 } else { before };
    Ok(Counted { outcome, before, after })
}

async fn forget_description(connection: &mut SqliteConnection, number: ModuleNumber) -> Result<(), sqlx::Error> {
    let empty = |kind| codec::encode(&without_functions(kind));
    sqlx::query(
        "UPDATE modules
         SET description = CASE kind WHEN ? THEN ? WHEN ? THEN ? ELSE ? END, events = NULL, entities = NULL, compiled_bytes = 0
         WHERE module = ?",
    )
    .bind(i64::from(FunctionKind::Activity as u8))
    .bind(empty(FunctionKind::Activity))
    .bind(i64::from(FunctionKind::Entity as u8))
    .bind(empty(FunctionKind::Entity))
    .bind(empty(FunctionKind::Orchestration))
    .bind(i64::from(number.0))
    .execute(connection)
    .await?;
    Ok(())
}

/// The digests of versions whose bytes are kept, of all tenants, by number.
pub(super) async fn kept_digests(
    pool: &SqlitePool,
    after: Option<ModuleNumber>,
    limit: u32,
) -> Result<Vec<(ModuleNumber, ModuleDigest)>, Error> {
    let rows = sqlx::query(
        "SELECT m.module, m.digest
         FROM module_bytes AS b CROSS JOIN modules AS m ON m.module = b.module
         WHERE b.module > ?
         ORDER BY b.module
         LIMIT ?",
    )
    .bind(after.map_or(-1, |number| i64::from(number.0)))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| Ok((ModuleNumber(row.small_number(0)?), digest(row.bytes(1)?)?)))
        .collect()
}

const VERSION: &str =
    "m.module, m.tenant, m.name, m.digest, m.description, m.size, m.uploaded_at_ms, m.superseded_at_ms,
    m.uploaded_by, m.events, m.entities";

/// Whether any version of a tenant's modules, current or not, declares events.
pub(super) async fn declare_events(pool: &SqlitePool, tenant: TenantId) -> Result<bool, Error> {
    let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM modules WHERE tenant = ? AND events IS NOT NULL)")
        .bind(i64::from(tenant.0))
        .fetch_one(pool)
        .await?;
    Ok(row.number(0)? != 0)
}

/// A version of any tenant by its number.
pub(super) async fn by_number(pool: &SqlitePool, number: ModuleNumber) -> Result<Option<ModuleVersion>, Error> {
    let text = format!(
        "SELECT {VERSION}
         FROM modules AS m
         WHERE m.module = ?"
    );
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(i64::from(number.0))
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(version).transpose()
}

/// The bytes of a version, unless they were deleted because nothing needed them any more.
pub(super) async fn bytes(pool: &SqlitePool, number: ModuleNumber) -> Result<Option<Vec<u8>>, Error> {
    let row = sqlx::query("SELECT bytes FROM module_bytes WHERE module = ?")
        .bind(i64::from(number.0))
        .fetch_optional(pool)
        .await?;
    row.map(|row| row.bytes(0).map(<[u8]>::to_vec)).transpose()
}

/// The current versions of a tenant's modules whose names follow `after`, by name.
pub(super) async fn current(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    after: Option<&str>,
    limit: u32,
) -> Result<ModulePage, Error> {
    let text = format!(
        "SELECT {VERSION}, n.name
         FROM module_names AS n CROSS JOIN modules AS m ON m.module = n.module
         WHERE n.tenant = ? AND n.name > ?
         ORDER BY n.name
         LIMIT ?"
    );
    let mut rows = sqlx::query(AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(after.unwrap_or_default())
        // One more shows whether there is a next page.
        .bind(i64::from(limit) + 1)
        .fetch(executor);
    let (mut modules, mut page, mut last) = (Vec::new(), Page::for_answer(), None);
    while let Some(row) = rows.try_next().await? {
        if modules.len() == limit as usize || page.is_full() {
            return Ok(ModulePage { modules, next: last });
        }
        page.read(
            Page::ROW_BYTES
                + row.bytes(4)?.len()
                + row.optional_bytes(9)?.map_or(0, <[u8]>::len)
                + row.optional_bytes(10)?.map_or(0, <[u8]>::len),
        );
        modules.push(version(&row)?);
        last = Some(row.text(11)?.to_owned());
    }
    Ok(ModulePage { modules, next: None })
}

/// The current version of one of a tenant's modules.
pub(super) async fn by_name(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    name: &str,
) -> Result<Option<ModuleVersion>, Error> {
    let text = format!(
        "SELECT {VERSION}
         FROM module_names AS n JOIN modules AS m ON m.module = n.module
         WHERE n.tenant = ? AND n.name = ?"
    );
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(name)
        .fetch_optional(executor)
        .await?;
    row.as_ref().map(version).transpose()
}

fn version(row: &SqliteRow) -> Result<ModuleVersion, Error> {
    let number = ModuleNumber(row.small_number(0)?);
    let mut description: ModuleDescription =
        decode(row.bytes(4)?, || format!("the description of module version {number}"))?;
    if let Some(events) = row.optional_bytes(9)? {
        description.events = decode(events, || format!("the events of module version {number}"))?;
    }
    if let Some(entities) = row.optional_bytes(10)? {
        description.entities = decode(entities, || format!("the entities of module version {number}"))?;
    }
    Ok(ModuleVersion {
        number,
        tenant: TenantId(row.small_number(1)?),
        name: row.text(2)?.to_owned(),
        digest: digest(row.bytes(3)?)?,
        description,
        size: row.number(5)?,
        uploaded_at: Timestamp(row.number(6)?),
        superseded_at: row.optional_number(7)?.map(Timestamp),
        uploaded_by: row.optional_text(8)?.map(str::to_owned),
    })
}

/// Decodes a stored digest.
pub(super) fn digest(bytes: &[u8]) -> Result<ModuleDigest, Error> {
    let bytes = bytes
        .try_into()
        .map_err(|_| Error::Damaged("the digest of a module is not 32 bytes long".into()))?;
    Ok(ModuleDigest(bytes))
}
