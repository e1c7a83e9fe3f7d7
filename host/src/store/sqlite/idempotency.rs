//! The table `idempotency_keys`.

use sqlx::sqlite::SqliteConnection;

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{TenantId, Timestamp},
    store::{
        Error,
        decode::parse,
        idempotency::{KEY_BYTES, NewKey, StoredKey, WantedKey},
    },
};

impl BindRow for WantedKey<'_> {
    fn bind(&self, values: &mut Values) {
        values.number(self.tenant.0).text(self.key);
    }
}

impl BindRow for NewKey<'_> {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.tenant.0)
            .text(&self.key.key)
            .bytes(&self.key.fingerprint)
            .text(self.instance_id.as_str())
            .number(self.key.expires_at.0);
    }
}

pub(super) static FIND: RowStatement = RowStatement::new(
    "WITH v(tenant, key) AS (VALUES ",
    2,
    ")
     SELECT k.tenant, k.key, k.fingerprint, k.instance_id, k.expires_at_ms
     FROM v CROSS JOIN idempotency_keys AS k
     WHERE k.partition = 0 AND k.tenant = v.tenant AND k.key = v.key",
);

/// Stores keys, and replaces expired ones of the same text.
pub(super) static PUT: RowStatement = RowStatement::new(
    "WITH v(tenant, key, fingerprint, instance_id, expires_at_ms) AS (VALUES ",
    5,
    ")
     INSERT OR REPLACE INTO idempotency_keys (partition, tenant, key, fingerprint, instance_id, expires_at_ms)
     SELECT 0, v.tenant, v.key, v.fingerprint, v.instance_id, v.expires_at_ms
     FROM v
     WHERE v.tenant IS NOT NULL",
);

/// The wanted keys that are stored, expired or not.
pub(super) async fn find(connection: &mut SqliteConnection, wanted: &[WantedKey<'_>]) -> Result<Vec<StoredKey>, Error> {
    let rows = FIND.fetch(connection, wanted).await?;
    rows.iter()
        .map(|row| {
            Ok(StoredKey {
                tenant: TenantId(row.small_number(0)?),
                key: row.text(1)?.to_owned(),
                fingerprint: row.bytes(2)?.to_owned(),
                instance_id: parse(row.text(3)?, "the instance id of an idempotency key")?,
                expires_at: Timestamp(row.number(4)?),
            })
        })
        .collect()
}

/// Deletes at most `limit` expired keys. Returns the size of each, with its tenant.
pub(super) async fn delete_expired(
    connection: &mut SqliteConnection,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<(TenantId, u64)>, Error> {
    let rows = sqlx::query(
        "DELETE FROM idempotency_keys
         WHERE (partition, tenant, key) IN (
            SELECT partition, tenant, key
            FROM idempotency_keys
            WHERE expires_at_ms < ?
            ORDER BY expires_at_ms
            LIMIT ?)
         RETURNING tenant, octet_length(key) + octet_length(instance_id)",
    )
    .bind(stored(now.0))
    .bind(stored(limit))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((TenantId(row.small_number(0)?), row.number(1)? + KEY_BYTES)))
        .collect()
}
