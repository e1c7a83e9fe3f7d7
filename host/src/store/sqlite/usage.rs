//! The table `usage`: the usage of tenants, summed per day and function.

use sqlx::{
    AssertSqlSafe,
    sqlite::{SqliteConnection, SqliteRow},
};

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{FunctionKind, TenantId},
    store::{Amount, Days, Error, FunctionUsage, UsageCursor, UsagePage, decode::parse, usage::UsageRow},
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

/// The columns of an [`Amount`], summed.
const SUMS: &str = "
    sum(count), sum(failed), sum(fuel), sum(wall_ms), sum(bytes_in), sum(bytes_out), sum(http_sent), sum(http_received)";

/// The usage of a tenant's functions over some days, by kind and name, after a cursor.
pub(super) async fn of(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    days: Days,
    after: Option<&UsageCursor>,
    limit: u32,
) -> Result<UsagePage, Error> {
    let total = format!(
        "SELECT {SUMS}
         FROM usage
         WHERE tenant = ? AND day BETWEEN ? AND ?
         HAVING count(*) > 0"
    );
    let total = sqlx::query(AssertSqlSafe(total))
        .bind(i64::from(tenant.0))
        .bind(stored(days.first))
        .bind(stored(days.last))
        .fetch_optional(&mut *connection)
        .await?;
    let total = total.map_or_else(|| Ok(Amount::default()), |row| amount(&row))?;
    let functions = format!(
        "SELECT {SUMS}, kind, function
         FROM usage
         WHERE tenant = ? AND day BETWEEN ? AND ? AND (kind, function) > (?, ?)
         GROUP BY kind, function
         ORDER BY kind, function
         LIMIT ?"
    );
    let rows = sqlx::query(AssertSqlSafe(functions))
        .bind(i64::from(tenant.0))
        .bind(stored(days.first))
        .bind(stored(days.last))
        .bind(after.map_or(-1, |after| after.kind as i64))
        .bind(after.map_or("", |after| after.function.as_str()))
        // One more shows whether there is a next page.
        .bind(i64::from(limit) + 1)
        .fetch_all(connection)
        .await?;
    let functions = rows.iter().map(function).collect::<Result<_, _>>()?;
    Ok(UsagePage::new(total, functions, limit))
}

fn function(row: &SqliteRow) -> Result<FunctionUsage, Error> {
    Ok(FunctionUsage {
        kind: kind(row.number(8)?)?,
        function: parse(row.text(9)?, "a function name")?,
        amount: amount(row)?,
    })
}

fn kind(number: u64) -> Result<FunctionKind, Error> {
    let kind = u8::try_from(number).ok().and_then(FunctionKind::from_number);
    kind.ok_or_else(|| Error::Damaged(format!("a row of usage has the unknown kind {number}")))
}

/// An amount from [`SUMS`].
fn amount(row: &SqliteRow) -> Result<Amount, Error> {
    Ok(Amount {
        count: row.number(0)?,
        failed: row.number(1)?,
        fuel: row.number(2)?,
        wall_ms: row.number(3)?,
        bytes_in: row.number(4)?,
        bytes_out: row.number(5)?,
        http_sent: row.number(6)?,
        http_received: row.number(7)?,
    })
}
