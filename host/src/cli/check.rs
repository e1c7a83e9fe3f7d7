//! `windlass check`: reads a whole database and says what is wrong with it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    output::{Output, clean},
    trouble::Trouble,
};
use crate::{
    config::Settings,
    store::{Error, Store, StoreOptions},
};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Folder of the database; no host may be using it [default: ./windlass-data]
    #[arg(long, env = "WINDLASS_DATA", hide_env = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Check {
    pub(super) async fn run(self, output: &Output) -> Result<(), Trouble> {
        let data = self.data.or(Settings::defaults().data).unwrap_or_default();
        if !data.is_dir() {
            return Err(Trouble::Usage(format!("there is no folder {}", data.display())));
        }
        let problems = check(data).await.map_err(|error| Trouble::failed(chain(&error)))?;
        for problem in &problems {
            if output.json() {
                output.value(&json!({ "problem": problem }))?;
            } else {
                output.line(&clean(problem))?;
            }
        }
        if !problems.is_empty() {
            return Err(Trouble::failed(format!("{} problems found", problems.len())));
        }
        if output.json() {
            Ok(())
        } else {
            output.line("all is well")
        }
    }
}

async fn check(data: PathBuf) -> Result<Vec<String>, Error> {
    let (store, service) = Store::open(&StoreOptions::new(data)).await?;
    let stop = CancellationToken::new();
    let (problems, closed) = tokio::join!(
        async {
            let problems = store.check().await;
            stop.cancel();
            problems
        },
        service.run(stop.clone()),
    );
    closed.and(problems)
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
