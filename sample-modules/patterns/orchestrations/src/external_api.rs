//! Polling: a service is started, then asked until it has ended or a deadline is over. Waiting costs nothing.

use patterns_api::*;
use windlass_sdk::prelude::*;

#[payload]
#[serde(rename_all = "camelCase")]
pub struct ExternalCall {
    pub operation: SlowOperation,
    #[serde(default = "two")]
    pub poll_every_seconds: u64,
    #[serde(default = "sixty")]
    pub deadline_seconds: u64,
}

fn two() -> u64 {
    2
}

fn sixty() -> u64 {
    60
}

#[payload]
pub struct ExternalResult {
    pub result: OperationResult,
    pub polls: u32,
}

/// Starts a slow operation of an external service and waits for its end.
#[orchestrator(name = "CallExternalApiOrchestration")]
pub async fn call_external_api(ctx: Orchestration, call: ExternalCall) -> Result<ExternalResult> {
    let deadline = ctx.now() + secs(call.deadline_seconds);
    let operation = ctx
        .call(start_slow_operation, &call.operation)
        .retry(Retry::exponential(secs(1)))
        .await?;

    for polls in 1.. {
        ctx.sleep(secs(call.poll_every_seconds)).await;
        match ctx
            .call(get_operation_status, &operation)
            .retry(Retry::exponential(secs(1)))
            .await?
        {
            OperationStatus::Done { result } => return Ok(ExternalResult { result, polls }),
            OperationStatus::Failed { error } => return Err(Failure::new("OperationFailed", error.message)),
            OperationStatus::Pending => ctx.set_custom_status(format!("pending after {polls} polls")),
        }
        if ctx.now() >= deadline {
            break;
        }
    }
    Err(Failure::new(
        "DeadlineExceeded",
        format!("{} has not ended in time", operation.operation_id),
    ))
}
