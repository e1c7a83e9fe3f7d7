//! Failures are values: they are caught, logged, and returned or turned into a result.

use patterns_api::*;
use windlass_sdk::prelude::*;

#[payload]
#[serde(tag = "outcome", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Handled {
    Worked { call: u32 },
    GaveUp { error_type: String, message: String },
}

/// Calls a risky activity and logs its failure. Then fails if the failure is retryable, else completes with its reason.
#[orchestrator(name = "OrchestrationWithErrorHandling")]
pub async fn with_error_handling(ctx: Orchestration, call: UnreliableCall) -> Result<Handled> {
    let failure = match ctx.call(risky_activity, &call).await {
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
    ctx.call(log_failure, &error).retry(Retry::exponential(secs(1))).await?;

    if failure.is_non_retryable() {
        Ok(Handled::GaveUp { error_type, message })
    } else {
        Err(failure)
    }
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::{Run, World};

    use super::*;

    fn run(failure: Option<Failure>) -> Run<Handled> {
        let call = UnreliableCall {
            key: "k".into(),
            failures: 1,
            permanent: false,
            backend: Backend::default(),
        };
        World::new()
            .activity(risky_activity, move |_| failure.clone().map_or(Ok(1), Err))
            .activity(log_failure, |_| Ok(()))
            .run(with_error_handling, &call)
    }

    #[test]
    fn success_is_returned_and_nothing_is_logged() {
        let run = run(None);
        assert!(matches!(run.output(), Handled::Worked { call: 1 }));
        assert_eq!(run.attempts_of(log_failure), 0);
    }

    #[test]
    fn a_transient_failure_is_logged_and_returned() {
        let run = run(Some(Failure::new("Unreliable", "try again")));
        assert!(run.failure().is("Unreliable"));
        assert_eq!(run.inputs_of(log_failure)[0].error_type, "Unreliable");
    }

    #[test]
    fn a_permanent_failure_is_logged_and_becomes_a_result() {
        let run = run(Some(Failure::new("Unprocessable", "makes no sense").non_retryable()));
        assert!(matches!(run.output(), Handled::GaveUp { error_type, .. } if error_type == "Unprocessable"));
        assert_eq!(run.attempts_of(log_failure), 1);
    }
}
