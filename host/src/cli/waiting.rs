//! Waiting for an instance to end, and showing it.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    client::{Answer, Client},
    error::CliError,
    output::{Output, clean, short_digest},
    tags,
};
use crate::http::{MAX_WAIT, parse_duration};

/// The pause before the next request when the host has ended a wait early, as it does when there are many.
const PAUSE: Duration = Duration::from_secs(1);

/// How long to wait: indefinitely with `--wait`, or for a time with `--wait=20s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Indefinitely.
    Endless,
    /// For a duration.
    For(Duration),
}

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "endless" {
            Ok(Self::Endless)
        } else {
            parse_duration(text).map(Self::For)
        }
    }
}

/// The fields that are read of an instance.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) instance_id: String,
    pub(super) runtime_status: String,
    pub(super) input: Box<RawValue>,
    pub(super) output: Box<RawValue>,
    pub(super) custom_status: Box<RawValue>,
    pub(super) created_time: String,
    pub(super) last_updated_time: String,
    pub(super) start_at: Option<String>,
    pub(super) failure: Option<Failure>,
    pub(super) stuck: Option<Stuck>,
    pub(super) held: Option<String>,
    pub(super) module_digest: String,
    pub(super) execution: u32,
    pub(super) turns: u32,
    pub(super) parent_instance_id: Option<String>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

/// Why the instance failed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure {
    #[serde(rename = "type")]
    kind: String,
    message: String,
    details: Option<Box<RawValue>>,
    #[serde(default)]
    causes: Vec<Failure>,
}

/// Why the instance is stuck.
#[derive(Debug, Deserialize)]
pub(super) struct Stuck {
    code: String,
    message: String,
}

impl Instance {
    pub(super) fn has_ended(&self) -> bool {
        matches!(
            self.runtime_status.as_str(),
            "Completed" | "Failed" | "Terminated" | "Canceled"
        )
    }
}

/// Polls until the instance has ended (or is stuck, and so will not end by itself), or the time is up.
pub(super) async fn until_ended(client: &Client, id: &str, patience: Patience) -> Result<Answer, CliError> {
    let deadline = match patience {
        Patience::Endless => None,
        Patience::For(time) => Some(Instant::now() + time),
    };
    loop {
        let left = deadline.map_or(MAX_WAIT, |deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = left.min(MAX_WAIT);
        let asked = Instant::now();
        let call = client
            .get(&["instances", id])
            .query("wait", format!("{}ms", wait.as_millis()));
        let answer = call.patience(wait).send().await?;
        let instance: Instance = answer.read()?;
        if instance.has_ended() || instance.stuck.is_some() {
            return Ok(answer);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(CliError::TimedOut(format!(
                "{id:?} has not ended: it is {}",
                instance.runtime_status
            )));
        }
        if asked.elapsed() < wait {
            tokio::time::sleep(PAUSE.min(wait)).await;
        }
    }
}

/// Shows an instance that was awaited. Any outcome but completion is an error.
pub(super) fn show_end(answer: &Answer, output: &Output) -> Result<(), CliError> {
    let instance: Instance = answer.read()?;
    if output.json() {
        output.object(answer.raw()?)?;
    } else {
        show(&instance, output)?;
    }
    if instance.runtime_status == "Completed" {
        Ok(())
    } else {
        Err(CliError::NotCompleted)
    }
}

/// Prints an instance for people.
pub(super) fn show(instance: &Instance, output: &Output) -> Result<(), CliError> {
    let field = |name: &str, value: String| output.line(&format!("{name:<10} {value}"));
    field("Instance", clean(&instance.instance_id))?;
    field("Function", clean(&instance.name))?;
    field("Status", output.status(&instance.runtime_status))?;
    if let Some(start_at) = &instance.start_at {
        field("Starts at", clean(start_at))?;
    }
    if let Some(held) = &instance.held {
        field("Held", clean(held))?;
    }
    if let Some(stuck) = &instance.stuck {
        field("Stuck", format!("{} [{}]", clean(&stuck.message), clean(&stuck.code)))?;
    }
    for (name, value) in [
        ("Progress", &instance.custom_status),
        ("Input", &instance.input),
        ("Output", &instance.output),
    ] {
        if value.get() != "null" {
            field(name, clean(value.get().trim()))?;
        }
    }
    if let Some(failure) = &instance.failure {
        field("Failure", failure.sentence())?;
        for cause in &failure.causes {
            field("Caused by", cause.sentence())?;
        }
    }
    if let Some(parent) = &instance.parent_instance_id {
        field("Parent", clean(parent))?;
    }
    if !instance.tags.is_empty() {
        field("Tags", tags::shown(&instance.tags))?;
    }
    field("Created", clean(&instance.created_time))?;
    field("Updated", clean(&instance.last_updated_time))?;
    field("Module", short_digest(&clean(&instance.module_digest)))?;
    field(
        "Turns",
        format!("{} in execution {}", instance.turns, instance.execution),
    )
}

impl Failure {
    fn sentence(&self) -> String {
        let details = self
            .details
            .as_ref()
            .map(|details| format!(" {}", details.get()))
            .unwrap_or_default();
        clean(&format!("{}: {}{details}", self.kind, self.message))
    }
}
