//! `windlass modules`: lists modules, shows one, or removes one.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    client::{Client, all_items},
    error::CliError,
    output::{Output, clean, short_digest},
};

/// Arguments of `modules`.
#[derive(Debug, Args)]
pub(super) struct Modules {
    /// Show only this module, with its functions
    name: Option<String>,
    /// Remove the module; instances that run on it can still finish
    #[arg(long, requires = "name")]
    delete: bool,
}

/// The fields that are read of a module.
#[derive(Debug, Deserialize)]
pub(super) struct Module {
    name: String,
    digest: String,
    kind: String,
    functions: Vec<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    doc: String,
}

impl Modules {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        match self.name {
            Some(name) if self.delete => delete(client, &name, output).await,
            Some(name) => show(client, &name, output).await,
            None => list(client, output).await,
        }
    }
}

async fn list(client: &Client, output: &Output) -> Result<(), CliError> {
    let modules = all_items("modules", |cursor| client.get(&["modules"]).query_if("cursor", cursor)).await?;
    if output.json() {
        return modules.iter().try_for_each(|module| output.object(module));
    }
    if modules.is_empty() {
        return output.line("no modules; `windlass deploy FILE.wasm` uploads one");
    }
    let modules = modules
        .iter()
        .map(|module| read(module))
        .collect::<Result<Vec<_>, _>>()?;
    table(&modules, output)
}

async fn show(client: &Client, name: &str, output: &Output) -> Result<(), CliError> {
    let answer = client.get(&["modules", name]).send().await?;
    if output.json() {
        return output.object(answer.raw()?);
    }
    let module: Module = answer.read()?;
    output.line(&format!(
        "{}  {}  {}",
        clean(&module.name),
        clean(&module.kind),
        clean(&module.digest)
    ))?;
    let rows = module
        .functions
        .into_iter()
        .map(|function| [function.name, function.doc])
        .collect();
    output.table(["Function", ""], rows)
}

async fn delete(client: &Client, name: &str, output: &Output) -> Result<(), CliError> {
    client.call(Method::DELETE, &["modules", name]).send().await?;
    if output.json() {
        Ok(())
    } else {
        output.line(&format!("removed {}", clean(name)))
    }
}

fn read(module: &RawValue) -> Result<Module, CliError> {
    serde_json::from_str(module.get()).map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))
}

/// Prints a table of modules.
pub(super) fn table(modules: &[Module], output: &Output) -> Result<(), CliError> {
    let row = |module: &Module| {
        let functions: Vec<_> = module.functions.iter().map(|function| function.name.as_str()).collect();
        [
            module.name.clone(),
            module.kind.clone(),
            short_digest(&module.digest),
            functions.join(", "),
        ]
    };
    output.table(
        ["Module", "Kind", "Digest", "Functions"],
        modules.iter().map(row).collect(),
    )
}
