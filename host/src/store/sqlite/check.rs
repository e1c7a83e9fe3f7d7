//! The full check of a database, for `windlass check`: reads everything, changes nothing.

use sqlx::{AssertSqlSafe, Row as _, sqlite::SqlitePool};

use super::{columns::Columns, history, instances::FIRST_ENDED};
use crate::{
    model::{ExecutionNumber, InstanceNumber, TurnNumber},
    store::{Error, page::Page},
};

/// The maximum number of problems listed; a badly damaged file would have millions.
const MAX_PROBLEMS: usize = 100;

/// How many turns are read at a time.
const TURNS_PER_READ: u32 = 500;

/// Each query finds rows that contradict others, and returns one sentence per finding. `{first_ended}` stands for the
/// smallest status number of ended instances.
const CONTRADICTIONS: [&str; 12] = [
    "SELECT 'instance ' || i.instance || ' has an unknown function'
     FROM instances AS i
     WHERE NOT EXISTS (SELECT 1 FROM function_names AS f WHERE f.function = i.function)
     LIMIT ?",
    "SELECT 'instance ' || i.instance || ' has an unknown module'
     FROM instances AS i
     WHERE NOT EXISTS (SELECT 1 FROM modules AS m WHERE m.module = i.module)
     LIMIT ?",
    "SELECT 'instance ' || i.instance || ' has not ended, but its module has no bytes'
     FROM instances AS i
     WHERE i.status < {first_ended} AND substr(i.id, 1, 1) <> '@'
        AND NOT EXISTS (SELECT 1 FROM module_bytes AS b WHERE b.module = i.module)
     LIMIT ?",
    "SELECT 'the current version of module ' || n.name || ' has no bytes'
     FROM module_names AS n
     WHERE NOT EXISTS (SELECT 1 FROM module_bytes AS b WHERE b.module = n.module)
     LIMIT ?",
    "SELECT 'the history of instance ' || h.instance || ' belongs to no instance'
     FROM (SELECT DISTINCT partition, instance FROM history) AS h
     WHERE NOT EXISTS (SELECT 1 FROM instances AS i WHERE i.partition = h.partition AND i.instance = h.instance)
        AND NOT EXISTS (SELECT 1 FROM garbage AS g WHERE g.partition = h.partition AND g.instance = h.instance)
     LIMIT ?",
    "SELECT 'instance ' || c.instance || ' has a number that may be assigned again'
     FROM instances AS c
     WHERE c.instance >= (SELECT reserved FROM counters WHERE counter = 'instance')
     LIMIT ?",
    "SELECT 'tenant ' || t.name || ' has a count of ' || t.stored_bytes || ' bytes, but stores ' || t.found
     FROM (SELECT c.name, c.stored_bytes,
                  (SELECT coalesce(sum(i.execution_bytes + i.event_bytes + i.log_bytes + i.old_log_bytes + i.tag_bytes), 0)
                   FROM instances AS i
                   WHERE i.tenant = c.tenant)
                  + (SELECT coalesce(sum(m.compiled_bytes + length(m.description) + coalesce(length(m.events), 0)
                                      + coalesce(length(m.entities), 0)), 0)
                     FROM modules AS m
                     WHERE m.tenant = c.tenant
                        AND EXISTS (SELECT 1 FROM module_bytes AS b WHERE b.module = m.module))
                  + (SELECT coalesce(sum(octet_length(k.key) + octet_length(k.instance_id) + 128
                                      + coalesce(length(k.answer), 0)), 0)
                     FROM idempotency_keys AS k
                     WHERE k.partition = 0 AND k.tenant = c.tenant)
                  + (SELECT coalesce(sum(s.definition_bytes + length(s.state) + octet_length(s.name) + 64), 0)
                     FROM schedules AS s
                     WHERE s.partition = 0 AND s.tenant = c.tenant)
                  + (SELECT coalesce(sum(b.bytes), 0)
                     FROM broadcasts AS b
                     WHERE b.tenant = c.tenant) AS found
           FROM tenants AS c) AS t
     WHERE t.stored_bytes <> t.found
     LIMIT ?",
    "SELECT 'schedule ' || s.name || ' of tenant ' || s.tenant || ' has no definition of ' || s.definition_bytes || ' bytes'
     FROM schedules AS s
     WHERE NOT EXISTS (SELECT 1
                       FROM schedule_definitions AS d
                       WHERE d.partition = s.partition AND d.tenant = s.tenant AND d.name = s.name
                          AND length(d.definition) = s.definition_bytes)
     LIMIT ?",
    "SELECT 'the definition of schedule ' || d.name || ' of tenant ' || d.tenant || ' belongs to no schedule'
     FROM schedule_definitions AS d
     WHERE NOT EXISTS (SELECT 1
                       FROM schedules AS s
                       WHERE s.partition = d.partition AND s.tenant = d.tenant AND s.name = d.name)
     LIMIT ?",
    "SELECT 'of the events of instance ' || w.instance || ' ' || w.event_bytes || ' bytes are counted, there are '
        || w.found
     FROM (SELECT i.instance, i.event_bytes,
                  (SELECT coalesce(sum(length(e.item) + 32), 0)
                   FROM events AS e
                   WHERE e.partition = i.partition AND e.instance = i.instance) AS found
           FROM instances AS i
           WHERE i.status < {first_ended}) AS w
     WHERE w.event_bytes <> w.found
     LIMIT ?",
    "SELECT 'of the logs of instance ' || w.instance || ' ' || w.counted || ' bytes are counted, there are ' || w.found
     FROM (SELECT i.instance, i.log_bytes + i.old_log_bytes AS counted,
                  (SELECT coalesce(sum(octet_length(l.message) + 32), 0)
                   FROM logs AS l
                   WHERE l.partition = i.partition AND l.instance = i.instance) AS found
           FROM instances AS i) AS w
     WHERE w.counted <> w.found
     LIMIT ?",
    "SELECT 'of the tags of instance ' || w.instance || ' ' || w.counted || ' bytes are counted, there are ' || w.found
     FROM (SELECT i.instance, i.tag_bytes AS counted,
                  (SELECT coalesce(sum(octet_length(t.key) + octet_length(t.value) + 32), 0)
                   FROM tags AS t
                   WHERE t.partition = i.partition AND t.instance = i.instance AND t.tenant = i.tenant) AS found
           FROM instances AS i) AS w
     WHERE w.counted <> w.found
     LIMIT ?",
];

/// The problems of a database; empty if there are none.
pub(super) async fn problems(pool: &SqlitePool) -> Result<Vec<String>, Error> {
    let mut problems = integrity(pool).await?;
    for statement in CONTRADICTIONS {
        let statement = statement.replace("{first_ended}", &FIRST_ENDED.to_string());
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(MAX_PROBLEMS as i64)
            .fetch_all(pool)
            .await?;
        for row in rows {
            problems.push(row.text(0)?.to_owned());
        }
    }
    problems.extend(unreadable_histories(pool).await?);
    problems.truncate(MAX_PROBLEMS);
    Ok(problems)
}

/// SQLite's own check of pages, indexes and constraints.
async fn integrity(pool: &SqlitePool) -> Result<Vec<String>, Error> {
    let rows = sqlx::query("PRAGMA integrity_check").fetch_all(pool).await?;
    let lines = rows
        .iter()
        .map(|row| row.try_get::<String, _>(0))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

async fn unreadable_histories(pool: &SqlitePool) -> Result<Vec<String>, Error> {
    let mut problems = Vec::new();
    let mut after = -1;
    loop {
        let row = sqlx::query(
            "SELECT instance, execution, last_turn
             FROM instances NOT INDEXED
             WHERE partition = 0 AND instance > ?
             ORDER BY instance
             LIMIT 1",
        )
        .bind(after)
        .fetch_optional(pool)
        .await?;
        let Some(row) = row else { return Ok(problems) };
        after = row.try_get(0)?;
        let (instance, execution) = (InstanceNumber(row.number(0)?), ExecutionNumber(row.small_number(1)?));
        let last = TurnNumber(row.small_number(2)?);
        match read_history(pool, instance, execution).await {
            Ok(found) if found == last => {}
            Ok(found) => problems.push(format!("instance {instance} should have {last} turns and has {found}")),
            Err(Error::Damaged(problem)) => problems.push(problem),
            Err(error) => return Err(error),
        }
        if problems.len() >= MAX_PROBLEMS {
            return Ok(problems);
        }
    }
}

/// Reads a whole history and returns the number of its last turn.
async fn read_history(
    pool: &SqlitePool,
    instance: InstanceNumber,
    execution: ExecutionNumber,
) -> Result<TurnNumber, Error> {
    let mut last = TurnNumber::NONE;
    loop {
        let turns = history::after(pool, instance, execution, last, TURNS_PER_READ, Page::new()).await?;
        match turns.last() {
            Some(turn) => last = turn.number,
            None => return Ok(last),
        }
    }
}
