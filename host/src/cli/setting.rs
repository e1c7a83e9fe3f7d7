//! `windlass config` and `windlass secret`: settings and secrets that activities can read.

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{
    client::{Client, all_items},
    error::CliError,
    output::{Output, clean},
};

/// Arguments of `config`.
#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    what: ConfigWhat,
}

#[derive(Debug, Subcommand)]
enum ConfigWhat {
    /// Set a plain setting
    Set {
        /// Its name
        name: String,
        /// Its value
        value: String,
        /// Module that can read it; repeatable
        #[arg(long = "module", required = true, value_name = "NAME")]
        modules: Vec<String>,
    },
    /// List the plain settings with their values
    List,
    /// Delete a plain setting
    Delete {
        /// Its name
        name: String,
    },
}

/// Arguments of `secret`.
#[derive(Debug, Args)]
pub(super) struct Secret {
    #[command(subcommand)]
    what: SecretWhat,
}

#[derive(Debug, Subcommand)]
enum SecretWhat {
    /// Set a secret; its value is read from standard input or a file, never from the arguments
    Set {
        /// Its name
        name: String,
        /// Module that can read it; repeatable
        #[arg(long = "module", required = true, value_name = "NAME")]
        modules: Vec<String>,
        /// File with the value [default: standard input]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List the secrets, without their values
    List,
    /// Delete a secret
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    name: String,
    #[serde(default)]
    value: String,
    modules: Vec<String>,
    updated_time: String,
}

impl Config {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        match self.what {
            ConfigWhat::Set { name, value, modules } => set("config", &name, &value, &modules, client, output).await,
            ConfigWhat::List => list("config", client, output).await,
            ConfigWhat::Delete { name } => delete("config", &name, client, output).await,
        }
    }
}

impl Secret {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        match self.what {
            SecretWhat::Set { name, modules, file } => {
                let value = value(file)?;
                set("secrets", &name, &value, &modules, client, output).await
            }
            SecretWhat::List => list("secrets", client, output).await,
            SecretWhat::Delete { name } => delete("secrets", &name, client, output).await,
        }
    }
}

/// The value of a secret, without the trailing line break that editors and `echo` add.
fn value(file: Option<PathBuf>) -> Result<String, CliError> {
    let text = match file {
        Some(path) => std::fs::read_to_string(&path)
            .map_err(|error| CliError::Usage(format!("cannot read {}: {error}", path.display())))?,
        None => {
            let mut input = std::io::stdin().lock();
            if input.is_terminal() {
                eprintln!("type the secret, then press Ctrl-D at the start of a line");
            }
            let mut text = String::new();
            input
                .read_to_string(&mut text)
                .map_err(|error| CliError::Usage(format!("cannot read standard input: {error}")))?;
            text
        }
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

async fn set(
    kind: &str,
    name: &str,
    value: &str,
    modules: &[String],
    client: &Client,
    output: &Output,
) -> Result<(), CliError> {
    let body = json!({ "value": value, "modules": modules });
    let call = client.call(Method::PUT, &[kind, name]);
    call.json(Some(body.to_string())).send().await?;
    if output.json() {
        return Ok(());
    }
    output.line(&format!("set {} for {}", clean(name), clean(&modules.join(", "))))
}

async fn list(kind: &str, client: &Client, output: &Output) -> Result<(), CliError> {
    let settings = all_items("settings", |cursor| client.get(&[kind]).query_if("cursor", cursor)).await?;
    if output.json() {
        return settings.iter().try_for_each(|setting| output.object(setting));
    }
    let mut rows = Vec::new();
    for setting in &settings {
        let setting: Document = serde_json::from_str(setting.get())
            .map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))?;
        rows.push([
            setting.name,
            setting.value,
            setting.modules.join(", "),
            setting.updated_time,
        ]);
    }
    output.table(["Name", "Value", "Modules", "Set"], rows)
}

async fn delete(kind: &str, name: &str, client: &Client, output: &Output) -> Result<(), CliError> {
    client.call(Method::DELETE, &[kind, name]).send().await?;
    if output.json() {
        return Ok(());
    }
    output.line(&format!("deleted {}", clean(name)))
}
