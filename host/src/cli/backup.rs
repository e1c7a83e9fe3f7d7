//! `windlass backup`: a consistent copy of a database, whose host may be running.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{error::CliError, output::Output};
use crate::{
    config::Settings,
    store::{self, Backup as Copied},
};

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// Where to write the copy; must not exist. To restore it, place it in an empty folder as `windlass.db`
    file: PathBuf,
    /// Folder of the database; a host may be using it [default: ./windlass-data]
    #[arg(long, env = "WINDLASS_DATA", hide_env = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Backup {
    pub(super) async fn run(self, output: &Output) -> Result<(), CliError> {
        let data = self.data.or(Settings::defaults().data).unwrap_or_default();
        let Copied { bytes, instances } = store::backup(&data, &self.file)
            .await
            .map_err(|error| CliError::failed(super::check::chain(&error)))?;
        if output.json() {
            return output.value(&json!({ "file": self.file, "bytes": bytes, "instances": instances }));
        }
        output.line(&format!(
            "{} instances in {} ({bytes} bytes)",
            instances,
            self.file.display()
        ))
    }
}
