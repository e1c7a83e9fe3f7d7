//! Retry policies.

use conformance_api::*;
use windlass_sdk::prelude::*;

use crate::transcript::{Transcript, fail, plan};

#[orchestrator(name = "ConformanceRetries")]
pub async fn retries(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);
    let busy = || fail("Busy");

    let third_works = plan([busy(), busy(), Act::Succeed]);
    let outcome = ctx.call(step, &third_works).await;
    seen.ended("no retry policy", outcome);

    let outcome = ctx.call(step, &third_works).retry(Retry::never()).await;
    seen.ended("a policy without retries", outcome);

    let outcome = ctx.call(step, &third_works).retry(Retry::fixed(millis(20))).await;
    seen.ended_within("a fixed interval", millis(40), secs(20), outcome);

    let outcome = ctx
        .call(step, &third_works)
        .retry(Retry::fixed(millis(0)).max_attempts(2))
        .await;
    seen.ended("too few attempts", outcome);

    let fourth_works = plan([busy(), busy(), busy(), Act::Succeed]);
    let retry = Retry::exponential(millis(10)).max_attempts(4);
    let outcome = ctx.call(step, &fourth_works).retry(retry).await;
    seen.ended_within("an exponential interval", millis(10 + 20 + 40), secs(20), outcome);

    let retry = Retry::exponential(millis(10))
        .coefficient(1e6)
        .max_interval(millis(30))
        .max_attempts(4);
    let outcome = ctx.call(step, &fourth_works).retry(retry).await;
    seen.ended_within("a maximum interval", millis(10 + 30 + 30), secs(20), outcome);

    let breaks = plan([busy(), fail("Broken"), Act::Succeed]);
    let retry = Retry::fixed(millis(1)).non_retryable("Other").non_retryable("Broken");
    let outcome = ctx.call(step, &breaks).retry(retry).await;
    seen.ended("a failure type that is not retried", outcome);

    let gives_up = plan([busy(), Act::FailForGood("Gone".into()), Act::Succeed]);
    let outcome = ctx.call(step, &gives_up).retry(Retry::fixed(millis(1))).await;
    seen.ended("a non-retryable failure", outcome);

    Ok(seen.lines())
}
