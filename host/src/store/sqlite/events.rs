//! The table `events`: events that no task has taken yet, by instance and name.

use futures::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::{
    columns::{Columns, Values, stored},
    inbox,
    statement::{BindRow, RowStatement},
};
use crate::{
    model::{EventPage, InboxItem, InboxRow, InstanceNumber},
    store::{
        Error,
        decode::decode,
        events::{NewEvent, OldEvent, PAGE_BYTES},
        page::Page,
    },
};

impl BindRow for NewEvent<'_> {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.instance.0)
            .text(&self.name)
            .number(self.seq.0)
            .bytes(&self.item);
    }
}

impl BindRow for OldEvent<'_> {
    fn bind(&self, values: &mut Values) {
        values.number(self.instance.0).text(self.name).number(self.seq.0);
    }
}

/// Appends events.
pub(super) static APPEND: RowStatement = RowStatement::new(
    "WITH v(instance, name, seq, item) AS (VALUES ",
    4,
    ")
     INSERT INTO events (partition, instance, name, seq, item)
     SELECT 0, v.instance, v.name, v.seq, v.item
     FROM v
     WHERE v.instance IS NOT NULL",
);

/// Deletes events that were taken.
pub(super) static TAKE: RowStatement = RowStatement::new(
    "WITH v(instance, name, seq) AS (VALUES ",
    3,
    ")
     DELETE FROM events
     WHERE rowid IN (SELECT e.rowid
                     FROM v CROSS JOIN events AS e
                     WHERE e.partition = 0 AND e.instance = v.instance AND e.name = v.name AND e.seq = v.seq)",
);

/// The oldest events of each of these names, until a page is full; the result then lacks the remaining names.
pub(super) async fn of_names(
    pool: &SqlitePool,
    instance: InstanceNumber,
    names: &[String],
) -> Result<Vec<EventPage>, Error> {
    let mut pages = Vec::new();
    let mut room = Page::of(PAGE_BYTES);
    for name in names {
        if room.is_full() {
            break;
        }
        let mut page = EventPage {
            name: name.clone(),
            events: Vec::new(),
            more: false,
        };
        let mut share = Page::of(PAGE_BYTES / names.len());
        let mut rows = sqlx::query(
            "SELECT seq, item
             FROM events
             WHERE partition = 0 AND instance = ? AND name = ?
             ORDER BY seq",
        )
        .bind(stored(instance.0))
        .bind(name)
        .fetch(pool);
        while let Some(row) = rows.try_next().await? {
            if share.is_full() {
                page.more = true;
                break;
            }
            let bytes = row.bytes(1)?.len() + Page::ROW_BYTES;
            share.read(bytes);
            room.read(bytes);
            let InboxRow { seq, item } = inbox::message(&row, instance)?;
            if let InboxItem::Event(event) = item {
                page.events.push((seq, event));
            }
        }
        pages.push(page);
    }
    Ok(pages)
}

/// Moves events out of inboxes, where older hosts stored them. Part of the migration that creates the table.
pub(super) async fn move_from_inboxes(connection: &mut SqliteConnection) -> Result<(), Error> {
    let mut last = (-1, -1);
    loop {
        let row = sqlx::query(
            "SELECT seq, item, instance
             FROM inbox
             WHERE partition = 0 AND control = 0 AND (instance, seq) > (?, ?)
             ORDER BY instance, seq
             LIMIT 1",
        )
        .bind(last.0)
        .bind(last.1)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { break };
        let (seq, instance) = (stored(row.number(0)?), stored(row.number(2)?));
        last = (instance, seq);
        // An unreadable message stays in the inbox; reading the inbox reports it.
        let Ok(InboxItem::Event(event)) = decode(row.bytes(1)?, String::new) else {
            continue;
        };
        sqlx::query("INSERT INTO events (partition, instance, name, seq, item) VALUES (0, ?, ?, ?, ?)")
            .bind(instance)
            .bind(event.name.folded())
            .bind(seq)
            .bind(row.bytes(1)?)
            .execute(&mut *connection)
            .await?;
        sqlx::query("DELETE FROM inbox WHERE partition = 0 AND instance = ? AND seq = ?")
            .bind(instance)
            .bind(seq)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::raw_sql(COUNT_MOVED).execute(connection).await?;
    Ok(())
}

/// After continue-as-new, older hosts did not count the events that had arrived before, so subtracting them could give
/// too little; `max` keeps at least the size of the instance's own row.
const COUNT_MOVED: &str = "
    UPDATE instances
    SET event_bytes =
            (SELECT sum(length(e.item) + 32)
             FROM events AS e
             WHERE e.partition = instances.partition AND e.instance = instances.instance)
    WHERE status < 10
        AND EXISTS
            (SELECT 1 FROM events AS e
             WHERE e.partition = instances.partition AND e.instance = instances.instance);

    UPDATE instances
    SET execution_bytes = max(256, execution_bytes - event_bytes)
    WHERE event_bytes > 0;

    UPDATE tenants
    SET stored_bytes =
            (SELECT coalesce(sum(i.execution_bytes + i.event_bytes + i.log_bytes), 0)
             FROM instances AS i
             WHERE i.tenant = tenants.tenant);";
