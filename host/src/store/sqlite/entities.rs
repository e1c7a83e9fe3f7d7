//! Entities: rows of the table `instances` whose ids begin with `@`.

use futures::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe,
    sqlite::{SqliteConnection, SqliteRow},
};

use super::{
    columns::Columns,
    instances::{self, FIRST_ENDED},
};
use crate::{
    model::{InstanceId, InstanceNumber, TenantId, Timestamp},
    store::{
        EntityDetails, EntityFilter, EntityPage, Error, decode::parse, entities::MAX_COUNTED, list::MAX_EXAMINED,
        page::Page,
    },
};

fn columns() -> String {
    format!(
        "i.instance, i.id, i.status, i.stuck, i.created_at_ms, i.updated_at_ms, i.entity,
         (SELECT count(*)
          FROM (SELECT 1 FROM inbox AS m WHERE m.partition = 0 AND m.instance = i.instance LIMIT {MAX_COUNTED}))"
    )
}

/// The entity with this id.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<EntityDetails>, Error> {
    let text = format!(
        "SELECT {}
         FROM instances AS i
         WHERE i.partition = 0 AND i.tenant = ? AND i.id = ? AND i.status < {FIRST_ENDED}",
        columns()
    );
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(details).transpose()
}

/// Entities after an id, by id.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    filter: &EntityFilter,
    after: Option<&InstanceId>,
    limit: u32,
) -> Result<EntityPage, Error> {
    let text = format!(
        "SELECT {}
         FROM instances AS i INDEXED BY instances_by_id
         WHERE i.partition = 0 AND i.tenant = ? AND i.id > ? AND i.id >= ? AND i.id < ? AND i.status < {FIRST_ENDED}
         ORDER BY i.id",
        columns()
    );
    let prefix = filter.prefix();
    // The ids that begin with the prefix are below the prefix with its last character, `@`, replaced by the next one.
    let end = format!("{}A", &prefix[..prefix.len() - 1]);
    let mut rows = sqlx::query(AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(after.map_or("", InstanceId::as_str))
        .bind(prefix)
        .bind(end)
        .fetch(connection);
    let (mut entities, mut size, mut examined) = (Vec::new(), Page::for_answer(), 0);
    let mut last = None;
    while let Some(row) = rows.try_next().await? {
        if entities.len() == limit as usize || size.is_full() || examined == MAX_EXAMINED {
            return Ok(EntityPage { entities, next: last });
        }
        examined += 1;
        let entity = details(&row)?;
        last = Some(entity.id.clone());
        if filter.matches(&entity) {
            size.read(entity.bytes());
            entities.push(entity);
        }
    }
    Ok(EntityPage { entities, next: None })
}

fn details(row: &SqliteRow) -> Result<EntityDetails, Error> {
    let number = InstanceNumber(row.number(0)?);
    Ok(EntityDetails {
        number,
        id: parse(row.text(1)?, "the instance id")?,
        status: instances::status(row.number(2)?)?,
        stuck: instances::stuck(row.optional_bytes(3)?, number)?,
        created_at: Timestamp(row.number(4)?),
        updated_at: Timestamp(row.number(5)?),
        entity: instances::entity(row.optional_bytes(6)?, number)?.unwrap_or_default(),
        waiting: row.number(7)?,
    })
}
