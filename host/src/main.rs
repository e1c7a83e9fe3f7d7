//! The one binary: host and client.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use windlass::cli::Cli;

/// Turns make many small values and throw them away; the C library's allocator took a seventh of the host's time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    Cli::from_arguments().run()
}
