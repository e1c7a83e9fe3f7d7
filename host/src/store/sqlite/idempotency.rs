//! The table `idempotency_keys`.

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{Outcome, TenantId, Timestamp},
    store::{
        Error, IdempotencyKey,
        decode::{decode, parse},
        garbage::Room,
        idempotency::{KEY_BYTES, NewAnswer, NewKey, StoredKey, UsedKey, WantedKey},
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

impl BindRow for NewAnswer<'_> {
    fn bind(&self, values: &mut Values) {
        values.number(self.tenant.0).text(self.key).bytes(self.answer);
    }
}

pub(super) static FIND: RowStatement = RowStatement::new(
    "WITH v(tenant, key) AS (VALUES ",
    2,
    ")
     SELECT k.tenant, k.key, k.fingerprint, k.instance_id, k.expires_at_ms, coalesce(length(k.answer), 0)
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

/// Stores answers with their keys.
pub(super) static ANSWER: RowStatement = RowStatement::new(
    "WITH v(tenant, key, answer) AS (VALUES ",
    3,
    ")
     UPDATE idempotency_keys
     SET answer = v.answer
     FROM v
     WHERE idempotency_keys.partition = 0 AND idempotency_keys.tenant = v.tenant AND idempotency_keys.key = v.key",
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
                answer_bytes: row.number(5)?,
            })
        })
        .collect()
}

/// The answer that is stored with a key.
pub(super) async fn answer(
    pool: &SqlitePool,
    tenant: TenantId,
    key: &IdempotencyKey,
) -> Result<Option<Outcome>, Error> {
    let row = sqlx::query(
        "SELECT answer
         FROM idempotency_keys
         WHERE partition = 0 AND tenant = ? AND key = ? AND fingerprint = ?",
    )
    .bind(i64::from(tenant.0))
    .bind(&key.key)
    .bind(key.fingerprint.as_slice())
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let answer = row.optional_bytes(0)?;
    let what = || "the answer of an idempotency key".to_owned();
    answer.map(|answer| decode(answer, what)).transpose()
}

/// For what a key that has not expired was used before.
pub(super) async fn use_of(
    pool: &SqlitePool,
    tenant: TenantId,
    key: &IdempotencyKey,
    now: Timestamp,
) -> Result<Option<UsedKey>, Error> {
    let row = sqlx::query(
        "SELECT fingerprint, instance_id
         FROM idempotency_keys
         WHERE partition = 0 AND tenant = ? AND key = ? AND expires_at_ms >= ?",
    )
    .bind(i64::from(tenant.0))
    .bind(&key.key)
    .bind(stored(now.0))
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(match key.is_of(row.bytes(0)?) {
        true => UsedKey::Repeated(parse(row.text(1)?, "the instance of an idempotency key")?),
        false => UsedKey::Reused,
    }))
}

/// Deletes expired keys as far as there is room, at least one. Returns the size of each, with its tenant.
pub(super) async fn delete_expired(
    connection: &mut SqliteConnection,
    now: Timestamp,
    room: &Room,
) -> Result<Vec<(TenantId, u64)>, Error> {
    let rows = sqlx::query(
        "DELETE FROM idempotency_keys
         WHERE rowid IN (
            SELECT e.row
            FROM (SELECT k.row,
                         sum(coalesce(length(k.answer), 0)) OVER (
                            ORDER BY k.expires_at_ms, k.row
                            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
                  FROM (SELECT rowid AS row, expires_at_ms, answer
                        FROM idempotency_keys
                        WHERE expires_at_ms < ?
                        ORDER BY expires_at_ms
                        LIMIT ?) AS k) AS e
            WHERE coalesce(e.bytes_before, 0) < ?)
         RETURNING tenant, octet_length(key) + octet_length(instance_id) + coalesce(length(answer), 0)",
    )
    .bind(stored(now.0))
    .bind(stored(room.rows()))
    .bind(stored(room.bytes()))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((TenantId(row.small_number(0)?), row.number(1)? + KEY_BYTES)))
        .collect()
}
