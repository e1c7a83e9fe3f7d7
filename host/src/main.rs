//! The `windlass` binary: host and client.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;
use windlass::cli::Cli;

/// Turns allocate many small values briefly; the C library's allocator took a seventh of the host's time. SQLite, which is
/// written in C, uses this one as well: with the C library's, each of its threads kept tens of megabytes after a large row.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Options of the allocator, which looks for them under this name.
///
/// * Unused pages return to the system after a second, so that the host is small again after a hundred thousand instances
///   have come and gone.
/// * Allocations of a megabyte or more return at once. Large payloads are copied by several threads in turn, and each
///   thread would keep its copies for that second.
#[unsafe(export_name = "malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8] =
    b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,oversize_threshold:1048576\0";

fn main() -> ExitCode {
    Cli::from_arguments().run()
}
