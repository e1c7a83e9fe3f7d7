//! Polling: starts an operation, then polls its status until it has ended or a deadline has passed. Waiting uses no
//! resources of the host.

use patterns_api::*;
use windlass_sdk::prelude::*;

#[payload]
#[serde(rename_all = "camelCase")]
pub struct ExternalCall {
    pub operation: SlowOperation,
    #[serde(default = "ten")]
    pub poll_every_seconds: u64,
    #[serde(default = "three_hundred")]
    pub deadline_seconds: u64,
}

fn ten() -> u64 {
    10
}

fn three_hundred() -> u64 {
    300
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
        .call(start_long_running_operation, &call.operation)
        .retry(Retry::exponential(secs(1)))
        .await?;

    for polls in 1.. {
        ctx.sleep(secs(call.poll_every_seconds)).await;
        match ctx
            .call(check_operation_status, &operation)
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

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::{Run, World};

    use super::*;

    /// Runs it with an operation that is pending for that many polls.
    fn run(pending: u32) -> Run<ExternalResult> {
        let operation = SlowOperation {
            kind: "report".into(),
            polls: pending,
            seconds: 0.0,
            outcome: OperationOutcome::Done,
            backend: Backend::default(),
        };
        let mut polls = 0;
        World::new()
            .activity(start_long_running_operation, |call| {
                Ok(StartedOperation {
                    operation_id: "op-1".into(),
                    backend: call.input.backend.clone(),
                })
            })
            .activity(check_operation_status, move |_| {
                polls += 1;
                if polls <= pending {
                    return Ok(OperationStatus::Pending);
                }
                Ok(OperationStatus::Done {
                    result: OperationResult {
                        kind: "report".into(),
                        artifact: "report/op-1".into(),
                    },
                })
            })
            .run(
                call_external_api,
                &ExternalCall {
                    operation,
                    poll_every_seconds: ten(),
                    deadline_seconds: three_hundred(),
                },
            )
    }

    #[test]
    fn it_polls_until_the_operation_is_done() {
        let run = run(3);
        assert_eq!((run.output().polls, run.elapsed()), (4, secs(40)));
    }

    #[test]
    fn it_gives_up_at_the_deadline() {
        let run = run(1000);
        assert!(run.failure().is("DeadlineExceeded"));
        assert_eq!(run.elapsed(), mins(5));
    }
}
