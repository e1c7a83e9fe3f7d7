//! `windlass move`: moves an instance, or all that match a filter, to the current version of their module.

use std::collections::BTreeMap;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    client::{Client, all_items},
    error::CliError,
    filter::{Filter, check_selection},
    output::{Output, clean, short_digest},
};
use crate::http::MoveDocument;

/// Instances to list in one request.
const PAGE: u32 = 1_000;

/// Arguments of `move`.
#[derive(Debug, Args)]
pub(super) struct Move {
    /// The instance's id
    id: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// All instances
    #[arg(long)]
    all: bool,
    /// Change nothing, and find out which histories fit
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    instance_id: String,
    runtime_status: String,
}

/// What became of many moves.
#[derive(Debug, Default)]
struct Summary {
    /// Moved, or with a dry run: instances that fit.
    moved: u64,
    /// On the current version already.
    current: u64,
    /// Not judged: they have ended in the meantime, or the host could not run them.
    not_judged: u64,
    /// Instances that do not fit, by the difference, each with an example.
    misfits: BTreeMap<String, (u64, String)>,
}

impl Move {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        check_selection(self.id.as_deref(), !self.filter.is_empty(), self.all)?;
        match &self.id {
            Some(id) => self.move_one(id, client, output).await,
            None => self.move_many(client, output).await,
        }
    }

    async fn move_one(&self, id: &str, client: &Client, output: &Output) -> Result<(), CliError> {
        let answer = self.ask(id, client).await?;
        if output.json() {
            return output.value(&json!(answer));
        }
        let (id, from, to) = (clean(id), &answer.from_digest, &answer.to_digest);
        output.line(&if from == to {
            format!("{id} runs on the current version {}", short_digest(to))
        } else if answer.moved {
            format!("moved {id} from version {} to {}", short_digest(from), short_digest(to))
        } else {
            format!("{id} fits version {}", short_digest(to))
        })
    }

    async fn ask(&self, id: &str, client: &Client) -> Result<MoveDocument, CliError> {
        let call = client.call(Method::POST, &["instances", id, "move"]);
        let call = call.query_if("dryRun", self.dry_run.then_some(true));
        call.send().await?.read()
    }

    async fn move_many(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        // Checks the arguments before the first request.
        self.filter.add(client.get(&["instances"]))?;
        let listed = all_items("instances", |cursor| {
            let page = client.get(&["instances"]).query("limit", PAGE);
            let page = page.query_if("cursor", cursor);
            self.filter.add(page).expect("the arguments were checked")
        });
        let mut summary = Summary::default();
        for item in listed.await? {
            let listed: Listed =
                serde_json::from_str(item.get()).map_err(|error| CliError::failed(error.to_string()))?;
            if matches!(
                &*listed.runtime_status,
                "Completed" | "Failed" | "Canceled" | "Terminated"
            ) {
                continue;
            }
            summary.add(&listed.instance_id, self.ask(&listed.instance_id, client).await)?;
        }
        summary.show(self.dry_run, output)
    }
}

impl Summary {
    fn add(&mut self, id: &str, answer: Result<MoveDocument, CliError>) -> Result<(), CliError> {
        match answer {
            Ok(answer) if answer.from_digest == answer.to_digest => self.current += 1,
            Ok(_) => self.moved += 1,
            Err(CliError::Refused(problem)) => match &*problem.code {
                "history-misfit" => {
                    let reason = problem.members.get("reason");
                    let message = reason.and_then(|reason| reason["message"].as_str());
                    let message = message.unwrap_or(&problem.detail).to_owned();
                    let (count, _) = self.misfits.entry(message).or_insert_with(|| (0, id.to_owned()));
                    *count += 1;
                }
                "instance-busy" | "instance-ended" | "unknown-instance" | "unknown-function" => self.not_judged += 1,
                _ => return Err(CliError::Refused(problem)),
            },
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Prints the summary. Fails if an instance does not fit or was not judged.
    fn show(&self, dry_run: bool, output: &Output) -> Result<(), CliError> {
        let moved = if dry_run { "fit" } else { "moved" };
        if output.json() {
            let misfits = self.misfits.iter().map(|(reason, (instances, example))| {
                json!({ "reason": reason, "instances": instances, "example": example })
            });
            output.value(&json!({
                moved: self.moved,
                "current": self.current,
                "notJudged": self.not_judged,
                "misfits": misfits.collect::<Vec<_>>(),
            }))?;
        } else {
            output.line(&format!(
                "{} {moved}, {} on the current version",
                self.moved, self.current
            ))?;
            for (reason, (instances, example)) in &self.misfits {
                let (reason, example) = (clean(reason), clean(example));
                output.line(&format!("{instances} do not fit, such as {example}: {reason}"))?;
            }
            if self.not_judged > 0 {
                output.line(&format!("{} could not be judged; try again", self.not_judged))?;
            }
        }
        match self.misfits.is_empty() && self.not_judged == 0 {
            true => Ok(()),
            false => Err(CliError::NotCompleted),
        }
    }
}
