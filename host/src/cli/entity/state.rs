//! `windlass entity set-state` and `delete-state`: change the state of an entity without its code.

use clap::Args;
use http::Method;
use serde::Deserialize;

use super::{
    super::{
        client::{Call, Client},
        error::CliError,
        input,
        output::{Output, clean},
    },
    Which, read,
};

#[derive(Debug, Args)]
pub(super) struct SetState {
    #[command(flatten)]
    which: Which,
    /// The new state: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON|@FILE")]
    state: String,
    #[command(flatten)]
    replaces: Replaces,
    /// Only if the entity has no state; creates the entity if it does not exist
    #[arg(long, conflicts_with_all = ["version", "force"])]
    create: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeleteState {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    replaces: Replaces,
}

/// Which state may be replaced.
#[derive(Debug, Args)]
struct Replaces {
    /// Only if the state still has this version, which `entity show` prints
    #[arg(long, value_name = "N", conflicts_with = "force")]
    version: Option<u64>,
    /// Whatever its version is, also if operations are applied at the same time
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Deserialize)]
struct Changed {
    version: u64,
}

impl SetState {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let state = input::payload(Some(&self.state))?;
        let call = self.which.state(client, Method::PUT).json(state);
        let call = match self.create {
            true => call.header_if("if-none-match", Some("*")),
            false => self.replaces.add_to(call, &self.which, client).await?,
        };
        self.which.changed(call, "was set", output).await
    }
}

impl DeleteState {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let call = self.which.state(client, Method::DELETE);
        let call = self.replaces.add_to(call, &self.which, client).await?;
        self.which.changed(call, "was deleted", output).await
    }
}

impl Replaces {
    /// Adds the precondition to a request.
    async fn add_to(&self, call: Call, which: &Which, client: &Client) -> Result<Call, CliError> {
        if self.force {
            return Ok(call.header_if("if-match", Some("*")));
        }
        let Some(version) = self.version else {
            return Err(CliError::failed(
                "pass --version with the version that `windlass entity show` prints, or --force",
            ));
        };
        let Which { name, entity_key: key } = which;
        let answer = client.get(&["entities", name, key]).send().await?;
        let found = read(answer.raw()?)?;
        if found.version != version {
            return Err(CliError::failed(format!(
                "the state of {} {} has version {}, not {version}; nothing was changed",
                clean(name),
                clean(key),
                found.version
            )));
        }
        Ok(call.header_if("if-match", Some(&found.etag)))
    }
}

impl Which {
    fn state(&self, client: &Client, method: Method) -> Call {
        client.call(method, &["entities", &self.name, &self.entity_key, "state"])
    }

    /// Sends a change, and says what came of it.
    async fn changed(&self, call: Call, what: &str, output: &Output) -> Result<(), CliError> {
        let answer = call.patience(std::time::Duration::from_secs(60)).send().await?;
        let Ok(changed) = answer.read::<Changed>() else {
            return output.line("the request is stored, but was not applied in time");
        };
        if output.json() {
            return output.object(answer.raw()?);
        }
        output.line(&format!(
            "the state of {} {} {what}; its version is now {}",
            clean(&self.name),
            clean(&self.entity_key),
            changed.version
        ))
    }
}
