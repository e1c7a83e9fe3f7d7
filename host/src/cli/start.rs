//! `windlass start`: starts an orchestration, and can wait for its result.

use clap::Args;
use http::Method;

use super::{
    client::{Call, Client},
    error::CliError,
    input,
    output::{Output, clean},
    tags,
    waiting::{self, Patience},
};
use crate::{http::InstanceLinks, model::Tag};

/// Arguments of `start`.
#[derive(Debug, Args)]
pub(super) struct Start {
    /// The orchestration's name
    name: String,
    /// Id of the new instance; random if omitted
    #[arg(long)]
    id: Option<String>,
    /// Input: JSON, @FILE, or @- for standard input [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Tag by which it can be found; may be given up to 16 times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tags::parse)]
    tags: Vec<Tag>,
    /// Start it at this time, for example 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Start it after this time, for example 90m
    #[arg(long, value_name = "DURATION", conflicts_with = "at")]
    after: Option<String>,
    /// Wait until the instance ends, or for at most this time, and show it
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "endless")]
    wait: Option<Patience>,
    /// Idempotency key: a repeated start with the same key gets the answer of the first
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Start {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let input = input::payload(self.input.as_deref())?;
        let call = client
            .call(Method::POST, &["orchestrations", &self.name])
            .query_if("instanceId", self.id.as_deref())
            .query_if("startAt", self.at.as_deref())
            .query_if("startAfter", self.after.as_deref())
            .header_if("idempotency-key", self.idempotency_key.as_deref())
            .json(input);
        show_start(tags::add(&self.tags, call), self.wait, client, output).await
    }
}

/// Sends a request that starts an instance and shows its id, or waits for its end and shows that.
pub(super) async fn show_start(
    call: Call,
    wait: Option<Patience>,
    client: &Client,
    output: &Output,
) -> Result<(), CliError> {
    let answer = call.send().await?;
    let links: InstanceLinks = answer.read()?;
    let Some(patience) = wait else {
        if output.json() {
            return output.object(answer.raw()?);
        }
        return output.line(&format!("started {}", clean(&links.id)));
    };
    if !output.json() {
        // So that a user who interrupts the command can query the instance later.
        eprintln!("started {}", clean(&links.id));
    }
    waiting::show_end(&waiting::until_ended(client, &links.id, patience).await?, output)
}
