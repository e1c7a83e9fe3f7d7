//! The table `garbage`: records which rows are unreachable, and deletes them in small pieces.

use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, sqlite::SqliteConnection};

use super::{
    columns::{Columns, Values, stored},
    instances::FIRST_ENDED,
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{ExecutionNumber, InstanceNumber},
    store::{
        Error,
        garbage::{EXECUTIONS_WITH_LOG, Garbage, Room, Swept},
        sizes::ROW_BYTES,
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

/// Deletes garbage while there is room. Adds what is no longer counted to `swept`.
pub(super) async fn delete_some(
    connection: &mut SqliteConnection,
    room: &mut Room,
    swept: &mut Swept,
) -> Result<(), Error> {
    while !room.is_used_up() {
        let Some(garbage) = next(connection).await? else { break };
        // A failed instance that was rewound since needs its messages. (Older hosts left those of failed instances here.)
        let is_needed = matches!(garbage, Garbage::Inbox(_)) && is_live(connection, garbage.instance()).await?;
        for (table, first, last) in pieces(garbage).into_iter().filter(|_| !is_needed) {
            let bytes = delete_rows(connection, table, garbage.instance(), (first, last), room).await?;
            if bytes > 0 && matches!(garbage, Garbage::Execution(..)) && std::ptr::eq(table, &LOGS) {
                swept.old_logs.push((garbage.instance(), bytes));
            }
        }
        if !room.is_used_up() {
            forget(connection, garbage).await?;
            // The entry is a row too; counting it also bounds the number of round trips.
            room.take(0);
        }
    }
    Ok(())
}

/// The instances whose logs a sweep of at most `limit` rows may shorten.
pub(super) async fn with_old_logs(connection: &mut SqliteConnection, limit: u64) -> Result<Vec<InstanceNumber>, Error> {
    let rows = sqlx::query(
        "SELECT DISTINCT instance
         FROM (SELECT instance, what FROM garbage WHERE partition = 0 ORDER BY instance, what, execution LIMIT ?)
         WHERE what = 1",
    )
    .bind(stored(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| row.number(0).map(InstanceNumber)).collect()
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

async fn is_live(connection: &mut SqliteConnection, instance: InstanceNumber) -> Result<bool, Error> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT 1
         FROM instances
         WHERE partition = 0 AND instance = ? AND status < {FIRST_ENDED}"
    )))
    .bind(stored(instance.0))
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
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

/// A table with garbage. Both statements walk through the rows of an instance (`?1`) in executions from `?2` to `?3`, in
/// the same order, and at most `?4` of them.
pub(super) struct Table {
    /// Returns the size of each row, and whether it is garbage. The first row that is not ends the walk.
    pub(super) measure: &'static str,
    pub(super) delete: &'static str,
}

static HISTORY: Table = Table {
    measure: "
        SELECT length(body), 1
        FROM history
        WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
        ORDER BY execution, turn
        LIMIT ?4",
    delete: "
        DELETE FROM history
        WHERE rowid IN (
            SELECT rowid
            FROM history
            WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
            ORDER BY execution, turn
            LIMIT ?4)",
};

static ATTEMPTS: Table = Table {
    measure: "
        SELECT length(failure), 1
        FROM attempts
        WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
        ORDER BY execution, task, ordinal
        LIMIT ?4",
    delete: "
        DELETE FROM attempts
        WHERE rowid IN (
            SELECT rowid
            FROM attempts
            WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
            ORDER BY execution, task, ordinal
            LIMIT ?4)",
};

static HEARTBEATS: Table = Table {
    measure: "
        SELECT octet_length(details), 1
        FROM heartbeats
        WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
        ORDER BY execution, task
        LIMIT ?4",
    delete: "
        DELETE FROM heartbeats
        WHERE rowid IN (
            SELECT rowid
            FROM heartbeats
            WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
            ORDER BY execution, task
            LIMIT ?4)",
};

/// Each row counts [`COMPLETION_BYTES`](crate::store::completions::COMPLETION_BYTES).
static COMPLETIONS: Table = Table {
    measure: "
        SELECT 96, 1
        FROM completions
        WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
        ORDER BY execution, task
        LIMIT ?4",
    delete: "
        DELETE FROM completions
        WHERE (partition, instance, execution, task) IN (
            SELECT partition, instance, execution, task
            FROM completions
            WHERE partition = 0 AND instance = ?1 AND execution BETWEEN ?2 AND ?3
            ORDER BY execution, task
            LIMIT ?4)",
};

/// Lines are in the order in which they were written, so those of the first executions come first. A late line of one of
/// them is deleted when it has become the first.
static LOGS: Table = Table {
    measure: "
        SELECT octet_length(message), execution BETWEEN ?2 AND ?3
        FROM logs
        WHERE partition = 0 AND instance = ?1
        ORDER BY seq
        LIMIT ?4",
    delete: "
        DELETE FROM logs
        WHERE rowid IN (
            SELECT rowid
            FROM logs
            WHERE partition = 0 AND instance = ?1 AND ?2 <= ?3
            ORDER BY seq
            LIMIT ?4)",
};

/// Messages and tags belong to no execution; `?2` and `?3` only give all statements the same parameters.
static INBOX: Table = Table {
    measure: "
        SELECT length(item), 1
        FROM inbox
        WHERE partition = 0 AND instance = ?1 AND ?2 <= ?3
        ORDER BY seq
        LIMIT ?4",
    delete: "
        DELETE FROM inbox
        WHERE rowid IN (
            SELECT rowid
            FROM inbox
            WHERE partition = 0 AND instance = ?1 AND ?2 <= ?3
            ORDER BY seq
            LIMIT ?4)",
};

static EVENTS: Table = Table {
    measure: "
        SELECT length(item), 1
        FROM events
        WHERE partition = 0 AND instance = ?1 AND ?2 <= ?3
        ORDER BY name, seq
        LIMIT ?4",
    delete: "
        DELETE FROM events
        WHERE rowid IN (
            SELECT rowid
            FROM events
            WHERE partition = 0 AND instance = ?1 AND ?2 <= ?3
            ORDER BY name, seq
            LIMIT ?4)",
};

static TAGS: Table = Table {
    measure: "
        SELECT octet_length(key) + octet_length(value), 1
        FROM tags
        WHERE partition = 0 AND instance = ?1 AND ?2 <= ?3
        ORDER BY key
        LIMIT ?4",
    delete: "
        DELETE FROM tags
        WHERE (partition, instance, key) IN (
            SELECT partition, instance, key
            FROM tags
            WHERE partition = 0 AND instance = ?1 AND ?2 <= ?3
            ORDER BY key
            LIMIT ?4)",
};

/// Children of a deleted instance stay. Their column `parent` becomes NULL, so that they are found as instances without a
/// parent.
static CHILDREN: Table = Table {
    measure: "
        SELECT 0, 1
        FROM instances INDEXED BY instances_by_parent
        WHERE partition = 0 AND parent = ?1 AND ?2 <= ?3
        ORDER BY instance
        LIMIT ?4",
    delete: "
        UPDATE instances NOT INDEXED
        SET parent = NULL
        WHERE partition = 0 AND instance IN (
            SELECT instance
            FROM instances INDEXED BY instances_by_parent
            WHERE partition = 0 AND parent = ?1 AND ?2 <= ?3
            ORDER BY instance
            LIMIT ?4)",
};

/// The tables with rows of this garbage, and their executions.
pub(super) fn pieces(garbage: Garbage) -> Vec<(&'static Table, u32, u32)> {
    const LAST: u32 = u32::MAX;
    match garbage {
        Garbage::Instance(_) => [
            &HISTORY,
            &ATTEMPTS,
            &HEARTBEATS,
            &COMPLETIONS,
            &LOGS,
            &INBOX,
            &EVENTS,
            &TAGS,
            &CHILDREN,
        ]
        .map(|table| (table, 0, LAST))
        .to_vec(),
        Garbage::Execution(_, ExecutionNumber(execution)) => {
            let without_log = (execution + 1).saturating_sub(EXECUTIONS_WITH_LOG);
            vec![
                (&HISTORY, execution, execution),
                (&ATTEMPTS, execution, execution),
                (&HEARTBEATS, execution, execution),
                (&COMPLETIONS, execution, execution),
                (&LOGS, 0, without_log),
            ]
        }
        Garbage::Inbox(_) => vec![(&INBOX, 0, LAST), (&EVENTS, 0, LAST)],
    }
}

/// Deletes rows of an instance while there is room. Returns their size, with what each row counts beside its content.
async fn delete_rows(
    connection: &mut SqliteConnection,
    table: &Table,
    instance: InstanceNumber,
    (first, last): (u32, u32),
    room: &mut Room,
) -> Result<u64, Error> {
    let (mut rows, mut bytes) = (0, 0);
    let mut measured = sqlx::query(table.measure)
        .bind(stored(instance.0))
        .bind(i64::from(first))
        .bind(i64::from(last))
        .bind(stored(room.rows()))
        .fetch(&mut *connection);
    while !room.is_used_up()
        && let Some(row) = measured.try_next().await?
        && row.number(1)? == 1
    {
        let size = row.number(0)? + ROW_BYTES;
        room.take(size);
        rows += 1;
        bytes += size;
    }
    drop(measured);
    if rows > 0 {
        sqlx::query(table.delete)
            .bind(stored(instance.0))
            .bind(i64::from(first))
            .bind(i64::from(last))
            .bind(stored(rows))
            .execute(connection)
            .await?;
    }
    Ok(bytes)
}
