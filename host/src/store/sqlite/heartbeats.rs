//! The table `heartbeats`.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::{
    attempts::{TASKS_PER_QUERY, task_list},
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{ExecutionNumber, InstanceNumber, Payload, TaskId, Timestamp},
    store::{
        Error, Heartbeat,
        heartbeats::{HEARTBEAT_BYTES, HeartbeatKey, NewHeartbeat},
        page::Page,
    },
};

impl BindRow for NewHeartbeat<'_> {
    fn bind(&self, values: &mut Values) {
        let heartbeat = self.heartbeat;
        values
            .number(self.instance.0)
            .number(heartbeat.execution.0)
            .number(heartbeat.task.0)
            .text(heartbeat.details.as_str())
            .number(heartbeat.at.0);
    }
}

/// Writes heartbeats; each replaces the earlier one of its call.
pub(super) static PUT: RowStatement = RowStatement::new(
    "WITH v(instance, execution, task, details, at_ms) AS (VALUES ",
    5,
    ")
     INSERT INTO heartbeats (partition, instance, execution, task, details, at_ms)
     SELECT 0, v.instance, v.execution, v.task, v.details, v.at_ms
     FROM v
     WHERE v.instance IS NOT NULL
     ON CONFLICT (partition, instance, execution, task)
     DO UPDATE SET details = excluded.details, at_ms = excluded.at_ms",
);

impl BindRow for HeartbeatKey {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.instance.0)
            .number(self.execution.0)
            .number(self.task.0);
    }
}

/// Reads the sizes of the details of heartbeats, in bytes.
pub(super) static MEASURE: RowStatement = RowStatement::new(
    "WITH v(instance, execution, task) AS (VALUES ",
    3,
    ")
     SELECT h.instance, h.execution, h.task, octet_length(h.details)
     FROM v CROSS JOIN heartbeats AS h
     WHERE h.partition = 0 AND h.instance = v.instance AND h.execution = v.execution AND h.task = v.task",
);

/// The sizes of the details of those heartbeats that exist, in bytes.
pub(super) async fn measure(
    connection: &mut SqliteConnection,
    wanted: &[HeartbeatKey],
) -> Result<Vec<(HeartbeatKey, u64)>, Error> {
    let rows = MEASURE.fetch(connection, wanted).await?;
    let measured = rows.iter().map(|row| {
        let key = HeartbeatKey {
            instance: InstanceNumber(row.number(0)?),
            execution: ExecutionNumber(row.small_number(1)?),
            task: TaskId(row.small_number(2)?),
        };
        Ok((key, row.number(3)?))
    });
    measured.collect()
}

/// The last heartbeat of a call.
pub(super) async fn find(
    pool: &SqlitePool,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    task: TaskId,
) -> Result<Option<Heartbeat>, Error> {
    let row = sqlx::query(
        "SELECT details, at_ms
         FROM heartbeats
         WHERE partition = 0 AND instance = ? AND execution = ? AND task = ?",
    )
    .bind(stored(instance.0))
    .bind(i64::from(execution.0))
    .bind(i64::from(task.0))
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Heartbeat {
        execution,
        task,
        details: details(row.text(0)?)?,
        at: Timestamp(row.number(1)?),
    }))
}

/// The last heartbeats of those of the tasks that have one, at most [`HEARTBEAT_BYTES`] of them.
pub(super) async fn of(
    connection: &mut SqliteConnection,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Result<Vec<Heartbeat>, Error> {
    let (mut found, mut page) = (Vec::new(), Page::of(HEARTBEAT_BYTES));
    let tasks: Vec<TaskId> = tasks.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    for tasks in tasks.chunks(TASKS_PER_QUERY) {
        let mut rows = sqlx::query(
            "SELECT h.task, h.details, h.at_ms
             FROM json_each(?3) AS t CROSS JOIN heartbeats AS h
             WHERE h.partition = 0 AND h.instance = ?1 AND h.execution = ?2 AND h.task = t.value",
        )
        .bind(stored(instance.0))
        .bind(i64::from(execution.0))
        .bind(task_list(tasks))
        .fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            if page.is_full() {
                return Ok(found);
            }
            let heartbeat = Heartbeat {
                execution,
                task: TaskId(row.small_number(0)?),
                details: details(row.text(1)?)?,
                at: Timestamp(row.number(2)?),
            };
            page.read(Page::ROW_BYTES + heartbeat.details.as_str().len());
            found.push(heartbeat);
        }
    }
    Ok(found)
}

fn details(text: &str) -> Result<Payload, Error> {
    Payload::parse(text, usize::MAX)
        .map_err(|error| Error::Damaged(format!("the details of a heartbeat cannot be read: it {error}")))
}

/// Those of the tasks of an execution that have a heartbeat.
pub(super) async fn tasks_with(
    pool: &SqlitePool,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Result<BTreeSet<TaskId>, Error> {
    let mut found = BTreeSet::new();
    for tasks in tasks.chunks(TASKS_PER_QUERY) {
        let rows = sqlx::query(
            "SELECT h.task
             FROM json_each(?3) AS t CROSS JOIN heartbeats AS h
             WHERE h.partition = 0 AND h.instance = ?1 AND h.execution = ?2 AND h.task = t.value",
        )
        .bind(stored(instance.0))
        .bind(i64::from(execution.0))
        .bind(task_list(tasks))
        .fetch_all(pool)
        .await?;
        for row in rows {
            found.insert(TaskId(row.small_number(0)?));
        }
    }
    Ok(found)
}
