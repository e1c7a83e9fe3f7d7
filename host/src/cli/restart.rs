//! `windlass restart`: runs an instance again, and can wait for its result.

use clap::Args;
use http::Method;

use super::{client::Client, error::CliError, output::Output, start, waiting::Patience};

/// Arguments of `restart`.
#[derive(Debug, Args)]
pub(super) struct Restart {
    /// The instance's id
    id: String,
    /// Start the new instance under a random id; the old one stays
    #[arg(long)]
    new_id: bool,
    /// Start the new instance under this id; the old one stays
    #[arg(long, value_name = "ID", conflicts_with = "new_id")]
    r#as: Option<String>,
    /// Wait until the new instance ends, or for at most this time, and show it
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "endless")]
    wait: Option<Patience>,
    /// Idempotency key: a repeated restart with the same key gets the answer of the first
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Restart {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let call = client
            .call(Method::POST, &["instances", &self.id, "restart"])
            .query_if("newId", self.new_id.then_some(true))
            .query_if("instanceId", self.r#as.as_deref())
            .header_if("idempotency-key", self.idempotency_key.as_deref());
        start::show_start(call, self.wait, client, output).await
    }
}
