//! `windlass terminate`, `suspend` and `resume`.

use clap::Args;
use http::Method;

use super::{
    client::Client,
    error::CliError,
    output::{Output, clean},
};

/// Arguments of these commands.
#[derive(Debug, Args)]
pub(super) struct Control {
    /// The instance's id
    id: String,
    /// Reason to record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Control {
    pub(super) async fn run(self, what: &str, client: &Client, output: &Output) -> Result<(), CliError> {
        let call = client.call(Method::POST, &["instances", &self.id, what]);
        call.query_if("reason", self.reason.as_deref()).send().await?;
        if output.json() {
            return Ok(());
        }
        output.line(&format!("asked {} to {what}", clean(&self.id)))
    }
}
