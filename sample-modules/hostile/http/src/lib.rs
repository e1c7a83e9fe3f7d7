//! An orchestration that imports HTTP, and is refused at upload for it: an activity is the place for that.

use windlass_sdk::http;
use windlass_sdk::prelude::*;

windlass_sdk::export!(orchestrators: [fetches]);

/// Sends a request.
#[orchestrator(name = "HostileFetches")]
async fn fetches() -> Result<String> {
    http::get("http://127.0.0.1:9/").send()?.text()
}
