//! Finds the instances that a purge deletes.

use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, SqliteExecutor, sqlite::SqliteConnection};

use super::{
    columns::{Columns, stored},
    instances::{self, FIRST_ENDED},
};
use crate::{
    model::{InstanceNumber, TenantId},
    store::{
        Error,
        decode::parse,
        list::MAX_EXAMINED,
        purges::{MAX_NAMED, Tree},
    },
};

/// The last of the next [`MAX_EXAMINED`] instances; none if fewer are left.
pub(super) async fn last_examined(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    after: i64,
) -> Result<Option<InstanceNumber>, Error> {
    let row = sqlx::query(
        "SELECT instance
         FROM instances INDEXED BY instances_by_tenant
         WHERE partition = 0 AND tenant = ? AND instance > ?
         ORDER BY instance
         LIMIT 1 OFFSET ?",
    )
    .bind(i64::from(tenant.0))
    .bind(after)
    .bind(i64::from(MAX_EXAMINED - 1))
    .fetch_optional(executor)
    .await?;
    row.map(|row| row.number(0).map(InstanceNumber)).transpose()
}

/// An instance and its descendants.
pub(super) async fn tree(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    root: InstanceNumber,
) -> Result<Tree, Error> {
    let mut rows = sqlx::query(AssertSqlSafe(format!(
        "WITH RECURSIVE tree(instance, depth) AS (
                SELECT ?1, 0
                UNION ALL
                SELECT c.instance, t.depth + 1
                FROM tree AS t CROSS JOIN instances AS c INDEXED BY instances_by_parent
                WHERE c.partition = 0 AND c.parent = t.instance)
             SELECT i.instance, i.status, iif(i.status < {FIRST_ENDED}, i.id, NULL), t.depth
             FROM tree AS t CROSS JOIN instances AS i
             WHERE i.partition = 0 AND i.instance = t.instance AND i.tenant = ?2"
    )))
    .bind(stored(root.0))
    .bind(i64::from(tenant.0))
    .fetch(connection);
    let mut tree = Tree {
        status: None,
        ended: Vec::new(),
        live: Vec::new(),
    };
    let mut ended = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let (number, status) = (InstanceNumber(row.number(0)?), instances::status(row.number(1)?)?);
        if number == root {
            tree.status = Some(status);
        }
        match row.optional_text(2)? {
            None => ended.push((row.number(3)?, number)),
            Some(id) if tree.live.len() < MAX_NAMED => tree.live.push(parse(id, "the instance id")?),
            Some(_) => {}
        }
    }
    tree.set_ended(ended);
    Ok(tree)
}
