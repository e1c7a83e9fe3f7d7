//! The activity of `windlass bench`.

use windlass_sdk::prelude::*;

windlass_sdk::export!(activities: [bench_echo]);

/// Returns its input.
#[activity(name = "BenchEcho")]
fn bench_echo(text: String) -> Result<String> {
    Ok(text)
}
