//! `windlass list`: instances, newest first.

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{client::Client, error::CliError, filter::Filter, output::Output};

/// Maximum number of instances in one request.
const PAGE: u32 = 1_000;

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only sub-orchestrations of this instance
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// At most this many; 0 for all
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    instances: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    instance_id: String,
    runtime_status: String,
    custom_status: Box<RawValue>,
    created_time: String,
    last_updated_time: String,
}

impl List {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let mut left = if self.limit == 0 { u32::MAX } else { self.limit };
        let mut cursor = None;
        let mut rows = Vec::new();
        loop {
            let page = self.page(client, cursor.as_deref(), left.min(PAGE)).await?;
            left = left.saturating_sub(u32::try_from(page.instances.len()).unwrap_or(u32::MAX));
            for instance in &page.instances {
                if output.json() {
                    output.object(instance)?;
                } else {
                    rows.push(row(instance)?);
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() || left == 0 {
                break;
            }
        }
        if output.json() {
            return Ok(());
        }
        if rows.is_empty() {
            return output.line("no instances");
        }
        output.table(
            ["Instance", "Function", "Status", "Progress", "Created", "Updated"],
            rows,
        )?;
        if cursor.is_some() {
            output.line("… and more; raise --limit to see them")
        } else {
            Ok(())
        }
    }

    async fn page(&self, client: &Client, cursor: Option<&str>, limit: u32) -> Result<Page, CliError> {
        let call = client
            .get(&["instances"])
            .query_if("parentInstanceId", self.parent.as_deref())
            .query_if("cursor", cursor)
            .query("limit", limit);
        self.filter.add(call)?.send().await?.read()
    }
}

fn row(instance: &RawValue) -> Result<[String; 6], CliError> {
    let row: Row = serde_json::from_str(instance.get())
        .map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))?;
    let progress = row.custom_status.get().trim();
    let progress: String = if progress == "null" {
        String::new()
    } else {
        progress.chars().take(60).collect()
    };
    Ok([
        row.instance_id,
        row.name,
        row.runtime_status,
        progress,
        row.created_time,
        row.last_updated_time,
    ])
}
