//! `windlass broadcast`: raises an event for many instances, and shows how far that is.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::{
    client::{Client, all_items},
    error::CliError,
    filter::{Filter, check_selection},
    input,
    output::{Output, clean},
};
use crate::http::{BroadcastDocument, DryRunDocument};

/// How often a broadcast is asked for while waiting for its end.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `broadcast`.
#[derive(Debug, Args)]
pub(super) struct Broadcast {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Raise an event for all instances that match a filter, each exactly once
    Raise(Box<Raise>),
    /// List broadcasts, by id; those that have ended for seven days
    List,
    /// Show how far a broadcast is
    Show(Show),
    /// Cancel a broadcast; the events that it has raised stay raised
    Cancel {
        /// The broadcast's id
        id: String,
    },
}

#[derive(Debug, Args)]
struct Raise {
    /// The event's name
    event: String,
    /// Payload: JSON, @FILE, or @- for standard input [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    payload: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// All instances
    #[arg(long)]
    all: bool,
    /// Raise nothing, and count the instances that match
    #[arg(long, conflicts_with_all = ["idempotency_key", "wait"])]
    dry_run: bool,
    /// Id of the broadcast: a repeated request with the same key has no further effect
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait until all events are raised
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// The broadcast's id
    id: String,
    /// Wait until all events are raised
    #[arg(long)]
    wait: bool,
}

impl Broadcast {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        match self.command {
            Command::Raise(raise) => raise.run(client, output).await,
            Command::List => list(client, output).await,
            Command::Show(Show { id, wait }) => show(client, &id, wait, output).await,
            Command::Cancel { id } => {
                let call = client.call(Method::POST, &["broadcasts", &id, "cancel"]);
                let broadcast: BroadcastDocument = call.send().await?.read()?;
                print(&broadcast, output)
            }
        }
    }
}

impl Raise {
    async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        check_selection(None, !self.filter.is_empty(), self.all)?;
        if self.dry_run {
            return self.count(client, output).await;
        }
        let payload = input::payload(self.payload.as_deref())?;
        let call = client.call(Method::POST, &["broadcasts"]);
        let call = self
            .filter
            .add(call)?
            .query("event", &self.event)
            .query_if("all", self.all.then_some(true))
            .header_if("idempotency-key", self.idempotency_key.as_deref())
            .json(payload);
        let broadcast: BroadcastDocument = call.send().await?.read()?;
        if self.wait {
            return show(client, &broadcast.id, true, output).await;
        }
        print(&broadcast, output)
    }

    async fn count(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        let (mut instances, mut cursor) = (0, None);
        loop {
            let call = client.call(Method::POST, &["broadcasts"]);
            let call = self
                .filter
                .add(call)?
                .query("event", &self.event)
                .query_if("all", self.all.then_some(true))
                .query("dryRun", true)
                .query_if("cursor", cursor.as_deref());
            let counted: DryRunDocument = call.send().await?.read()?;
            instances += counted.instances;
            cursor = counted.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        if output.json() {
            return output.value(&json!({ "instances": instances }));
        }
        output.line(&format!("would raise {} for {instances} instances", clean(&self.event)))
    }
}

async fn list(client: &Client, output: &Output) -> Result<(), CliError> {
    let page = |cursor| client.get(&["broadcasts"]).query_if("cursor", cursor);
    let broadcasts = all_items("broadcasts", page).await?;
    if output.json() {
        return broadcasts.iter().try_for_each(|broadcast| output.object(broadcast));
    }
    if broadcasts.is_empty() {
        return output.line("no broadcasts");
    }
    let rows = broadcasts.iter().map(|broadcast| {
        let read = serde_json::from_str::<BroadcastDocument>(broadcast.get());
        let row = read.map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))?;
        Ok([
            row.id,
            row.event,
            row.status,
            row.raised.to_string(),
            row.skipped.to_string(),
            row.created_time,
        ])
    });
    let rows = rows.collect::<Result<Vec<_>, CliError>>()?;
    output.table(["Broadcast", "Event", "Status", "Raised", "Skipped", "Created"], rows)
}

async fn show(client: &Client, id: &str, wait: bool, output: &Output) -> Result<(), CliError> {
    loop {
        let broadcast: BroadcastDocument = client.get(&["broadcasts", id]).send().await?.read()?;
        if !wait || broadcast.finished_time.is_some() {
            return print(&broadcast, output);
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

fn print(broadcast: &BroadcastDocument, output: &Output) -> Result<(), CliError> {
    if output.json() {
        return output.value(&json!(broadcast));
    }
    output.line(&format!(
        "broadcast {} of {}: {}, raised for {} instances, skipped {}",
        clean(&broadcast.id),
        clean(&broadcast.event),
        clean(&broadcast.status.to_lowercase()),
        broadcast.raised,
        broadcast.skipped
    ))?;
    match &broadcast.problem {
        Some(problem) => output.line(&format!("problem: {}", clean(problem))),
        None => Ok(()),
    }
}
