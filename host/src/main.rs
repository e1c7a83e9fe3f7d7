//! The one binary: host and client.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;
use windlass::cli::Cli;

/// Turns make many small values and throw them away; the C library's allocator took a seventh of the host's time.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Pages that nobody has used for a second go back to the system: after a hundred thousand instances have come and gone,
/// the host is small again. jemalloc looks for its options under this name.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    Cli::from_arguments().run()
}
