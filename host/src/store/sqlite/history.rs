//! The table `history`: one row per turn, append-only.

use futures::TryStreamExt as _;
use sqlx::{SqliteExecutor, sqlite::SqliteRow};

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{Arrival, ExecutionNumber, InstanceNumber, Turn, TurnNumber, codec},
    store::{
        Error,
        decode::decode,
        history::{NewTurn, gap, name},
        page::Page,
        tenant::End,
    },
};

impl BindRow for NewTurn<'_> {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.instance.0)
            .number(self.execution.0)
            .number(self.turn.0)
            .bytes(self.body);
    }
}

/// Appends turns.
pub(super) static APPEND: RowStatement = RowStatement::new(
    "WITH v(instance, execution, turn, body) AS (VALUES ",
    4,
    ")
     INSERT INTO history (partition, instance, execution, turn, body)
     SELECT 0, v.instance, v.execution, v.turn, v.body
     FROM v
     WHERE v.instance IS NOT NULL",
);

/// Turns of an execution after a turn, in order and without gaps: at most `limit`, and no more than the page holds.
pub(super) async fn after(
    executor: impl SqliteExecutor<'_>,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    after: TurnNumber,
    limit: u32,
    mut page: Page,
) -> Result<Vec<Turn>, Error> {
    let mut found = sqlx::query(
        "SELECT turn, body
         FROM history
         WHERE partition = 0 AND instance = ? AND execution = ? AND turn > ?
         ORDER BY turn
         LIMIT ?",
    )
    .bind(stored(instance.0))
    .bind(i64::from(execution.0))
    .bind(i64::from(after.0))
    .bind(i64::from(limit))
    .fetch(executor);
    let mut rows = Vec::new();
    while !page.is_full()
        && let Some(row) = found.try_next().await?
    {
        page.read(row.bytes(1)?.len());
        rows.push(row);
    }
    turns(&rows.iter().collect::<Vec<_>>(), instance, execution, after)
}

/// Decodes turns from rows (turn, body), which must follow `after` without gaps.
pub(super) fn turns(
    rows: &[&SqliteRow],
    instance: InstanceNumber,
    execution: ExecutionNumber,
    after: TurnNumber,
) -> Result<Vec<Turn>, Error> {
    let mut expected = after;
    let mut turns = Vec::with_capacity(rows.len());
    for row in rows {
        expected = expected.next();
        let number = TurnNumber(row.small_number(0)?);
        let name = || name(instance, execution, number);
        if number != expected {
            return Err(gap(&name(), expected));
        }
        let turn: Turn = decode(row.bytes(1)?, name)?;
        if turn.number != number {
            return Err(Error::Damaged(format!(
                "{}: it says that it is turn {}",
                name(),
                turn.number
            )));
        }
        turns.push(turn);
    }
    Ok(turns)
}

/// How an instance ended, from its last turn. Nothing if the turn does not exist.
pub(super) async fn end(
    executor: impl SqliteExecutor<'_>,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    last: TurnNumber,
) -> Result<End, Error> {
    let row = sqlx::query(
        "SELECT body
         FROM history
         WHERE partition = 0 AND instance = ? AND execution = ? AND turn = ?",
    )
    .bind(stored(instance.0))
    .bind(i64::from(execution.0))
    .bind(i64::from(last.0))
    .fetch_optional(executor)
    .await?;
    let Some(row) = row else {
        return Ok(End::default());
    };
    let end = End::of(row.bytes(0)?);
    end.map_err(|error| Error::Damaged(format!("{}: {error}", name(instance, execution, last))))
}

/// The size of the larger of the first turn and this one, in bytes.
pub(super) async fn larger_end(
    executor: impl SqliteExecutor<'_>,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    last: TurnNumber,
) -> Result<u64, Error> {
    let row = sqlx::query(
        "SELECT coalesce(max(length(body)), 0)
         FROM history
         WHERE partition = 0 AND instance = ? AND execution = ? AND turn IN (1, ?)",
    )
    .bind(stored(instance.0))
    .bind(i64::from(execution.0))
    .bind(i64::from(last.0))
    .fetch_one(executor)
    .await?;
    row.number(0)
}

/// The size of all turns of an execution and of the largest one, in bytes. Does not read the turns themselves.
pub(super) async fn sizes(
    executor: impl SqliteExecutor<'_>,
    instance: InstanceNumber,
    execution: ExecutionNumber,
) -> Result<(u64, u64), Error> {
    let row = sqlx::query(
        "SELECT coalesce(sum(length(body)), 0), coalesce(max(length(body)), 0)
         FROM history
         WHERE partition = 0 AND instance = ? AND execution = ?",
    )
    .bind(stored(instance.0))
    .bind(i64::from(execution.0))
    .fetch_one(executor)
    .await?;
    Ok((row.number(0)?, row.number(1)?))
}

/// The first arrival of the first turn, if that turn exists. The rest of the turn, which may be large, is not decoded.
pub(super) async fn first_arrival(
    executor: impl SqliteExecutor<'_>,
    instance: InstanceNumber,
    execution: ExecutionNumber,
) -> Result<Option<Arrival>, Error> {
    let row = sqlx::query(
        "SELECT body
         FROM history
         WHERE partition = 0 AND instance = ? AND execution = ? AND turn = 1",
    )
    .bind(stored(instance.0))
    .bind(i64::from(execution.0))
    .fetch_optional(executor)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let arrival = codec::first_arrival(row.bytes(0)?);
    arrival.map_err(|error| Error::Damaged(format!("{}: {error}", name(instance, execution, TurnNumber(1)))))
}
