//! Retries with backoff. The host counts and waits; the orchestration sees the final outcome alone.

use patterns_api::*;
use windlass_sdk::prelude::*;

#[payload]
#[serde(rename_all = "camelCase")]
pub struct RetriedCall {
    pub call: UnreliableCall,
    #[serde(default = "five_seconds")]
    pub first_interval_ms: u64,
}

fn five_seconds() -> u64 {
    5000
}

/// Calls an unreliable service up to three times, waiting 5 and then 10 seconds; gives back which call worked.
#[orchestrator(name = "OrchestrationWithRetry")]
pub async fn with_retry(ctx: Orchestration, input: RetriedCall) -> Result<u32> {
    let retry = Retry::exponential(millis(input.first_interval_ms)).max_attempts(3);
    ctx.call(call_unreliable_service, &input.call).retry(retry).await
}
