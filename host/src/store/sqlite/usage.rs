//! The table `usage`: the usage of tenants, summed per day and function.

use sqlx::SqliteExecutor;

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{FunctionKind, TenantId},
    store::{Amount, Days, Error, FunctionUsage, decode::parse, usage::UsageRow},
};

impl BindRow for UsageRow<'_> {
    fn bind(&self, values: &mut Values) {
        let amount = self.amount;
        values
            .number(self.tenant.0)
            .number(self.day)
            .number(self.kind as u8)
            .text(self.function.as_str())
            .number(amount.count)
            .number(amount.failed)
            .number(amount.fuel)
            .number(amount.wall_ms)
            .number(amount.bytes_in)
            .number(amount.bytes_out)
            .number(amount.http_sent)
            .number(amount.http_received);
    }
}

/// Adds to the stored sums.
pub(super) static ADD: RowStatement = RowStatement::new(
    "WITH v(tenant, day, kind, function, count, failed, fuel, wall_ms, bytes_in, bytes_out, http_sent, http_received) AS
     (VALUES ",
    12,
    ")
     INSERT INTO usage
        (tenant, day, kind, function, count, failed, fuel, wall_ms, bytes_in, bytes_out, http_sent, http_received)
     SELECT
        v.tenant, v.day, v.kind, v.function, v.count, v.failed, v.fuel, v.wall_ms, v.bytes_in, v.bytes_out, v.http_sent,
        v.http_received
     FROM v
     WHERE v.tenant IS NOT NULL
     ON CONFLICT (tenant, day, kind, function) DO UPDATE
     SET count = usage.count + excluded.count,
         failed = usage.failed + excluded.failed,
         fuel = usage.fuel + excluded.fuel,
         wall_ms = usage.wall_ms + excluded.wall_ms,
         bytes_in = usage.bytes_in + excluded.bytes_in,
         bytes_out = usage.bytes_out + excluded.bytes_out,
         http_sent = usage.http_sent + excluded.http_sent,
         http_received = usage.http_received + excluded.http_received",
);

/// The usage of a tenant's functions over some days, by kind and name.
pub(super) async fn of(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    days: Days,
) -> Result<Vec<FunctionUsage>, Error> {
    let rows = sqlx::query(
        "SELECT kind, function, sum(count), sum(failed), sum(fuel), sum(wall_ms), sum(bytes_in), sum(bytes_out),
            sum(http_sent), sum(http_received)
         FROM usage
         WHERE tenant = ? AND day BETWEEN ? AND ?
         GROUP BY kind, function
         ORDER BY kind, function",
    )
    .bind(i64::from(tenant.0))
    .bind(stored(days.first))
    .bind(stored(days.last))
    .fetch_all(executor)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(FunctionUsage {
                kind: if row.number(0)? == 0 {
                    FunctionKind::Orchestration
                } else {
                    FunctionKind::Activity
                },
                function: parse(row.text(1)?, "a function name")?,
                amount: Amount {
                    count: row.number(2)?,
                    failed: row.number(3)?,
                    fuel: row.number(4)?,
                    wall_ms: row.number(5)?,
                    bytes_in: row.number(6)?,
                    bytes_out: row.number(7)?,
                    http_sent: row.number(8)?,
                    http_received: row.number(9)?,
                },
            })
        })
        .collect()
}
