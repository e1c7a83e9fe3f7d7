//! The command line: one program that is host and client.
//!
//! All subcommands except `serve`, `check`, `backup` and `compile` talk to a running host over HTTP only (`key create`
//! can also work without a host). Output is tables and sentences for people, or JSON with `--json` for programs, which
//! can also use the exit codes.

mod address;
mod backup;
mod bench;
mod broadcast;
mod check;
mod client;
mod compile;
mod complete;
mod control;
mod deploy;
mod entity;
mod error;
mod event;
mod filter;
mod input;
mod key;
mod list;
mod logs;
mod modules;
mod moves;
mod output;
mod purge;
mod restart;
mod retention;
mod schedule;
mod serve;
mod setting;
mod start;
mod status;
mod tags;
mod tenant;
mod usage;
mod waiting;
mod waiting_for;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

use self::{address::Address, client::Client, error::CliError, output::Output};
use crate::config::{DEFAULT_PORT, Settings};
use crate::priority;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused by the host, or the awaited instance did not complete
  2  invalid usage
  3  not found
  4  conflict: already exists, has ended, or has not ended
  5  the host is unreachable or not trusted
  6  timed out before the instance ended";

/// Durable workflows in WebAssembly: a host, and a client for it
#[derive(Debug, Parser)]
#[command(name = "windlass", version, after_help = EXIT_CODES, infer_subcommands = false)]
pub struct Cli {
    /// Address of the host, http:// or https://
    #[arg(long, global = true, env = "WINDLASS_URL", hide_env = true, value_name = "URL",
        default_value_t = format!("http://127.0.0.1:{DEFAULT_PORT}"))]
    url: String,

    /// API key; prefer the environment variable WINDLASS_KEY, which other users of this machine cannot see
    #[arg(
        long,
        global = true,
        env = "WINDLASS_KEY",
        hide_env_values = true,
        value_name = "KEY"
    )]
    key: Option<String>,

    /// Tenant that an administrator acts for
    #[arg(long, global = true, env = "WINDLASS_TENANT", hide_env = true, value_name = "NAME")]
    tenant: Option<String>,

    /// File with certificate authorities (PEM) to trust in addition to the public ones, for https://
    #[arg(long, global = true, env = "WINDLASS_CA", hide_env = true, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Print JSON: one object, or one per line for lists
    #[arg(long, global = true)]
    json: bool,

    /// Whether the address was given as an argument.
    #[arg(skip)]
    url_named: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host
    Serve(Box<serve::Serve>),
    /// Upload modules
    Deploy(deploy::Deploy),
    /// Start an orchestration
    Start(start::Start),
    /// Show an instance
    Status(status::Status),
    /// List instances, newest first
    List(list::List),
    /// Raise an event for an instance
    Event(event::Raise),
    /// Manage schedules, which start orchestrations at regular times
    Schedule(schedule::Schedule),
    /// Raise an event for many instances
    Broadcast(broadcast::Broadcast),
    /// Complete an activity call that waits for its outcome from outside
    Complete(complete::Complete),
    /// List entities, show one, and send operations
    Entity(entity::Entity),
    /// Terminate an instance, or many, without running them again
    Terminate(control::Control),
    /// Ask an instance, or many, to cancel: their code cleans up and ends
    Cancel(control::Control),
    /// Suspend an instance, or many
    Suspend(control::Control),
    /// Resume a suspended instance, or retry a stuck one; or many
    Resume(control::Control),
    /// Let a failed instance go on, or many: what failed runs again, what succeeded is kept
    Rewind(control::Control),
    /// Move an instance, or many, to the current version of their module if their history fits
    Move(moves::Move),
    /// Run an ended instance again with the same input
    Restart(restart::Restart),
    /// Remove an ended instance, or many
    Purge(purge::Purge),
    /// Manage rules that say how long ended instances are kept
    Retention(retention::Retention),
    /// List modules, or show one
    Modules(modules::Modules),
    /// Show the log of an instance
    Logs(logs::Logs),
    /// Manage tenants and their quotas, and show their usage
    Tenant(tenant::Tenant),
    /// Manage settings that activities can read
    Config(setting::Config),
    /// Manage secrets that activities can read
    Secret(setting::Secret),
    /// Show the usage of the tenant
    Usage(usage::Usage),
    /// Manage API keys
    Key(key::Key),
    /// Check the database of a host that is not running
    Check(check::Check),
    /// Back up the database of a host, which may be running
    Backup(backup::Backup),
    /// Benchmark a host: one started for this purpose, or the one at --url
    Bench(bench::Bench),
    /// Compile a component under limits, for the host
    #[command(hide = true)]
    Compile(compile::Compile),
}

impl Cli {
    /// Parses the arguments of the process. Exits with a message if they are invalid or help was requested.
    pub fn from_arguments() -> Self {
        let matches = command().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.url_named = matches.value_source("url") == Some(ValueSource::CommandLine);
        cli
    }

    /// Runs the command and returns its exit code.
    pub fn run(self) -> ExitCode {
        if let Command::Compile(compile) = self.command {
            return compile.run();
        }
        if let Command::Serve(_) = self.command {
            // Before the runtime starts its threads, which inherit it.
            priority::start_host();
        }
        let output = Output::new(self.json);
        let mut builder = match self.command {
            // The load generator uses as few resources as possible, because it competes with the host beside it.
            Command::Bench(_) => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        // Does nothing unless `start_host` was called.
        builder.on_thread_start(priority::give_way_to_commits);
        let runtime = match builder.enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return CliError::failed(format!("cannot start the async runtime: {error}")).report(&output),
        };
        match runtime.block_on(self.dispatch(&output)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.report(&output),
        }
    }

    async fn dispatch(self, output: &Output) -> Result<(), CliError> {
        let roots = || address::roots(self.ca.as_deref());
        let client = || {
            let address = Address::parse(&self.url, &roots()?)?;
            if self.key.is_some() && address.is_exposed() {
                output.warn(&format!(
                    "the API key is sent to {address} in plain text and can be intercepted; use https://"
                ));
            }
            Client::new(address, self.key.as_deref(), self.tenant.as_deref())
        };
        match self.command {
            Command::Serve(serve) => serve.run().await,
            Command::Bench(bench) => bench.run(&self.url, self.url_named, &roots()?, output).await,
            Command::Compile(_) => unreachable!("ran before there was a runtime"),
            Command::Check(check) => check.run(output).await,
            Command::Backup(backup) => backup.run(output).await,
            Command::Deploy(deploy) => deploy.run(&client()?, output).await,
            Command::Start(start) => start.run(&client()?, output).await,
            Command::Status(status) => status.run(&client()?, output).await,
            Command::List(list) => list.run(&client()?, output).await,
            Command::Event(event) => event.run(&client()?, output).await,
            Command::Schedule(schedule) => schedule.run(client, output).await,
            Command::Broadcast(broadcast) => broadcast.run(&client()?, output).await,
            Command::Complete(complete) => complete.run(&client()?, output).await,
            Command::Entity(entity) => entity.run(&client()?, output).await,
            Command::Terminate(control) => control.run("terminate", &client()?, output).await,
            Command::Cancel(control) => control.run("cancel", &client()?, output).await,
            Command::Suspend(control) => control.run("suspend", &client()?, output).await,
            Command::Resume(control) => control.run("resume", &client()?, output).await,
            Command::Rewind(control) => control.run("rewind", &client()?, output).await,
            Command::Move(moves) => moves.run(&client()?, output).await,
            Command::Restart(restart) => restart.run(&client()?, output).await,
            Command::Purge(purge) => purge.run(&client()?, output).await,
            Command::Retention(retention) => retention.run(&client()?, output).await,
            Command::Modules(modules) => modules.run(&client()?, output).await,
            Command::Tenant(tenant) => tenant.run(&client()?, output).await,
            Command::Config(config) => config.run(&client()?, output).await,
            Command::Secret(secret) => secret.run(&client()?, output).await,
            Command::Usage(usage) => usage.run(&client()?, output).await,
            Command::Key(key) => key.run(&client()?, self.tenant.as_deref(), output).await,
            Command::Logs(logs) => logs.run(&client()?, output).await,
        }
    }
}

/// The grammar, with the defaults of `serve` in its help. Only the table of settings knows them.
fn command() -> clap::Command {
    let defaults = toml::Table::try_from(Settings::defaults()).expect("the defaults can be written as TOML");
    Cli::command().mut_subcommand("serve", |serve| {
        serve.mut_args(|argument| {
            let default = match defaults.get(argument.get_id().as_str()) {
                Some(toml::Value::Array(rules)) if rules.is_empty() => "none".to_owned(),
                Some(toml::Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => return argument,
            };
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let variable = format!("WINDLASS_{}", argument.get_id().as_str().to_uppercase());
            argument.help(format!("{help} [default: {default}] [env: {variable}]"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_valid() {
        command().debug_assert();
    }

    #[test]
    fn help_of_serve_shows_every_default() {
        let help = command()
            .find_subcommand_mut("serve")
            .unwrap()
            .render_long_help()
            .to_string();
        for shown in [
            "[default: 127.0.0.1:7411] [env: WINDLASS_LISTEN]",
            "[default: 2000000000]",
            "[default: none]",
        ] {
            assert!(help.contains(shown), "{shown} is not in\n{help}");
        }
        let settings = toml::Table::try_from(Settings::defaults()).unwrap();
        assert_eq!(help.matches("[default: ").count(), settings.len());
    }
}
