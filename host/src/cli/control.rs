//! `windlass terminate`, `cancel`, `suspend`, `resume` and `rewind`, of one instance or of all that match a filter.

use clap::Args;
use http::Method;
use serde_json::json;

use super::{
    client::Client,
    error::CliError,
    filter::{Filter, check_selection},
    output::{Output, clean},
};
use crate::http::BulkDocument;

/// Arguments of these commands.
#[derive(Debug, Args)]
pub(super) struct Control {
    /// The instance's id
    id: Option<String>,
    /// Reason to record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// All instances
    #[arg(long)]
    all: bool,
    /// Change nothing, and count the instances that match
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
}

impl Control {
    pub(super) async fn run(self, what: &str, client: &Client, output: &Output) -> Result<(), CliError> {
        check_selection(self.id.as_deref(), !self.filter.is_empty(), self.all)?;
        let Some(id) = &self.id else {
            return self.control_many(what, client, output).await;
        };
        let call = client.call(Method::POST, &["instances", id, what]);
        call.query_if("reason", self.reason.as_deref()).send().await?;
        if output.json() {
            return Ok(());
        }
        output.line(&format!("asked {} to {what}", clean(id)))
    }

    async fn control_many(&self, what: &str, client: &Client, output: &Output) -> Result<(), CliError> {
        let (mut instances, mut cursor) = (0, None);
        loop {
            let call = client.call(Method::POST, &["bulk", what]);
            let call = self
                .filter
                .add(call)?
                .query_if("reason", self.reason.as_deref())
                .query_if("all", self.all.then_some(true))
                .query_if("dryRun", self.dry_run.then_some(true))
                .query_if("cursor", cursor.as_deref());
            let done: BulkDocument = call.send().await?.read()?;
            instances += done.instances;
            cursor = done.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        if output.json() {
            return output.value(&json!({ "instances": instances }));
        }
        let asked = if self.dry_run { "would ask" } else { "asked" };
        output.line(&format!("{asked} {instances} instances to {what}"))
    }
}
