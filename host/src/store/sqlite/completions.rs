//! The table `completions`.

use std::collections::BTreeSet;

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::{
    attempts::{TASKS_PER_QUERY, task_list},
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{ExecutionNumber, InstanceNumber, TaskId, TenantId, Timestamp},
    store::{
        Completion, CompletionState, Error, FoundCompletion, TokenHash,
        completions::{CompletionKey, NewCompletion},
        decode::parse,
    },
};

impl BindRow for NewCompletion {
    fn bind(&self, values: &mut Values) {
        let completion = &self.completion;
        values
            .number(self.instance.0)
            .number(completion.execution.0)
            .number(completion.task.0)
            .bytes(&completion.token.0)
            .number(completion.state.number())
            .number(completion.attempt)
            .number(completion.ordinal)
            .number(completion.fuel)
            .number(completion.started_at.0)
            .optional_number(completion.expires_at.map(|at| at.0));
    }
}

/// Writes calls; each replaces the earlier row of its task.
pub(super) static PUT: RowStatement = RowStatement::new(
    "WITH v(instance, execution, task, token, state, attempt, ordinal, fuel, started_at_ms, expires_at_ms) AS (VALUES ",
    10,
    ")
     INSERT INTO completions
        (partition, instance, execution, task, token, state, attempt, ordinal, fuel, started_at_ms, expires_at_ms)
     SELECT 0, v.instance, v.execution, v.task, v.token, v.state, v.attempt, v.ordinal, v.fuel, v.started_at_ms,
            v.expires_at_ms
     FROM v
     WHERE v.instance IS NOT NULL
     ON CONFLICT (partition, instance, execution, task)
     DO UPDATE SET token = excluded.token, state = excluded.state, attempt = excluded.attempt,
                   ordinal = excluded.ordinal, fuel = excluded.fuel, started_at_ms = excluded.started_at_ms,
                   expires_at_ms = excluded.expires_at_ms",
);

impl BindRow for CompletionKey {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.instance.0)
            .number(self.execution.0)
            .number(self.task.0);
    }
}

/// Reads calls by their keys.
pub(super) static FIND: RowStatement = RowStatement::new(
    "WITH v(instance, execution, task) AS (VALUES ",
    3,
    ")
     SELECT c.execution, c.task, c.token, c.state, c.attempt, c.ordinal, c.fuel, c.started_at_ms, c.expires_at_ms,
            c.instance
     FROM v CROSS JOIN completions AS c
     WHERE c.partition = 0 AND c.instance = v.instance AND c.execution = v.execution AND c.task = v.task",
);

/// Those of the calls that have a row.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    wanted: &[CompletionKey],
) -> Result<Vec<(CompletionKey, Completion)>, Error> {
    let rows = FIND.fetch(connection, wanted).await?;
    let found = rows.iter().map(|row| {
        let completion = completion(row)?;
        Ok((
            CompletionKey::of(InstanceNumber(row.number(9)?), &completion),
            completion,
        ))
    });
    found.collect()
}

/// The row of one call.
pub(super) async fn of_task(
    pool: &SqlitePool,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    task: TaskId,
) -> Result<Option<Completion>, Error> {
    let mut connection = pool.acquire().await?;
    let found = of(&mut connection, instance, execution, &[task]).await?;
    Ok(found.into_iter().next())
}

/// The rows of those of the tasks that have one.
pub(super) async fn of(
    connection: &mut SqliteConnection,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Result<Vec<Completion>, Error> {
    let mut found = Vec::new();
    let tasks: Vec<TaskId> = tasks.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    for tasks in tasks.chunks(TASKS_PER_QUERY) {
        let rows = sqlx::query(
            "SELECT c.execution, c.task, c.token, c.state, c.attempt, c.ordinal, c.fuel, c.started_at_ms,
                    c.expires_at_ms
             FROM json_each(?3) AS t CROSS JOIN completions AS c
             WHERE c.partition = 0 AND c.instance = ?1 AND c.execution = ?2 AND c.task = t.value",
        )
        .bind(stored(instance.0))
        .bind(i64::from(execution.0))
        .bind(task_list(tasks))
        .fetch_all(&mut *connection)
        .await?;
        for row in &rows {
            found.push(completion(row)?);
        }
    }
    Ok(found)
}

/// Those of the tasks that wait.
pub(super) async fn waiting(
    pool: &SqlitePool,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Result<Vec<TaskId>, Error> {
    let mut waiting = Vec::new();
    for tasks in tasks.chunks(TASKS_PER_QUERY) {
        let rows = sqlx::query(
            "SELECT c.task
             FROM json_each(?3) AS t CROSS JOIN completions AS c
             WHERE c.partition = 0 AND c.instance = ?1 AND c.execution = ?2 AND c.task = t.value AND c.state = 1",
        )
        .bind(stored(instance.0))
        .bind(i64::from(execution.0))
        .bind(task_list(tasks))
        .fetch_all(pool)
        .await?;
        for row in &rows {
            waiting.push(TaskId(row.small_number(0)?));
        }
    }
    Ok(waiting)
}

/// Calls of an execution whose tokens can be used, in the order of their tasks.
pub(super) async fn open_of(
    pool: &SqlitePool,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    after: Option<TaskId>,
    limit: u32,
) -> Result<Vec<Completion>, Error> {
    let rows = sqlx::query(
        "SELECT execution, task, token, state, attempt, ordinal, fuel, started_at_ms, expires_at_ms
         FROM completions
         WHERE partition = 0 AND instance = ? AND execution = ? AND task > ? AND state <= 1
         ORDER BY task
         LIMIT ?",
    )
    .bind(stored(instance.0))
    .bind(i64::from(execution.0))
    .bind(after.map_or(-1, |task| i64::from(task.0)))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(completion).collect()
}

/// The call of a token.
pub(super) async fn by_token(pool: &SqlitePool, token: TokenHash) -> Result<Option<FoundCompletion>, Error> {
    let row = sqlx::query(
        "SELECT c.execution, c.task, c.token, c.state, c.attempt, c.ordinal, c.fuel, c.started_at_ms, c.expires_at_ms,
                c.instance, i.tenant, i.id
         FROM completions AS c JOIN instances AS i ON i.partition = c.partition AND i.instance = c.instance
         WHERE c.token = ?",
    )
    .bind(&token.0[..])
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(found).transpose()
}

/// Calls that wait although their time is over, the earliest first.
pub(super) async fn expired(pool: &SqlitePool, now: Timestamp, limit: u32) -> Result<Vec<FoundCompletion>, Error> {
    let rows = sqlx::query(
        "SELECT c.execution, c.task, c.token, c.state, c.attempt, c.ordinal, c.fuel, c.started_at_ms, c.expires_at_ms,
                c.instance, i.tenant, i.id
         FROM completions AS c INDEXED BY completions_by_expiry
            JOIN instances AS i ON i.partition = c.partition AND i.instance = c.instance
         WHERE c.partition = 0 AND c.state = 1 AND c.expires_at_ms IS NOT NULL AND c.expires_at_ms <= ?
         ORDER BY c.expires_at_ms
         LIMIT ?",
    )
    .bind(stored(now.0))
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(found).collect()
}

/// When the time of a waiting call is over next.
pub(super) async fn next_expiry(pool: &SqlitePool) -> Result<Option<Timestamp>, Error> {
    let row = sqlx::query(
        "SELECT c.expires_at_ms
         FROM completions AS c INDEXED BY completions_by_expiry
            JOIN instances AS i ON i.partition = c.partition AND i.instance = c.instance
         WHERE c.partition = 0 AND c.state = 1 AND c.expires_at_ms IS NOT NULL
         ORDER BY c.expires_at_ms
         LIMIT 1",
    )
    .fetch_optional(pool)
    .await?;
    row.map(|row| row.number(0).map(Timestamp)).transpose()
}

fn found(row: &SqliteRow) -> Result<FoundCompletion, Error> {
    Ok(FoundCompletion {
        tenant: TenantId(row.small_number(10)?),
        instance: InstanceNumber(row.number(9)?),
        instance_id: parse(row.text(11)?, "the instance id")?,
        completion: completion(row)?,
    })
}

fn completion(row: &SqliteRow) -> Result<Completion, Error> {
    let token = row.bytes(2)?.try_into();
    let state = row.number(3)?;
    Ok(Completion {
        execution: ExecutionNumber(row.small_number(0)?),
        task: TaskId(row.small_number(1)?),
        token: TokenHash(token.map_err(|_| Error::Damaged("the hash of a token has another length".into()))?),
        state: CompletionState::read(state)
            .ok_or_else(|| Error::Damaged(format!("a completion has the unknown state {state}")))?,
        attempt: row.small_number(4)?,
        ordinal: row.small_number(5)?,
        fuel: row.number(6)?,
        started_at: Timestamp(row.number(7)?),
        expires_at: row.optional_number(8)?.map(Timestamp),
    })
}
