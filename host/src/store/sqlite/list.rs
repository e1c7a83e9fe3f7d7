//! Lists of a tenant's instances, page by page.

use futures::TryStreamExt as _;
use sqlx::{QueryBuilder, Sqlite, sqlite::SqliteConnection};

use super::{
    columns::{Columns, stored},
    instances::status_mask,
    summaries::{OTHER_TABLES, columns, summary},
};
use crate::{
    model::{InstanceNumber, Tag, TenantId},
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

/// The rows that a list walks through, newest first.
enum Walk<'a> {
    /// The instances of the tenant.
    All,
    /// The children of an instance.
    Children(InstanceNumber),
    /// The tenant's instances with a tag, by the index of tags. May include some that were purged and are not swept.
    Tagged(&'a Tag),
}

impl<'a> Walk<'a> {
    fn of(filter: &'a ListFilter) -> Self {
        match (filter.parent, filter.tags.first()) {
            (Some(parent), _) => Self::Children(parent),
            (None, Some(tag)) => Self::Tagged(tag),
            (None, None) => Self::All,
        }
    }

    /// The number of the instance in a row.
    fn number(&self) -> &'static str {
        match self {
            Self::All | Self::Children(_) => "i.instance",
            Self::Tagged(_) => "t.instance",
        }
    }

    /// The table, with the index that gives the order of the list. SQLite's own choice would scan the instances of all
    /// tenants.
    fn table(&self) -> &'static str {
        match self {
            Self::All => "instances AS i INDEXED BY instances_by_tenant",
            Self::Children(_) => "instances AS i INDEXED BY instances_by_parent",
            Self::Tagged(_) => "tags AS t INDEXED BY tags_by_value",
        }
    }

    /// Appends the condition for the rows.
    fn push_condition(&self, query: &mut QueryBuilder<Sqlite>, tenant: TenantId) {
        let tenant = i64::from(tenant.0);
        match self {
            Self::All => {
                query.push(" i.partition = 0 AND i.tenant = ").push_bind(tenant);
            }
            Self::Children(parent) => {
                query
                    .push(" i.partition = 0 AND i.parent = ")
                    .push_bind(stored(parent.0));
            }
            Self::Tagged(tag) => {
                query.push(" t.partition = 0 AND t.tenant = ").push_bind(tenant);
                query.push(" AND t.key = ").push_bind(tag.key().to_owned());
                query.push(" AND t.value = ").push_bind(tag.value().to_owned());
            }
        }
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
    let walk = Walk::of(filter);
    let number = walk.number();
    let mut query = QueryBuilder::new(format!(
        "SELECT {number}
         FROM {}
         WHERE",
        walk.table()
    ));
    walk.push_condition(&mut query, tenant);
    if let Some(cursor) = from {
        query
            .push(format!(" AND {number} < "))
            .push_bind(stored(cursor.number().0));
    }
    query
        .push(format!(" ORDER BY {number} DESC LIMIT 1 OFFSET "))
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
    let walk = Walk::of(filter);
    let number = walk.number();
    let instances = match walk {
        Walk::All | Walk::Children(_) => "",
        Walk::Tagged(_) => "CROSS JOIN instances AS i ON i.partition = 0 AND i.instance = t.instance",
    };
    let mut query = QueryBuilder::new(format!(
        "SELECT {}
         FROM {} {instances} {OTHER_TABLES}
         WHERE",
        columns(),
        walk.table()
    ));
    walk.push_condition(&mut query, tenant);
    if let Walk::Children(_) = walk {
        query.push(" AND i.tenant = ").push_bind(i64::from(tenant.0));
    }
    query.push(" AND substr(i.id, 1, 1) <> '@'");
    if let Some(cursor) = from {
        query
            .push(format!(" AND {number} < "))
            .push_bind(stored(cursor.number().0));
    }
    if let Some(floor) = floor {
        query.push(format!(" AND {number} > ")).push_bind(stored(floor.0));
    }
    for tag in &filter.tags {
        query
            .push(" AND EXISTS (SELECT 1 FROM tags AS o WHERE o.partition = 0 AND o.instance = i.instance AND o.key = ")
            .push_bind(tag.key().to_owned());
        query
            .push(" AND o.value = ")
            .push_bind(tag.value().to_owned())
            .push(")");
    }
    if let Some(parent) = &filter.orphans_of {
        query
            .push(" AND i.parent_link IS NOT NULL AND instr(i.parent_link, ")
            .push_bind(parent.as_str().as_bytes().to_vec());
        query.push(
            ") > 0 AND (i.parent IS NULL
                        OR NOT EXISTS (SELECT 1 FROM instances AS p WHERE p.partition = 0 AND p.instance = i.parent))",
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
    if let Some(from) = filter.updated_from {
        query.push(" AND i.updated_at_ms >= ").push_bind(stored(from.0));
    }
    if let Some(to) = filter.updated_to {
        query.push(" AND i.updated_at_ms < ").push_bind(stored(to.0));
    }
    query.push(format!(" ORDER BY {number} DESC LIMIT ")).push_bind(limit);
    query
}
