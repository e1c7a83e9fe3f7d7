//! `windlass status`: shows an instance, its history, or its changes.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    client::{Answer, Client},
    error::CliError,
    output::{Output, clean},
    waiting::{self, Instance},
    waiting_for,
};

/// How often a watched instance is polled.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The instance's id
    id: String,
    /// Show the turns of the current execution
    #[arg(long)]
    history: bool,
    /// Show what the instance waits for: activities, sub-orchestrations, timers, events, entities
    #[arg(long)]
    waiting: bool,
    /// Show each change until the instance ends; the exit code reports the outcome
    #[arg(long, conflicts_with_all = ["history", "waiting"])]
    watch: bool,
}

impl Status {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        if self.watch {
            return watch(client, &self.id, output).await;
        }
        let call = client.get(&["instances", &self.id]);
        let call = if self.history {
            call.query("history", true)
        } else {
            call
        };
        let call = if self.waiting {
            call.query("waiting", true)
        } else {
            call
        };
        let answer = call.send().await?;
        if output.json() {
            return output.object(answer.raw()?);
        }
        waiting::show(&answer.read()?, output)?;
        if self.waiting {
            waiting_for::show(&answer, output)?;
        }
        if self.history {
            show_history(client, &self.id, answer, output).await
        } else {
            Ok(())
        }
    }
}

async fn watch(client: &Client, id: &str, output: &Output) -> Result<(), CliError> {
    let mut shown = String::new();
    loop {
        let answer = client.get(&["instances", id]).send().await?;
        let instance: Instance = answer.read()?;
        if instance.has_ended() || instance.stuck.is_some() {
            return waiting::show_end(&answer, output);
        }
        let progress = Some(clean(instance.custom_status.get().trim())).filter(|progress| progress != "null");
        let line = format!(
            "{} {}",
            output.status(&instance.runtime_status),
            progress.unwrap_or_default()
        );
        if line != shown {
            if output.json() {
                output.object(answer.raw()?)?;
            } else {
                output.line(&format!("{}  {}", clean(&instance.last_updated_time), line.trim_end()))?;
            }
            shown = line;
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct History {
    #[serde(default)]
    history: Vec<Turn>,
    #[serde(default)]
    attempts: Vec<Map<String, Value>>,
    #[serde(default)]
    attempt_totals: Vec<AttemptTotal>,
    history_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct AttemptTotal {
    task: u32,
    total: usize,
}

#[derive(Debug, Deserialize)]
struct Turn {
    turn: u32,
    time: String,
    arrivals: Vec<Map<String, Value>>,
    decisions: Vec<Map<String, Value>>,
}

/// Prints one row for each arrival and decision, of all pages.
async fn show_history(client: &Client, id: &str, first: Answer, output: &Output) -> Result<(), CliError> {
    let mut page: History = first.read()?;
    let (mut rows, mut attempts) = (Vec::new(), Vec::new());
    loop {
        rows.extend(page.history.iter().flat_map(turn_rows));
        attempts.extend(attempt_rows(&page));
        let Some(cursor) = page.history_cursor else { break };
        let call = client
            .get(&["instances", id])
            .query("history", true)
            .query("historyCursor", cursor);
        page = call.send().await?.read()?;
    }
    output.line("")?;
    output.table(["Turn", "Time", "", "What"], rows)?;
    if !attempts.is_empty() {
        output.line("")?;
        output.table(["Attempts without a final outcome"], attempts)?;
    }
    Ok(())
}

/// One row for each attempt, and one for the attempts of a task that are not shown.
fn attempt_rows(page: &History) -> Vec<[String; 1]> {
    let of_task = |total: &AttemptTotal| {
        let task = Value::from(total.task);
        let shown: Vec<_> = page
            .attempts
            .iter()
            .filter(|attempt| attempt.get("task") == Some(&task))
            .collect();
        let left_out = total.total.saturating_sub(shown.len());
        let left_out = (left_out > 0).then(|| [format!("task {task}: {left_out} earlier attempts are not shown")]);
        left_out
            .into_iter()
            .chain(shown.into_iter().map(|attempt| [fields(attempt)]))
            .collect::<Vec<_>>()
    };
    page.attempt_totals.iter().flat_map(of_task).collect()
}

fn turn_rows(turn: &Turn) -> Vec<[String; 4]> {
    let all = turn
        .arrivals
        .iter()
        .map(|one| ("→", one))
        .chain(turn.decisions.iter().map(|one| ("←", one)));
    let row = |(index, (arrow, what)): (usize, (&str, &Map<String, Value>))| {
        let first = |text: String| if index == 0 { text } else { String::new() };
        [
            first(turn.turn.to_string()),
            first(turn.time.clone()),
            arrow.to_owned(),
            fields(what),
        ]
    };
    all.enumerate().map(row).collect()
}

/// Formats fields as `TaskCompleted task=1 output=7`, without empty ones.
fn fields(object: &Map<String, Value>) -> String {
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let mut text = kind.to_owned();
    for (name, value) in object.iter().filter(|(name, _)| *name != "type") {
        let shown = match value {
            Value::Null => continue,
            Value::Array(items) if items.is_empty() => continue,
            Value::Object(members) if members.is_empty() => continue,
            Value::String(text) if !text.contains(' ') => text.clone(),
            value => value.to_string(),
        };
        text = format!("{text} {name}={shown}");
    }
    text.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_history_entry_is_one_line() {
        let entry = json!({ "type": "CallActivity", "task": 1, "name": "charge", "input": { "a": 1 }, "options": {} });
        let line = fields(entry.as_object().unwrap());
        assert!(line.starts_with("CallActivity "), "{line}");
        for part in ["task=1", "name=charge", "input={\"a\":1}"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("options"), "{line}");
    }
}
