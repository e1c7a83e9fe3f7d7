//! The rows of a batch as one script.

use super::{
    attempts, completions, events, garbage, heartbeats, history, idempotency, inbox, instances, logs, sizes,
    statement::Script, tags, usage,
};
use crate::store::writer::rows::Rows;

/// The statements that write all rows, in the order that [`Rows`] requires.
pub(super) fn script(rows: &Rows<'_>) -> Script {
    let mut script = Script::default();
    script.add(&instances::CHANGE, &rows.changed);
    script.add(&instances::DELETE, &rows.deleted);
    script.add(&instances::CREATE, &rows.created);
    script.add(&instances::REVIVE, &rows.revived);
    script.add(&sizes::SET, &rows.sized);
    script.add(&sizes::GROW, &rows.growth.rows());
    script.add(&history::APPEND, &rows.turns);
    script.add(&inbox::APPEND, &rows.messages);
    script.add(&inbox::CONSUME, &rows.consumed);
    script.add(&events::APPEND, &rows.events);
    script.add(&events::TAKE, &rows.taken_events);
    script.add(&attempts::APPEND, &rows.attempts);
    script.add(&attempts::DELETE, &rows.pruned);
    script.add(&attempts::FORGET_TO_PRUNE, &rows.pruned_tasks);
    script.add(&heartbeats::PUT, &rows.heartbeats);
    script.add(&completions::PUT, &rows.completions);
    script.add(&logs::APPEND, &rows.lines);
    script.add(&tags::APPEND, &rows.tags);
    script.add(&garbage::NOTE, &rows.garbage);
    script.add(&idempotency::PUT, &rows.keys);
    script.add(&idempotency::ANSWER, &rows.answers);
    script.add(&usage::ADD, &rows.usage.rows());
    script
}
