//! Inputs and outputs of wrong types.

use conformance_api::*;
use windlass_sdk::prelude::*;

use crate::transcript::{Transcript, plan};

#[orchestrator(name = "ConformancePayloads")]
pub async fn payloads(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);
    let retry = Retry::fixed(millis(1)).max_attempts(3);
    let works = plan([Act::Succeed]);

    let outcome = ctx
        .call_named::<String>("ConformanceStep", &works)
        .retry(retry.clone())
        .await;
    seen.ended("an output of another type", outcome);
    let outcome = ctx
        .call_named::<u32>("ConformanceStep", "a text")
        .retry(retry.clone())
        .await;
    seen.ended("an input of another type", outcome);
    let outcome = ctx.call_named::<u32>("ConformanceStep", &f64::NAN).await;
    seen.ended("an input that is not JSON", outcome);
    // With its quotes, the payload exceeds the limit of 1 MiB.
    let large = "x".repeat(1 << 20);
    let outcome = ctx
        .call_named::<u32>("ConformanceStep", &large)
        .retry(retry.clone())
        .await;
    seen.ended("an input that is too large", outcome);

    let outcome = ctx
        .sub_orchestration_named::<u32>("ConformanceChild", &7)
        .retry(retry)
        .await;
    seen.ended("a child's input of another type", outcome);
    let outcome = ctx.sub_orchestration_named::<bool>("ConformanceCountdown", &0).await;
    seen.ended("a child's output of another type", outcome);
    ctx.start_named("ConformanceChild", &7)
        .id("conformance-not-started")
        .send();
    seen.saw("a started instance's input of another type", ());

    let refused = ctx.call_named::<u32>("ConformanceStep", &[1]).start();
    ctx.sleep(millis(10)).await;
    seen.ended("a refused call that is awaited later", refused.await);
    Ok(seen.lines())
}
