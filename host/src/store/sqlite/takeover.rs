//! Reads what an owner needs to take over an instance: rows of several tables in one round trip.

use futures::TryStreamExt as _;
use sqlx::{
    Row as _,
    sqlite::{SqlitePool, SqliteRow},
};

use super::{
    columns::{Columns, stored},
    history, inbox, instances,
};
use crate::{
    model::{ExecutionNumber, InstanceNumber, ModuleNumber, TenantId, Timestamp, TurnNumber},
    store::{Error, InstanceRecord, decode::parse, events::ALONG_BYTES, history::FIRST_TURNS, page::Page},
};

/// The rows of a statement are identified by their number of columns; both kinds of messages have the same. Each statement
/// reads its rows in the order of an index, so that SQLite sorts nothing, however long the inbox is.
pub(super) const STATEMENTS: &str = "
    SELECT i.tenant, i.id, f.name, i.module, i.parent_link, i.status, i.stuck, i.execution, i.last_turn,
           i.created_at_ms, i.custom_status, i.fuel, i.execution_bytes,
           i.event_bytes,
           EXISTS (SELECT 1
                   FROM attempts AS a
                   WHERE a.partition = 0 AND a.instance = i.instance AND a.execution = i.execution)
           OR EXISTS (SELECT 1
                      FROM heartbeats AS h
                      WHERE h.partition = 0 AND h.instance = i.instance AND h.execution = i.execution)
           OR EXISTS (SELECT 1
                      FROM completions AS c
                      WHERE c.partition = 0 AND c.instance = i.instance AND c.execution = i.execution),
           i.entity, i.rewinds
    FROM instances AS i JOIN function_names AS f ON f.function = i.function
    WHERE i.partition = 0 AND i.instance = ?;

    SELECT seq, item
    FROM inbox INDEXED BY inbox_controls
    WHERE partition = 0 AND instance = ? AND control = 1
    ORDER BY seq;

    SELECT seq, item, NULL, NULL, NULL
    FROM inbox INDEXED BY inbox_by_due
    WHERE partition = 0 AND instance = ? AND due_at_ms IS NOT NULL
    ORDER BY due_at_ms, seq;

    SELECT seq, item
    FROM inbox
    WHERE partition = 0 AND instance = ? AND control = 0 AND due_at_ms IS NULL
    ORDER BY seq;

    SELECT turn, body, execution
    FROM history
    WHERE partition = 0 AND instance = ?
        AND execution = (SELECT execution FROM instances WHERE partition = 0 AND instance = ?)
    ORDER BY turn
    LIMIT ?;

    SELECT seq, item, NULL, NULL
    FROM events
    WHERE partition = 0 AND instance = ?
    ORDER BY name, seq";

const RECORD: usize = 17;
const MESSAGE: usize = 2;
const DELAYED: usize = 5;
const EVENT: usize = 4;

/// Reads an instance. Messages may arrive during the read; only the owner changes the other rows. If the inbox does not
/// fit, control messages come first, so that the owner does not miss them. If the events exceed [`ALONG_BYTES`], the
/// record contains none, and the owner reads those that it needs.
pub(super) async fn read(pool: &SqlitePool, instance: InstanceNumber) -> Result<Option<InstanceRecord>, Error> {
    let number = stored(instance.0);
    let mut query = sqlx::query(STATEMENTS);
    for _ in 0..6 {
        query = query.bind(number);
    }
    let mut rows = query.bind(i64::from(FIRST_TURNS)).bind(number).fetch(pool);
    let first = rows.try_next().await?.filter(|first| first.len() == RECORD);
    let Some(first) = first else {
        return Ok(None);
    };
    let mut record = record(&first, instance)?;
    let (mut turns, mut page) = (Vec::new(), Page::new());
    let (mut delayed, mut delayed_page) = (Vec::new(), Page::of(ALONG_BYTES));
    let (mut events, mut events_page) = (Vec::new(), Page::of(ALONG_BYTES));
    while let Some(row) = rows.try_next().await? {
        match row.len() {
            MESSAGE if page.is_full() => {
                // The events come after the inbox, so they were not read.
                (record.more_inbox, record.more_events) = (true, true);
                break;
            }
            MESSAGE => {
                page.read(row.bytes(1)?.len());
                record.inbox.push(inbox::message(&row, instance)?);
            }
            DELAYED if delayed_page.is_full() => record.more_delayed = true,
            DELAYED => {
                delayed_page.read(row.bytes(1)?.len() + Page::ROW_BYTES);
                delayed.push(inbox::message(&row, instance)?);
            }
            EVENT if events_page.is_full() => {
                record.more_events = true;
                events.clear();
                break;
            }
            EVENT => {
                events_page.read(row.bytes(1)?.len() + Page::ROW_BYTES);
                events.push(inbox::message(&row, instance)?);
            }
            _ if page.is_full() => {}
            _ => {
                page.read(row.bytes(1)?.len());
                turns.push(row);
            }
        }
    }
    record.inbox.append(&mut events);
    record.inbox.append(&mut delayed);
    record.inbox.sort_by_key(|row| row.seq);
    let turns: Vec<_> = turns.iter().collect();
    // Unreadable turns are reported when the history is read; an instance can be terminated without it.
    record.first_turns = history::turns(&turns, instance, record.execution, TurnNumber::NONE).unwrap_or_default();
    Ok(Some(record))
}

fn record(row: &SqliteRow, instance: InstanceNumber) -> Result<InstanceRecord, Error> {
    let execution = ExecutionNumber(row.small_number(7)?);
    Ok(InstanceRecord {
        number: instance,
        tenant: TenantId(row.small_number(0)?),
        id: parse(row.text(1)?, "the instance id")?,
        function: parse(row.text(2)?, "the function name")?,
        module: ModuleNumber(row.small_number(3)?),
        parent: instances::parent(row.optional_bytes(4)?, instance)?,
        status: instances::status(row.number(5)?)?,
        stuck: instances::stuck(row.optional_bytes(6)?, instance)?,
        execution,
        last_turn: TurnNumber(row.small_number(8)?),
        created_at: Timestamp(row.number(9)?),
        custom_status: instances::custom_status(row.optional_text(10)?, instance)?,
        fuel: row.number(11)?,
        history_bytes: row.number(12)?,
        event_bytes: row.number(13)?,
        inbox: Vec::new(),
        more_inbox: false,
        more_events: false,
        more_delayed: false,
        rewinds: instances::rewinds(row.optional_bytes(16)?, instance, execution)?,
        has_attempts: row.number(14)? == 1,
        entity: instances::entity(row.optional_bytes(15)?, instance)?,
        first_turns: Vec::new(),
    })
}
