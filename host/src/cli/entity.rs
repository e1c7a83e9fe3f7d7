//! `windlass entity`: lists entities, shows one, sends operations, and changes states.

mod state;

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    client::{Client, all_items},
    error::CliError,
    input,
    output::{Output, clean},
};

/// Arguments of `entity`.
#[derive(Debug, Args)]
pub(super) struct Entity {
    #[command(subcommand)]
    command: EntityCommand,
}

#[derive(Debug, Subcommand)]
enum EntityCommand {
    /// List entities, by name and key
    List(List),
    /// Show an entity: its state, its lock and what waits
    Show(Which),
    /// Send a one-way operation
    Signal(Signal),
    /// Call an operation and print its output
    Call(Call),
    /// Delete an entity: sends the operation `delete`, or deletes the state of a stuck one
    Delete(Which),
    /// Replace the state of an entity without its code, for example of a stuck one
    SetState(state::SetState),
    /// Delete the state of an entity without its code
    DeleteState(state::DeleteState),
    /// Release the lock of an entity, although its holder is still in the critical section
    Unlock(Which),
}

#[derive(Debug, Args)]
struct List {
    /// Only entities of this name
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct Which {
    /// The entity's name; letter case does not matter
    name: String,
    /// The entity's key
    // `key` is the id of the option for the API key.
    #[arg(value_name = "KEY")]
    entity_key: String,
}

#[derive(Debug, Args)]
struct Signal {
    #[command(flatten)]
    which: Which,
    /// The operation
    operation: String,
    /// Input: JSON, @FILE, or @- for standard input [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Apply it at this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    at: Option<String>,
    /// Apply it after this time, for example 90m
    #[arg(long, value_name = "DURATION")]
    after: Option<String>,
    /// Idempotency key: a repeated request with the same key has no further effect
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
struct Call {
    #[command(flatten)]
    which: Which,
    /// The operation
    operation: String,
    /// Input: JSON, @FILE, or @- for standard input [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Idempotency key: a repeated request with the same key applies nothing again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    key: String,
    state: Box<RawValue>,
    version: u64,
    etag: String,
    waiting: u64,
    last_operation_time: String,
    lock: Option<Lock>,
    last_failure: Option<FailedOperation>,
    stuck: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    instance_id: String,
    since: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailedOperation {
    operation: String,
    time: String,
    failure: Failure,
}

#[derive(Debug, Deserialize)]
struct Failure {
    r#type: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    output: Option<Box<RawValue>>,
    failure: Option<Failure>,
}

impl Entity {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        match self.command {
            EntityCommand::List(list) => list.run(client, output).await,
            EntityCommand::Show(which) => which.show(client, output).await,
            EntityCommand::Signal(signal) => signal.run(client, output).await,
            EntityCommand::Call(call) => call.run(client, output).await,
            EntityCommand::Delete(which) => {
                let call = client.call(Method::DELETE, &["entities", &which.name, &which.entity_key]);
                call.send().await?;
                which.asked("delete itself", output)
            }
            EntityCommand::SetState(set) => set.run(client, output).await,
            EntityCommand::DeleteState(delete) => delete.run(client, output).await,
            EntityCommand::Unlock(which) => {
                let call = client.call(Method::POST, &["entities", &which.name, &which.entity_key, "unlock"]);
                call.send().await?;
                which.asked("release its lock", output)
            }
        }
    }
}

impl List {
    async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let name = self.name.as_deref();
        let page = |cursor| {
            client
                .get(&["entities"])
                .query_if("name", name)
                .query_if("cursor", cursor)
        };
        let entities = all_items("entities", page).await?;
        if output.json() {
            return entities.iter().try_for_each(|entity| output.object(entity));
        }
        if entities.is_empty() {
            return output.line("no entities");
        }
        let rows = entities.iter().map(|entity| {
            let row = read(entity)?;
            Ok([
                row.name,
                row.key,
                shortened(&row.state),
                row.version.to_string(),
                row.waiting.to_string(),
                row.lock.map(|lock| lock.instance_id).unwrap_or_default(),
                row.last_operation_time,
            ])
        });
        let rows = rows.collect::<Result<Vec<_>, CliError>>()?;
        output.table(
            ["Entity", "Key", "State", "Version", "Waiting", "Locked by", "Updated"],
            rows,
        )
    }
}

impl Which {
    async fn show(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        let answer = client.get(&["entities", &self.name, &self.entity_key]).send().await?;
        if output.json() {
            return output.object(answer.raw()?);
        }
        let row = read(answer.raw()?)?;
        output.line(&format!("{} {}", clean(&row.name), clean(&row.key)))?;
        output.line(&format!("state    {}", clean(row.state.get())))?;
        output.line(&format!("version  {}", row.version))?;
        output.line(&format!("updated  {}", row.last_operation_time))?;
        if row.waiting > 0 {
            output.line(&format!("waiting  {}", row.waiting))?;
        }
        if let Some(lock) = row.lock {
            output.line(&format!(
                "locked   by {} since {}",
                clean(&lock.instance_id),
                lock.since
            ))?;
        }
        if let Some(failed) = row.last_failure {
            output.line(&format!(
                "failed   {} at {}: {}: {}",
                clean(&failed.operation),
                failed.time,
                clean(&failed.failure.r#type),
                clean(&failed.failure.message)
            ))?;
        }
        match row.stuck {
            Some(stuck) => output.line(&format!("stuck    {}", clean(&stuck))),
            None => Ok(()),
        }
    }

    fn asked(&self, what: &str, output: &Output) -> Result<(), CliError> {
        match output.json() {
            true => Ok(()),
            false => output.line(&format!(
                "asked {} {} to {what}",
                clean(&self.name),
                clean(&self.entity_key)
            )),
        }
    }
}

impl Signal {
    async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let input = input::payload(self.input.as_deref())?;
        let Which { name, entity_key: key } = &self.which;
        let call = client
            .call(Method::POST, &["entities", name, key, "signals", &self.operation])
            .query_if("at", self.at.as_deref())
            .query_if("after", self.after.as_deref())
            .header_if("idempotency-key", self.idempotency_key.as_deref())
            .json(input);
        call.send().await?;
        match output.json() {
            true => Ok(()),
            false => output.line(&format!(
                "signalled {} to {} {}",
                clean(&self.operation),
                clean(name),
                clean(key)
            )),
        }
    }
}

impl Call {
    async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let input = input::payload(self.input.as_deref())?;
        let Which { name, entity_key: key } = &self.which;
        let call = client
            .call(Method::POST, &["entities", name, key, "calls", &self.operation])
            .header_if("idempotency-key", self.idempotency_key.as_deref())
            .patience(std::time::Duration::from_secs(60))
            .json(input);
        let answer = call.send().await?;
        let Ok(outcome) = answer.read::<Outcome>() else {
            return output.line("the operation is stored, but was not applied in time");
        };
        if output.json() {
            output.object(answer.raw()?)?;
        } else if let Some(result) = &outcome.output {
            output.line(&clean(result.get()))?;
        }
        match outcome.failure {
            Some(Failure { r#type, message }) => Err(CliError::failed(format!(
                "the operation failed: {}: {}",
                clean(&r#type),
                clean(&message)
            ))),
            None => Ok(()),
        }
    }
}

fn read(entity: &RawValue) -> Result<Row, CliError> {
    serde_json::from_str(entity.get()).map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))
}

fn shortened(state: &RawValue) -> String {
    state.get().trim().chars().take(60).collect()
}
