//! The `windlass` binary: host and client.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;
use windlass::cli::Cli;

/// Turns allocate many small values briefly; the C library's allocator took a seventh of the host's time.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Unused pages return to the system after a second, so that the host is small again after a hundred thousand instances
/// have come and gone. jemalloc looks for its options under this name.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    Cli::from_arguments().run()
}
