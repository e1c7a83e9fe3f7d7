//! `windlass logs`: the log of an instance.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    client::Client,
    error::CliError,
    output::{Output, clean},
    waiting::Instance,
};

/// How often new lines are requested.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The instance's id
    id: String,
    /// Only lines of this level or above: trace, debug, info, warn, error
    #[arg(long)]
    level: Option<String>,
    /// Follow the log until the instance ends
    #[arg(long, short)]
    follow: bool,
}

#[derive(Debug, Deserialize)]
struct Page {
    lines: Vec<Box<RawValue>>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Line {
    time: String,
    level: String,
    message: String,
    task: Option<u32>,
    attempt: Option<u32>,
}

impl Logs {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let mut after = None;
        loop {
            // Queried before the lines, so that those of the last turn are not missed.
            let ended = !self.follow
                || client
                    .get(&["instances", &self.id])
                    .send()
                    .await?
                    .read::<Instance>()?
                    .has_ended();
            loop {
                let page = self.page(client, after.as_deref()).await?;
                page.lines.iter().try_for_each(|line| show(line, output))?;
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            if ended {
                return Ok(());
            }
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        }
    }

    async fn page(&self, client: &Client, after: Option<&str>) -> Result<Page, CliError> {
        let call = client.get(&["instances", &self.id, "logs"]);
        call.query_if("level", self.level.as_deref())
            .query_if("after", after)
            .send()
            .await?
            .read()
    }
}

fn show(line: &RawValue, output: &Output) -> Result<(), CliError> {
    if output.json() {
        return output.object(line);
    }
    let line: Line = serde_json::from_str(line.get())
        .map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))?;
    let source = match (line.task, line.attempt) {
        (Some(task), Some(attempt)) => format!("task {task}.{attempt} "),
        (Some(task), None) => format!("task {task} "),
        _ => String::new(),
    };
    // A line of the log may contain line breaks; what follows them is indented, so that it cannot pose as another line.
    let message = line.message.split('\n').map(clean).collect::<Vec<_>>().join("\n    ");
    output.line(&format!(
        "{} {:<5} {source}{message}",
        clean(&line.time),
        output.status(&line.level)
    ))
}
