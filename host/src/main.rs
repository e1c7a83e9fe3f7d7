//! The one binary: host and client.

use std::process::ExitCode;

use windlass::cli::Cli;

fn main() -> ExitCode {
    Cli::from_arguments().run()
}
