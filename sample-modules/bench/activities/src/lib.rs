//! What `windlass bench` calls.

use windlass_sdk::prelude::*;

windlass_sdk::export!(activities: [bench_echo]);

/// Gives back what it was given.
#[activity(name = "BenchEcho")]
fn bench_echo(text: String) -> Result<String> {
    Ok(text)
}
