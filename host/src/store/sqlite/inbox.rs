//! The table `inbox`: messages that wait for an instance.

use futures::TryStreamExt as _;
use sqlx::{
    SqliteExecutor,
    sqlite::{SqliteConnection, SqliteRow},
};

use super::{
    columns::{Columns, Values, stored},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{InboxItem, InboxRow, InboxSeq, InstanceNumber, Started},
    store::{
        Error,
        decode::decode,
        inbox::{ConsumedMessage, NewMessage},
        instances::ByNumber,
    },
};

impl BindRow for NewMessage<'_> {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.instance.0)
            .number(self.seq.0)
            .number(self.control)
            .optional_number(self.due_at.map(|at| at.0))
            .bytes(&self.item);
    }
}

impl BindRow for ConsumedMessage {
    fn bind(&self, values: &mut Values) {
        values.number(self.instance.0).number(self.seq.0);
    }
}

/// Appends messages.
pub(super) static APPEND: RowStatement = RowStatement::new(
    "WITH v(instance, seq, control, due_at_ms, item) AS (VALUES ",
    5,
    ")
     INSERT INTO inbox (partition, instance, seq, control, due_at_ms, item)
     SELECT 0, v.instance, v.seq, v.control, v.due_at_ms, v.item
     FROM v
     WHERE v.instance IS NOT NULL",
);

/// Deletes messages that were consumed.
pub(super) static CONSUME: RowStatement = RowStatement::new(
    "DELETE FROM inbox
     WHERE partition = 0 AND (instance, seq) IN (VALUES ",
    2,
    ")",
);

/// Counts the messages that wait for instances, up to [`MAX_COUNTED`](crate::store::inbox::MAX_COUNTED).
pub(super) static COUNT: RowStatement = RowStatement::new(
    "SELECT i.instance,
            (SELECT count(*)
             FROM (SELECT 1 FROM inbox AS m WHERE m.partition = 0 AND m.instance = i.instance LIMIT 4096))
     FROM instances AS i NOT INDEXED
     WHERE i.partition = 0 AND i.instance IN (VALUES ",
    1,
    ")",
);

/// How many messages wait for each of these instances that exist.
pub(super) async fn count(
    connection: &mut SqliteConnection,
    instances: &[ByNumber],
) -> Result<Vec<(InstanceNumber, u64)>, Error> {
    let rows = COUNT.fetch(connection, instances).await?;
    let counted = rows
        .iter()
        .map(|row| Ok((InstanceNumber(row.number(0)?), row.number(1)?)));
    counted.collect()
}

/// The start message of an execution that has run no turn yet.
pub(super) async fn start(
    executor: impl SqliteExecutor<'_>,
    instance: InstanceNumber,
) -> Result<Option<Started>, Error> {
    let mut rows = sqlx::query(
        "SELECT seq, item
         FROM inbox INDEXED BY inbox_controls
         WHERE partition = 0 AND instance = ? AND control = 1
         ORDER BY seq",
    )
    .bind(stored(instance.0))
    .fetch(executor);
    while let Some(row) = rows.try_next().await? {
        if let InboxItem::Start(started) = message(&row, instance)?.item {
            return Ok(Some(*started));
        }
    }
    Ok(None)
}

/// Decodes a message from a row (position, item).
pub(super) fn message(row: &SqliteRow, instance: InstanceNumber) -> Result<InboxRow, Error> {
    let seq = InboxSeq(row.number(0)?);
    let item = decode(row.bytes(1)?, || {
        format!("message {seq} in the inbox of instance {instance}")
    })?;
    Ok(InboxRow { seq, item })
}
