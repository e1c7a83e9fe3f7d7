//! The tables `attempts` and `attempts_to_prune`.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{ExecutionNumber, Failure, InstanceNumber, TaskId, Timestamp, codec},
    store::{
        AttemptRow, AttemptsSoFar, Error,
        attempts::{ATTEMPT_BYTES, ATTEMPTS_KEPT, AttemptKey, AttemptsOfTasks, NewAttempt, Prunable, TaskToPrune},
        decode::decode,
        page::Page,
    },
};

/// The maximum number of tasks in one query.
pub(super) const TASKS_PER_QUERY: usize = 1_000;

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

impl BindRow for AttemptKey {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.instance.0)
            .number(self.execution.0)
            .number(self.task.0)
            .number(self.ordinal);
    }
}

/// Reads the sizes of the failures of attempts, in bytes.
pub(super) static MEASURE: RowStatement = RowStatement::new(
    "WITH v(instance, execution, task, ordinal) AS (VALUES ",
    4,
    ")
     SELECT a.instance, a.execution, a.task, a.ordinal, length(a.failure)
     FROM v CROSS JOIN attempts AS a
     WHERE a.partition = 0 AND a.instance = v.instance AND a.execution = v.execution AND a.task = v.task
        AND a.ordinal = v.ordinal",
);

/// Deletes attempts.
pub(super) static DELETE: RowStatement = RowStatement::new(
    "WITH v(instance, execution, task, ordinal) AS (VALUES ",
    4,
    ")
     DELETE FROM attempts
     WHERE partition = 0
        AND (instance, execution, task, ordinal) IN (SELECT instance, execution, task, ordinal FROM v)",
);

impl BindRow for TaskToPrune {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.instance.0)
            .number(self.execution.0)
            .number(self.task.0);
    }
}

/// Deletes the entries in `attempts_to_prune` of tasks that no longer have more rows than are kept.
pub(super) static FORGET_TO_PRUNE: RowStatement = RowStatement::new(
    "WITH v(instance, execution, task) AS (VALUES ",
    3,
    ")
     DELETE FROM attempts_to_prune
     WHERE partition = 0 AND (instance, execution, task) IN (SELECT instance, execution, task FROM v)",
);

/// The sizes of the failures of those attempts that exist, in bytes.
pub(super) async fn measure(
    connection: &mut SqliteConnection,
    wanted: &[AttemptKey],
) -> Result<Vec<(AttemptKey, u64)>, Error> {
    let rows = MEASURE.fetch(connection, wanted).await?;
    let measured = rows.iter().map(|row| {
        let key = AttemptKey {
            instance: InstanceNumber(row.number(0)?),
            execution: ExecutionNumber(row.small_number(1)?),
            task: TaskId(row.small_number(2)?),
            ordinal: row.small_number(3)?,
        };
        Ok((key, row.number(4)?))
    });
    measured.collect()
}

/// At most `limit` excess rows of one task that has more than are kept; none if there is no such task.
pub(super) async fn prunable(connection: &mut SqliteConnection, limit: u64) -> Result<Option<Prunable>, Error> {
    let task = sqlx::query(
        "SELECT instance, execution, task
         FROM attempts_to_prune
         WHERE partition = 0
         ORDER BY instance, execution, task
         LIMIT 1",
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(task) = task else { return Ok(None) };
    let task = TaskToPrune {
        instance: InstanceNumber(task.number(0)?),
        execution: ExecutionNumber(task.small_number(1)?),
        task: TaskId(task.small_number(2)?),
    };
    let rows = sqlx::query(
        "SELECT ordinal, length(failure)
         FROM attempts
         WHERE partition = 0 AND instance = ?1 AND execution = ?2 AND task = ?3
            AND ordinal <=
                (SELECT max(ordinal)
                 FROM attempts
                 WHERE partition = 0 AND instance = ?1 AND execution = ?2 AND task = ?3) - ?4
         ORDER BY ordinal
         LIMIT ?5",
    )
    .bind(stored(task.instance.0))
    .bind(i64::from(task.execution.0))
    .bind(i64::from(task.task.0))
    .bind(i64::from(ATTEMPTS_KEPT))
    .bind(stored(limit))
    .fetch_all(connection)
    .await?;
    let all = (rows.len() as u64) < limit;
    let rows = rows.iter().map(|row| Ok((row.small_number(0)?, row.number(1)?)));
    Ok(Some(Prunable {
        task,
        rows: rows.collect::<Result<_, Error>>()?,
        all,
    }))
}

/// The attempts of some tasks of an execution.
pub(super) async fn of(
    connection: &mut SqliteConnection,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Result<AttemptsOfTasks, Error> {
    let mut found = AttemptsOfTasks {
        totals: totals(connection, instance, execution, tasks).await?,
        last: Vec::new(),
    };
    let tasks: Vec<TaskId> = found.totals.keys().copied().collect();
    let mut page = Page::of(ATTEMPT_BYTES);
    for tasks in tasks.chunks(TASKS_PER_QUERY) {
        let mut rows = sqlx::query(LAST_ROWS)
            .bind(stored(instance.0))
            .bind(i64::from(execution.0))
            .bind(task_list(tasks))
            .bind(i64::from(ATTEMPTS_KEPT))
            .bind(true)
            .fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            if page.is_full() {
                return Ok(found);
            }
            let mut attempt = attempt(&row, instance, execution)?;
            // Older hosts stored failures in full length.
            attempt.failure = attempt.failure.abridged();
            page.read(Page::ROW_BYTES + codec::encode(&attempt.failure).len());
            found.last.push(attempt);
        }
    }
    Ok(found)
}

/// The last attempt of each of some tasks, with a brief failure; tasks without attempts are missing.
pub(super) async fn last(
    connection: &mut SqliteConnection,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Result<BTreeMap<TaskId, AttemptRow>, Error> {
    let mut found = BTreeMap::new();
    for tasks in tasks.chunks(TASKS_PER_QUERY) {
        let mut rows = sqlx::query(LAST_ROWS)
            .bind(stored(instance.0))
            .bind(i64::from(execution.0))
            .bind(task_list(tasks))
            .bind(1)
            .bind(true)
            .fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            let mut attempt = attempt(&row, instance, execution)?;
            attempt.failure = attempt.failure.brief();
            found.insert(attempt.task, attempt);
        }
    }
    Ok(found)
}

/// How many attempts each task has had; tasks without attempts are missing.
async fn totals(
    connection: &mut SqliteConnection,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Result<BTreeMap<TaskId, u32>, Error> {
    let mut totals = BTreeMap::new();
    for tasks in tasks.chunks(TASKS_PER_QUERY) {
        let rows = sqlx::query(
            "SELECT a.task, max(a.ordinal)
             FROM json_each(?3) AS t CROSS JOIN attempts AS a
             WHERE a.partition = 0 AND a.instance = ?1 AND a.execution = ?2 AND a.task = t.value
                AND a.ordinal =
                    (SELECT max(m.ordinal)
                     FROM attempts AS m
                     WHERE m.partition = 0 AND m.instance = ?1 AND m.execution = ?2 AND m.task = t.value)
             GROUP BY a.task",
        )
        .bind(stored(instance.0))
        .bind(i64::from(execution.0))
        .bind(task_list(tasks))
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            totals.insert(TaskId(row.small_number(0)?), row.small_number(1)?);
        }
    }
    Ok(totals)
}

/// The last rows of some tasks, at most `?4` of each. Failures are read if `?5` is true; a failure that the retry
/// policy was not applied to yet is always read. CROSS JOIN makes nested loops, so rows come in the order of the listed
/// tasks and by ordinal; an ORDER BY would read all rows before it returns the first.
const LAST_ROWS: &str = "
    SELECT a.task, a.ordinal, a.number, a.cut_off, iif(?5 OR a.next_at_ms IS NULL, a.failure, NULL), a.fuel,
           a.started_at_ms, a.ended_at_ms, a.next_at_ms
    FROM json_each(?3) AS t CROSS JOIN attempts AS a
    WHERE a.partition = 0 AND a.instance = ?1 AND a.execution = ?2 AND a.task = t.value
       AND a.ordinal >
           (SELECT max(m.ordinal)
            FROM attempts AS m
            WHERE m.partition = 0 AND m.instance = ?1 AND m.execution = ?2 AND m.task = t.value) - ?4";

/// Summarizes the attempts of some tasks; tasks without attempts are missing. Reads at most [`ATTEMPTS_KEPT`] rows of
/// each task, without the texts of their failures.
pub(super) async fn so_far(
    pool: &SqlitePool,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Result<BTreeMap<TaskId, AttemptsSoFar>, Error> {
    let mut found = BTreeMap::<_, AttemptsSoFar>::new();
    for tasks in tasks.chunks(TASKS_PER_QUERY) {
        let mut rows = sqlx::query(LAST_ROWS)
            .bind(stored(instance.0))
            .bind(i64::from(execution.0))
            .bind(task_list(tasks))
            .bind(i64::from(ATTEMPTS_KEPT))
            .bind(false)
            .fetch(pool);
        while let Some(row) = rows.try_next().await? {
            let row = attempt(&row, instance, execution)?;
            found.entry(row.task).or_default().add(&row);
        }
    }
    Ok(found)
}

/// Tasks as a parameter for `json_each`.
pub(super) fn task_list(tasks: &[TaskId]) -> String {
    let tasks: Vec<u32> = tasks.iter().map(|task| task.0).collect();
    serde_json::to_string(&tasks).expect("numbers can be written as JSON")
}

/// Decodes an attempt from a row (task, ordinal, number, cut off, failure or NULL, fuel, start, end, next start).
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
        failure: match row.optional_bytes(4)? {
            Some(failure) => decode(failure, name)?,
            None => Failure::new("", ""),
        },
        fuel: row.number(5)?,
        started_at: Timestamp(row.number(6)?),
        ended_at: Timestamp(row.number(7)?),
        next_at: row.optional_number(8)?.map(Timestamp),
    })
}
