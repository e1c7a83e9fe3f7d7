//! Retries with backoff. The host counts and waits; the orchestration only sees the final outcome.

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

/// Calls an unreliable activity up to three times, waiting 5 and then 10 seconds. Returns the number of the call that worked.
#[orchestrator(name = "OrchestrationWithRetry")]
pub async fn with_retry(ctx: Orchestration, input: RetriedCall) -> Result<u32> {
    let retry = Retry::exponential(millis(input.first_interval_ms)).max_attempts(3);
    ctx.call(unreliable_activity, &input.call).retry(retry).await
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::{Run, World};

    use super::*;

    fn run(failures: u32) -> Run<u32> {
        let call = UnreliableCall {
            key: "k".into(),
            failures,
            permanent: false,
            backend: Backend::default(),
        };
        World::new()
            .activity(unreliable_activity, |call| match call.attempt {
                attempt if attempt > call.input.failures => Ok(attempt),
                _ => Err(Failure::new("Unreliable", "try again")),
            })
            .run(
                with_retry,
                &RetriedCall {
                    call,
                    first_interval_ms: five_seconds(),
                },
            )
    }

    #[test]
    fn the_third_attempt_comes_after_5_and_10_seconds() {
        let run = run(2);
        assert_eq!((*run.output(), run.elapsed()), (3, secs(15)));
    }

    #[test]
    fn after_three_attempts_it_fails() {
        let run = run(3);
        assert!(run.failure().is("Unreliable"));
        assert_eq!(run.attempts_of(unreliable_activity), 3);
    }
}
