//! An orchestration that imports HTTP. The host refuses it at upload, because only activities may use HTTP.

use windlass_sdk::http;
use windlass_sdk::prelude::*;

windlass_sdk::export!(orchestrators: [fetches]);

/// Sends a request.
#[orchestrator(name = "HostileFetches")]
async fn fetches() -> Result<String> {
    http::get("http://127.0.0.1:9/").send()?.text()
}
