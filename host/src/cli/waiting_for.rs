//! Shows what an instance waits for.

use serde::Deserialize;

use super::{
    client::Answer,
    error::CliError,
    output::{Output, clean},
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    waiting_for: Option<WaitingFor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WaitingFor {
    complete: bool,
    activities: Described<Call>,
    sub_orchestrations: Described<Call>,
    timers: Described<Timer>,
    events: Described<Event>,
    /// Missing in answers of older hosts.
    #[serde(default)]
    cancellation: Described<Cancellation>,
    entity_calls: Described<EntityCall>,
    critical_section: Option<Section>,
}

#[derive(Debug, Deserialize)]
struct Described<T> {
    total: usize,
    first: Vec<T>,
}

impl<T> Default for Described<T> {
    fn default() -> Self {
        Self {
            total: 0,
            first: Vec::new(),
        }
    }
}

/// An activity call or a sub-orchestration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    name: String,
    state: Option<String>,
    instance_id: Option<String>,
    runtime_status: Option<String>,
    since: String,
    attempt: u32,
    last_failure: Option<Failure>,
    next_attempt_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    r#type: String,
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timer {
    fires_at: String,
}

#[derive(Debug, Deserialize)]
struct Event {
    name: String,
    since: String,
}

#[derive(Debug, Deserialize)]
struct Cancellation {
    since: String,
}

#[derive(Debug, Deserialize)]
struct Entity {
    name: String,
    key: String,
}

#[derive(Debug, Deserialize)]
struct EntityCall {
    entity: Entity,
    operation: String,
    since: String,
}

#[derive(Debug, Deserialize)]
struct Section {
    state: String,
    since: String,
    entities: Described<Entity>,
}

/// Prints one line for each task.
pub(super) fn show(answer: &Answer, output: &Output) -> Result<(), CliError> {
    let Document { waiting_for } = answer.read()?;
    let Some(waiting) = waiting_for else {
        return Ok(());
    };
    output.line("")?;
    if !waiting.complete {
        return output.line("What it waits for is not known: its history is too long for a query.");
    }
    let rows = rows(&waiting);
    if rows.is_empty() {
        return output.line("It waits for no task.");
    }
    output.table(["Waits for", "Since", "What"], rows)
}

fn rows(waiting: &WaitingFor) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    add(&mut rows, "activity", &waiting.activities, call);
    add(&mut rows, "sub-orchestration", &waiting.sub_orchestrations, call);
    add(&mut rows, "timer", &waiting.timers, |timer| {
        (String::new(), format!("fires at {}", timer.fires_at))
    });
    add(&mut rows, "event", &waiting.events, |event| {
        (event.since.clone(), event.name.clone())
    });
    add(&mut rows, "cancellation", &waiting.cancellation, |wait| {
        (wait.since.clone(), String::new())
    });
    add(&mut rows, "entity", &waiting.entity_calls, |call| {
        let what = format!("{} of {}", call.operation, entity(&call.entity));
        (call.since.clone(), what)
    });
    if let Some(Section { state, since, entities }) = &waiting.critical_section {
        add(&mut rows, "locks", entities, |one| {
            (since.clone(), format!("{} ({state})", entity(one)))
        });
    }
    rows
}

/// Adds a row for each described task, and one for those that are not described.
fn add<T>(rows: &mut Vec<[String; 3]>, kind: &str, of: &Described<T>, shown: impl Fn(&T) -> (String, String)) {
    for one in &of.first {
        let (since, what) = shown(one);
        rows.push([kind.to_owned(), clean(&since), clean(&what)]);
    }
    let others = of.total.saturating_sub(of.first.len());
    if others > 0 {
        rows.push([kind.to_owned(), String::new(), format!("and {others} more")]);
    }
}

fn call(call: &Call) -> (String, String) {
    let mut what = call.name.clone();
    for part in [&call.instance_id, &call.state, &call.runtime_status]
        .into_iter()
        .flatten()
    {
        what = format!("{what}, {part}");
    }
    if call.attempt > 1 {
        what = format!("{what}, attempt {}", call.attempt);
    }
    if let Some(next) = &call.next_attempt_at {
        what = format!("{what} at {next}");
    }
    if let Some(failure) = &call.last_failure {
        what = format!("{what}; last failure: {}: {}", failure.r#type, failure.message);
    }
    (call.since.clone(), what)
}

fn entity(entity: &Entity) -> String {
    format!("{}/{}", entity.name, entity.key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_task_is_one_row_and_those_left_out_are_counted() {
        let none = json!({ "total": 0, "first": [] });
        let document = json!({
            "complete": true,
            "activities": { "total": 3, "first": [{
                "name": "charge", "state": "backingOff", "since": "T1", "attempt": 2, "nextAttemptAt": "T2",
                "lastFailure": { "type": "Declined", "message": "no" },
            }] },
            "subOrchestrations": none, "timers": { "total": 1, "first": [{ "firesAt": "T3" }] },
            "events": { "total": 1, "first": [{ "name": "Approval", "since": "T1" }] },
            "cancellation": { "total": 1, "first": [{ "task": 9, "since": "T4" }] },
            "entityCalls": none,
            "criticalSection": {
                "state": "waiting", "since": "T1",
                "entities": { "total": 1, "first": [{ "name": "account", "key": "a" }] },
            },
        });
        let rows = rows(&serde_json::from_value(document).unwrap());
        let expected = [
            [
                "activity",
                "T1",
                "charge, backingOff, attempt 2 at T2; last failure: Declined: no",
            ],
            ["activity", "", "and 2 more"],
            ["timer", "", "fires at T3"],
            ["event", "T1", "Approval"],
            ["cancellation", "T4", ""],
            ["locks", "T1", "account/a (waiting)"],
        ];
        assert_eq!(rows, expected.map(|row| row.map(str::to_owned)));
    }
}
