//! `windlass check`: verifies a whole database and reports problems.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    error::CliError,
    output::{Output, clean},
};
use crate::{
    clock::SystemClock,
    config::Settings,
    engine::{
        catalogue::Catalogue,
        verify::{Verified, replay_everything},
    },
    memory::Memory,
    sandbox::{Compiler, Sandbox, SandboxOptions},
    store::{Store, StoreOptions},
};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Folder of the database; no host may be using it [default: ./windlass-data]
    #[arg(long, env = "WINDLASS_DATA", hide_env = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Also replay the history of every instance against the module it runs on
    #[arg(long)]
    replay: bool,
}

impl Check {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let data = self.data.or(Settings::defaults().data).unwrap_or_default();
        if !data.is_dir() {
            return Err(CliError::Usage(format!("there is no folder {}", data.display())));
        }
        let (problems, verified) = Box::pin(check(data, self.replay))
            .await
            .map_err(|error| CliError::failed(chain(&*error)))?;
        for problem in &problems {
            if output.json() {
                output.value(&json!({ "problem": problem }))?;
            } else {
                output.line(&clean(problem))?;
            }
        }
        if !problems.is_empty() {
            return Err(CliError::failed(format!("{} problems found", problems.len())));
        }
        match (output.json(), verified) {
            (true, None) => Ok(()),
            (true, Some(verified)) => output.value(&json!({
                "historiesReplayed": verified.histories,
                "turnsReplayed": verified.turns,
                "historiesWithoutModule": verified.without_module,
                "entitiesRead": verified.entities,
            })),
            (false, None) => output.line("no problems found"),
            (false, Some(verified)) => output.line(&format!("no problems found; {}", replayed(&verified))),
        }
    }
}

fn replayed(verified: &Verified) -> String {
    let Verified {
        histories,
        turns,
        without_module,
        entities,
        ..
    } = verified;
    let mut text = format!("replayed {histories} histories with {turns} turns");
    if *entities > 0 {
        text += &format!(", read {entities} entities");
    }
    if *without_module > 0 {
        text += &format!(", skipped {without_module} of ended instances whose modules are gone");
    }
    text
}

type Problems = (Vec<String>, Option<Verified>);

async fn check(data: PathBuf, replay: bool) -> Result<Problems, Box<dyn std::error::Error + Send + Sync>> {
    let compiled = data.join("compiled");
    let (store, service) = Store::open(&StoreOptions::new(data)).await?;
    let stop = CancellationToken::new();
    let work = async {
        let found = find_problems(&store, compiled, replay).await;
        stop.cancel();
        found
    };
    let (found, closed) = tokio::join!(work, service.run(stop.clone()));
    closed?;
    found
}

async fn find_problems(
    store: &Store,
    compiled: PathBuf,
    replay: bool,
) -> Result<Problems, Box<dyn std::error::Error + Send + Sync>> {
    let mut problems = store.check().await?;
    if !replay {
        return Ok((problems, None));
    }
    let mut options = SandboxOptions::new(compiled);
    options.compiler = Compiler::child(std::env::current_exe()?);
    let sandbox = Sandbox::new(options)?;
    let catalogue = Catalogue::open(store.clone(), sandbox, Arc::new(SystemClock), &Memory::unlimited()).await?;
    let verified = replay_everything(store, &catalogue).await?;
    problems.extend(verified.problems.iter().cloned());
    Ok((problems, Some(verified)))
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
