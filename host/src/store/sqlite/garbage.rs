//! The table `garbage`: records which rows are unreachable, and deletes them in small batches.

use sqlx::sqlite::SqliteConnection;

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{ExecutionNumber, InstanceNumber},
    store::{
        Error,
        garbage::{EXECUTIONS_WITH_LOG, Garbage},
    },
};

impl Garbage {
    fn instance(self) -> InstanceNumber {
        match self {
            Self::Instance(instance) | Self::Execution(instance, _) | Self::Inbox(instance) => instance,
        }
    }

    fn what(self) -> u32 {
        match self {
            Self::Instance(_) => 0,
            Self::Execution(..) => 1,
            Self::Inbox(_) => 2,
        }
    }

    fn execution(self) -> u32 {
        match self {
            Self::Execution(_, execution) => execution.0,
            Self::Instance(_) | Self::Inbox(_) => 0,
        }
    }

    fn read(instance: u64, what: u64, execution: u32) -> Result<Self, Error> {
        let instance = InstanceNumber(instance);
        match what {
            0 => Ok(Self::Instance(instance)),
            1 => Ok(Self::Execution(instance, ExecutionNumber(execution))),
            2 => Ok(Self::Inbox(instance)),
            other => Err(Error::Damaged(format!(
                "garbage of instance {instance} is of the unknown kind {other}"
            ))),
        }
    }
}

impl BindRow for Garbage {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.instance().0)
            .number(self.what())
            .number(self.execution());
    }
}

/// Records garbage. Must run after all other statements of a batch.
pub(super) static NOTE: RowStatement = RowStatement::new(
    "WITH v(instance, what, execution) AS (VALUES ",
    3,
    ")
     INSERT OR IGNORE INTO garbage (partition, instance, what, execution)
     SELECT 0, v.instance, v.what, v.execution
     FROM v
     WHERE v.instance IS NOT NULL
        -- Most instances that end leave nothing behind.
        AND (v.what <> 2
             OR EXISTS (SELECT 1 FROM inbox AS i WHERE i.partition = 0 AND i.instance = v.instance)
             OR EXISTS (SELECT 1 FROM events AS e WHERE e.partition = 0 AND e.instance = v.instance))",
);

/// Deletes at most `limit` rows of garbage and returns how many; fewer than `limit` means that none is left.
pub(super) async fn delete_some(connection: &mut SqliteConnection, limit: u64) -> Result<u64, Error> {
    let mut deleted = 0;
    while deleted < limit {
        let Some(garbage) = next(connection).await? else { break };
        let left = limit - deleted;
        let rows = delete_rows(connection, garbage, left).await?;
        deleted += rows;
        if rows < left {
            forget(connection, garbage).await?;
            // The entry is a row too; counting it also bounds the number of round trips.
            deleted += 1;
        }
    }
    Ok(deleted)
}

async fn next(connection: &mut SqliteConnection) -> Result<Option<Garbage>, Error> {
    let row = sqlx::query(
        "SELECT instance, what, execution
         FROM garbage
         WHERE partition = 0
         ORDER BY instance, what, execution
         LIMIT 1",
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Garbage::read(row.number(0)?, row.number(1)?, row.small_number(2)?))
        .transpose()
}

async fn forget(connection: &mut SqliteConnection, garbage: Garbage) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM garbage
         WHERE partition = 0 AND instance = ? AND what = ? AND execution = ?",
    )
    .bind(stored(garbage.instance().0))
    .bind(i64::from(garbage.what()))
    .bind(i64::from(garbage.execution()))
    .execute(connection)
    .await?;
    Ok(())
}

const DELETE_HISTORY: &str = "
    DELETE FROM history
    WHERE (partition, instance, execution, turn) IN (
        SELECT partition, instance, execution, turn
        FROM history
        WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
        LIMIT ?4)";

const DELETE_ATTEMPTS: &str = "
    DELETE FROM attempts
    WHERE (partition, instance, execution, task, ordinal) IN (
        SELECT partition, instance, execution, task, ordinal
        FROM attempts
        WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
        LIMIT ?4)";

const DELETE_LOGS: &str = "
    DELETE FROM logs
    WHERE (partition, instance, seq) IN (
        SELECT partition, instance, seq
        FROM logs
        WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
        LIMIT ?4)";

/// Messages belong to no execution; `?2` and `?3` only give all statements the same parameters.
const DELETE_INBOX: &str = "
    DELETE FROM inbox
    WHERE (partition, instance, seq) IN (
        SELECT partition, instance, seq
        FROM inbox
        WHERE partition = 0 AND instance = ?1 AND ?2 <= ?3
        LIMIT ?4)";

const DELETE_EVENTS: &str = "
    DELETE FROM events
    WHERE (partition, instance, name, seq) IN (
        SELECT partition, instance, name, seq
        FROM events
        WHERE partition = 0 AND instance = ?1 AND ?2 <= ?3
        LIMIT ?4)";

/// Deletes at most `limit` rows and returns how many.
async fn delete_rows(connection: &mut SqliteConnection, garbage: Garbage, limit: u64) -> Result<u64, sqlx::Error> {
    const ALL: (u32, u32) = (0, u32::MAX);
    let pieces: Vec<(&'static str, (u32, u32))> = match garbage {
        Garbage::Instance(_) => {
            vec![
                (DELETE_HISTORY, ALL),
                (DELETE_ATTEMPTS, ALL),
                (DELETE_LOGS, ALL),
                (DELETE_INBOX, ALL),
                (DELETE_EVENTS, ALL),
            ]
        }
        Garbage::Execution(_, ExecutionNumber(execution)) => {
            let that = (execution, execution);
            let without_log = (0, (execution + 1).saturating_sub(EXECUTIONS_WITH_LOG));
            vec![
                (DELETE_HISTORY, that),
                (DELETE_ATTEMPTS, that),
                (DELETE_LOGS, without_log),
            ]
        }
        Garbage::Inbox(_) => vec![(DELETE_INBOX, ALL), (DELETE_EVENTS, ALL)],
    };
    let mut deleted = 0;
    for (statement, (first, last)) in pieces {
        if deleted == limit {
            break;
        }
        let done = sqlx::query(statement)
            .bind(stored(garbage.instance().0))
            .bind(i64::from(first))
            .bind(i64::from(last))
            .bind(stored(limit - deleted))
            .execute(&mut *connection)
            .await?;
        deleted += done.rows_affected();
    }
    Ok(deleted)
}
