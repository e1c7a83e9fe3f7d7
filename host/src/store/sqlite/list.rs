//! Lists of a tenant's instances, page by page.

use futures::TryStreamExt as _;
use sqlx::{QueryBuilder, Sqlite, sqlite::SqliteConnection};

use super::{
    columns::{Columns, stored},
    instances::status_mask,
    summaries::{COLUMNS, OTHER_TABLES, summary},
};
use crate::{
    model::{InstanceNumber, TenantId},
    store::{
        Cursor, Error,
        list::{InstancePage, ListFilter, MAX_EXAMINED},
        page::Page,
    },
};

/// A page of a list, from a cursor on.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    filter: &ListFilter,
    from: Option<&Cursor>,
    limit: u32,
) -> Result<InstancePage, Error> {
    let floor = if filter.is_selective() {
        floor(connection, tenant, filter, from).await?
    } else {
        None
    };
    // One more row shows whether there is a next page.
    let mut query = query(tenant, filter, from, floor, i64::from(limit) + 1);
    let mut rows = query.build().fetch(connection);
    let (mut instances, mut size, mut more) = (Vec::new(), Page::for_answer(), false);
    while let Some(row) = rows.try_next().await? {
        more = instances.len() == limit as usize || size.is_full();
        if more {
            break;
        }
        let instance = summary(&row)?;
        size.read(instance.bytes());
        instances.push(instance);
    }
    let next = match instances.last() {
        Some(last) if more => Some(Cursor::below(last.number)),
        _ => floor.map(Cursor::at),
    };
    if let Some(parent) = &filter.orphans_of {
        // The query matches the id anywhere in the encoded link.
        instances.retain(|instance| instance.parent_id.as_ref() == Some(parent));
    }
    Ok(InstancePage { instances, next })
}

/// The index that gives the order of the list. SQLite's own choice would scan the instances of all tenants.
fn index(filter: &ListFilter) -> &'static str {
    if filter.parent.is_some() {
        "instances_by_parent"
    } else {
        "instances_by_tenant"
    }
}

/// The first instance that is too far away to be examined for this page.
async fn floor(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    filter: &ListFilter,
    from: Option<&Cursor>,
) -> Result<Option<InstanceNumber>, Error> {
    let mut query = floor_query(tenant, filter, from);
    let row = query.build().fetch_optional(connection).await?;
    row.map(|row| row.number(0).map(InstanceNumber)).transpose()
}

pub(super) fn floor_query(tenant: TenantId, filter: &ListFilter, from: Option<&Cursor>) -> QueryBuilder<Sqlite> {
    let index = index(filter);
    let mut query = QueryBuilder::new(format!(
        "SELECT i.instance
         FROM instances AS i INDEXED BY {index}
         WHERE i.partition = 0"
    ));
    match filter.parent {
        Some(parent) => query.push(" AND i.parent = ").push_bind(stored(parent.0)),
        None => query.push(" AND i.tenant = ").push_bind(i64::from(tenant.0)),
    };
    if let Some(cursor) = from {
        query.push(" AND i.instance < ").push_bind(stored(cursor.number().0));
    }
    query
        .push(" ORDER BY i.instance DESC LIMIT 1 OFFSET ")
        .push_bind(i64::from(MAX_EXAMINED));
    query
}

/// The query for matching instances, from a cursor on and above a floor.
pub(super) fn query(
    tenant: TenantId,
    filter: &ListFilter,
    from: Option<&Cursor>,
    floor: Option<InstanceNumber>,
    limit: i64,
) -> QueryBuilder<Sqlite> {
    let index = index(filter);
    let mut query = QueryBuilder::new(format!(
        "SELECT {COLUMNS}
         FROM instances AS i INDEXED BY {index} {OTHER_TABLES}
         WHERE i.partition = 0"
    ));
    query.push(" AND i.tenant = ").push_bind(i64::from(tenant.0));
    if let Some(cursor) = from {
        query.push(" AND i.instance < ").push_bind(stored(cursor.number().0));
    }
    if let Some(floor) = floor {
        query.push(" AND i.instance > ").push_bind(stored(floor.0));
    }
    if let Some(parent) = filter.parent {
        query.push(" AND i.parent = ").push_bind(stored(parent.0));
    }
    if let Some(parent) = &filter.orphans_of {
        query
            .push(" AND i.parent IS NOT NULL AND instr(i.parent_link, ")
            .push_bind(parent.as_str().as_bytes().to_vec());
        query.push(
            ") > 0 AND NOT EXISTS (SELECT 1 FROM instances AS p WHERE p.partition = 0 AND p.instance = i.parent)",
        );
    }
    if !filter.statuses.is_empty() {
        query
            .push(" AND (1 << i.status) & ")
            .push_bind(status_mask(&filter.statuses));
    }
    if let Some(function) = &filter.function {
        query.push(" AND f.name = ").push_bind(function.as_str().to_owned());
    }
    if let Some(prefix) = &filter.id_prefix {
        query
            .push(" AND substr(i.id, 1, ")
            .push_bind(stored(prefix.chars().count() as u64));
        query.push(") = ").push_bind(prefix.clone());
    }
    if let Some(from) = filter.created_from {
        query.push(" AND i.created_at_ms >= ").push_bind(stored(from.0));
    }
    if let Some(to) = filter.created_to {
        query.push(" AND i.created_at_ms < ").push_bind(stored(to.0));
    }
    query.push(" ORDER BY i.instance DESC LIMIT ").push_bind(limit);
    query
}
