//! Timeouts of attempts, of calls and of futures.

use conformance_api::*;
use windlass_sdk::prelude::*;

use crate::children::{Wish, child};
use crate::transcript::{Transcript, fail, plan};

#[orchestrator(name = "ConformanceTimeouts")]
pub async fn timeouts(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);
    let hangs = plan([Act::Hang]);

    let outcome = ctx.call(step, &hangs).attempt_timeout(millis(50)).await;
    seen.ended_within("a timeout of an attempt", millis(50), secs(20), outcome);

    let second_works = plan([Act::Hang, Act::Succeed]);
    let call = ctx.call(step, &second_works).retry(Retry::fixed(millis(10)));
    let outcome = call.attempt_timeout(secs(2)).await;
    seen.ended_within(
        "a timeout of an attempt that is retried",
        millis(2_010),
        secs(20),
        outcome,
    );

    let retry = Retry::fixed(millis(1)).non_retryable(failure_types::TIMEOUT);
    let call = ctx.call(step, &second_works).retry(retry);
    let outcome = call.attempt_timeout(millis(50)).await;
    seen.ended("a timeout of an attempt that is not retried", outcome);

    let outcome = ctx.call(step, &hangs).timeout(millis(50)).await;
    seen.ended_within("a timeout of a call", millis(50), secs(20), outcome);

    let call = ctx
        .call(step, &hangs)
        .retry(Retry::fixed(millis(1)).max_attempts(1_000));
    let outcome = call.timeout(millis(100)).await;
    seen.ended_within(
        "a timeout of a call, with no attempt after it",
        millis(100),
        secs(20),
        outcome,
    );

    let busy = plan([fail("Busy"), Act::Succeed]);
    let call = ctx.call(step, &busy).retry(Retry::fixed(secs(25)));
    let outcome = call.timeout(secs(20)).await;
    seen.ended_within("a retry after the timeout", millis(0), secs(15), outcome);

    let call = ctx.call(step, &busy).retry(Retry::fixed(millis(1)));
    let outcome = call.attempt_timeout(secs(20)).timeout(secs(20)).await;
    seen.ended("a call that ends in time", outcome);

    let given_up = ctx.timeout(millis(50), ctx.call(step, &hangs)).await;
    seen.saw("a future that times out", given_up);
    let awaited = ctx.timeout(secs(20), ctx.call(step, &plan([Act::Succeed]))).await;
    seen.saw("a future that ends in time", awaited);

    let sleeps = Wish::Sleep(30_000);
    let outcome = ctx.sub_orchestration(child, &sleeps).timeout(millis(50)).await;
    seen.ended_within("a timeout of a child", millis(50), secs(20), outcome);

    let fails = Wish::Fail("Busy".into());
    let call = ctx.sub_orchestration(child, &fails).retry(Retry::fixed(secs(25)));
    let outcome = call.timeout(secs(20)).await;
    seen.ended_within("a child's retry after the timeout", millis(0), secs(15), outcome);

    Ok(seen.lines())
}
