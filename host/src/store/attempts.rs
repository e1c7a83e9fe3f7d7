//! The table `attempts`: tries of tasks that did not bring the final outcome. Outside replay.

use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::{
    AttemptRow, Error,
    columns::{Columns, Values, decode, stored},
    statement::{BindRow, RowStatement},
};
use crate::model::{ExecutionNumber, InstanceNumber, TaskId, Timestamp, codec};

/// An attempt to be written.
pub(super) struct NewAttempt<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) attempt: &'a AttemptRow,
    /// The failure as it is stored.
    pub(super) failure: Vec<u8>,
}

impl<'a> NewAttempt<'a> {
    /// An attempt of an instance.
    pub(super) fn new(instance: InstanceNumber, attempt: &'a AttemptRow) -> Self {
        Self {
            instance,
            attempt,
            failure: codec::encode(&attempt.failure),
        }
    }
}

impl BindRow for NewAttempt<'_> {
    fn bind(&self, values: &mut Values) {
        let attempt = self.attempt;
        values
            .number(self.instance.0)
            .number(attempt.execution.0)
            .number(attempt.task.0)
            .number(attempt.ordinal)
            .number(attempt.number)
            .number(attempt.cut_off)
            .bytes(&self.failure)
            .number(attempt.fuel)
            .number(attempt.started_at.0)
            .number(attempt.ended_at.0)
            .optional_number(attempt.next_at.map(|at| at.0));
    }
}

/// Appends attempts.
pub(super) static APPEND: RowStatement = RowStatement::new(
    "WITH v(instance, execution, task, ordinal, number, cut_off, failure, fuel, started_at_ms, ended_at_ms, next_at_ms)
     AS (VALUES ",
    11,
    ")
     INSERT INTO attempts
        (partition, instance, execution, task, ordinal, number, cut_off, failure, fuel, started_at_ms, ended_at_ms,
         next_at_ms)
     SELECT 0, v.instance, v.execution, v.task, v.ordinal, v.number, v.cut_off, v.failure, v.fuel, v.started_at_ms,
            v.ended_at_ms, v.next_at_ms
     FROM v
     WHERE v.instance IS NOT NULL",
);

/// All attempts of an execution, by task and ordinal.
pub(super) async fn of(
    pool: &SqlitePool,
    instance: InstanceNumber,
    execution: ExecutionNumber,
) -> Result<Vec<AttemptRow>, Error> {
    let rows = sqlx::query(
        "SELECT task, ordinal, number, cut_off, failure, fuel, started_at_ms, ended_at_ms, next_at_ms
         FROM attempts
         WHERE partition = 0 AND instance = ? AND execution = ?
         ORDER BY task, ordinal",
    )
    .bind(stored(instance.0))
    .bind(i64::from(execution.0))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| attempt(row, instance, execution)).collect()
}

/// An attempt from its row: task, ordinal, number, cut off, failure, fuel, start, end, next start.
pub(super) fn attempt(
    row: &SqliteRow,
    instance: InstanceNumber,
    execution: ExecutionNumber,
) -> Result<AttemptRow, Error> {
    let (task, ordinal) = (TaskId(row.small_number(0)?), row.small_number(1)?);
    let name = || format!("attempt {ordinal} of task {task} of execution {execution} of instance {instance}");
    Ok(AttemptRow {
        execution,
        task,
        ordinal,
        number: row.small_number(2)?,
        cut_off: row.number(3)? == 1,
        failure: decode(row.bytes(4)?, name)?,
        fuel: row.number(5)?,
        started_at: Timestamp(row.number(6)?),
        ended_at: Timestamp(row.number(7)?),
        next_at: row.optional_number(8)?.map(Timestamp),
    })
}
