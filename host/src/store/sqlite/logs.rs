//! The table `logs`: lines that guests wrote.

use futures::TryStreamExt as _;
use sqlx::{SqliteExecutor, sqlite::SqliteRow};

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{ExecutionNumber, InstanceNumber, LogLevel, LogLine, TaskId, Timestamp},
    store::{
        Error,
        logs::{LogFilter, LogRow, LogSeq, NewLine},
        page::Page,
    },
};

impl BindRow for NewLine<'_> {
    fn bind(&self, values: &mut Values) {
        let line = &self.line;
        values
            .number(self.instance.0)
            .number(self.seq.0)
            .number(line.execution.0)
            .optional_number(line.task.map(|task| task.0))
            .optional_number(line.attempt)
            .number(level_number(line.level))
            .number(line.at.0)
            .text(&line.message);
    }
}

/// Appends lines.
pub(super) static APPEND: RowStatement = RowStatement::new(
    "WITH v(instance, seq, execution, task, attempt, level, at_ms, message) AS (VALUES ",
    8,
    ")
     INSERT INTO logs (partition, instance, seq, execution, task, attempt, level, at_ms, message)
     SELECT 0, v.instance, v.seq, v.execution, v.task, v.attempt, v.level, v.at_ms, v.message
     FROM v
     WHERE v.instance IS NOT NULL",
);

/// Lines of an instance's log, in order: at most as many as the filter allows, and no more than a page.
pub(super) async fn of(
    executor: impl SqliteExecutor<'_>,
    instance: InstanceNumber,
    filter: &LogFilter,
) -> Result<Vec<LogRow>, Error> {
    let mut rows = sqlx::query(
        "SELECT seq, execution, task, attempt, level, at_ms, message
         FROM logs
         WHERE partition = 0 AND instance = ? AND seq > ? AND level >= ?
         ORDER BY seq
         LIMIT ?",
    )
    .bind(stored(instance.0))
    .bind(stored(filter.after.map_or(0, |seq| seq.0)))
    .bind(i64::from(level_number(filter.at_least)))
    .bind(i64::from(filter.limit))
    .fetch(executor);
    let (mut lines, mut page) = (Vec::new(), Page::for_answer());
    while !page.is_full()
        && let Some(row) = rows.try_next().await?
    {
        let line = line(&row)?;
        page.read(line.bytes());
        lines.push(line);
    }
    Ok(lines)
}

fn line(row: &SqliteRow) -> Result<LogRow, Error> {
    let line = LogLine {
        execution: ExecutionNumber(row.small_number(1)?),
        task: row
            .optional_number(2)?
            .map(|_| row.small_number(2).map(TaskId))
            .transpose()?,
        attempt: row.optional_number(3)?.map(|_| row.small_number(3)).transpose()?,
        level: level(row.number(4)?)?,
        at: Timestamp(row.number(5)?),
        message: row.text(6)?.to_owned(),
    };
    Ok(LogRow {
        seq: LogSeq(row.number(0)?),
        line,
    })
}

/// The levels in the order of their stored numbers, which are never reused.
const LEVELS: [LogLevel; 5] = [
    LogLevel::Trace,
    LogLevel::Debug,
    LogLevel::Info,
    LogLevel::Warn,
    LogLevel::Error,
];

fn level_number(level: LogLevel) -> u32 {
    match level {
        LogLevel::Trace => 0,
        LogLevel::Debug => 1,
        LogLevel::Info => 2,
        LogLevel::Warn => 3,
        LogLevel::Error => 4,
    }
}

fn level(number: u64) -> Result<LogLevel, Error> {
    let level = usize::try_from(number).ok().and_then(|number| LEVELS.get(number));
    level
        .copied()
        .ok_or_else(|| Error::Damaged(format!("a log line has the unknown level {number}")))
}
