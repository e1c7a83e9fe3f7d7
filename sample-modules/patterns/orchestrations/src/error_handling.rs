//! Failures are values: caught, logged, and passed on or turned into a result.

use patterns_api::*;
use windlass_sdk::prelude::*;

#[payload]
#[serde(tag = "outcome", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Handled {
    Worked { call: u32 },
    GaveUp { error_type: String, message: String },
}

/// Calls an unreliable service; logs its failure, then fails if trying again later may help, else says what was wrong.
#[orchestrator(name = "OrchestrationWithErrorHandling")]
pub async fn with_error_handling(ctx: Orchestration, call: UnreliableCall) -> Result<Handled> {
    let failure = match ctx.call(call_unreliable_service, &call).await {
        Ok(call) => return Ok(Handled::Worked { call }),
        Err(failure) => failure,
    };

    let (error_type, message) = (failure.error_type().to_owned(), failure.message().to_owned());
    let error = LoggedError {
        source: call.key,
        error_type: error_type.clone(),
        message: message.clone(),
        backend: call.backend,
    };
    ctx.call(log_error, &error).retry(Retry::exponential(secs(1))).await?;

    if failure.is_non_retryable() {
        Ok(Handled::GaveUp { error_type, message })
    } else {
        Err(failure)
    }
}
