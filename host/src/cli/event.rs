//! `windlass event`: raises an event for an instance.

use clap::Args;
use http::Method;

use super::{
    client::Client,
    error::CliError,
    input,
    output::{Output, clean},
};

/// Arguments of `event`.
#[derive(Debug, Args)]
pub(super) struct Raise {
    /// The instance's id
    id: String,
    /// The event's name
    name: String,
    /// Payload: JSON, @FILE, or @- for standard input [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    payload: Option<String>,
    /// Idempotency key: a repeated request with the same key has no further effect
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Raise {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let payload = input::payload(self.payload.as_deref())?;
        let call = client
            .call(Method::POST, &["instances", &self.id, "events", &self.name])
            .header_if("idempotency-key", self.idempotency_key.as_deref())
            .json(payload);
        call.send().await?;
        if output.json() {
            return Ok(());
        }
        output.line(&format!("raised {} for {}", clean(&self.name), clean(&self.id)))
    }
}
