//! `windlass purge`: removes one ended instance, or all that match a filter, optionally with their sub-orchestrations.

use clap::Args;
use http::Method;

use super::{
    client::Client,
    error::CliError,
    filter::{Filter, check_selection, point_in_time},
    output::Output,
};
use crate::http::Purged;

/// Arguments of `purge`.
#[derive(Debug, Args)]
pub(super) struct Purge {
    /// The instance's id
    id: Option<String>,
    /// All instances that ended before this time, or at least this long ago, for example 7d
    #[arg(long, value_name = "TIME")]
    ended_before: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// All instances that have ended
    #[arg(long)]
    all: bool,
    /// Also purge sub-orchestrations, recursively. One that has not ended keeps its parents from being purged
    #[arg(long)]
    recursive: bool,
    /// Remove nothing, and count the instances that match
    #[arg(long, conflicts_with = "id")]
    dry_run: bool,
}

impl Purge {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let is_filtered = self.ended_before.is_some() || !self.filter.is_empty();
        check_selection(self.id.as_deref(), is_filtered, self.all)?;
        let recursive = self.recursive.then_some(true);
        if let Some(id) = &self.id {
            let call = client.call(Method::DELETE, &["instances", id]);
            let answer = call.query_if("recursive", recursive).send().await?;
            if output.json() {
                return output.object(answer.raw()?);
            }
            let purged: Purged = answer.read()?;
            return output.line(&format!("removed {}", purged.instances_deleted));
        }
        let before = self.ended_before.as_deref().map(point_in_time).transpose()?;
        let (mut sum, mut cursor): (Purged, Option<String>) = (Purged::default(), None);
        loop {
            let call = client.call(Method::DELETE, &["instances"]);
            let call = self
                .filter
                .add(call)?
                .query_if("endedBefore", before.as_deref())
                .query_if("all", self.all.then_some(true))
                .query_if("recursive", recursive)
                .query_if("dryRun", self.dry_run.then_some(true))
                .query_if("cursor", cursor.as_deref());
            let piece: Purged = call.send().await?.read()?;
            cursor = piece.next_cursor.clone();
            sum.add(piece);
            if cursor.is_none() {
                break;
            }
        }
        if output.json() {
            let sum = serde_json::to_value(&sum).map_err(|error| CliError::failed(error.to_string()))?;
            return output.value(&sum);
        }
        match (sum.instances_matched, sum.instances_left) {
            (Some(matched), _) => output.line(&format!("would remove {matched}")),
            (None, Some(left)) if left > 0 => output.line(&format!(
                "removed {}; {left} kept because sub-orchestrations have not ended",
                sum.instances_deleted
            )),
            (None, _) => output.line(&format!("removed {}", sum.instances_deleted)),
        }
    }
}

impl Purged {
    /// Adds the result of another request of the same purge.
    fn add(&mut self, other: Self) {
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0) + more);
            }
        };
        self.instances_deleted += other.instances_deleted;
        add(&mut self.instances_left, other.instances_left);
        add(&mut self.instances_matched, other.instances_matched);
    }
}
