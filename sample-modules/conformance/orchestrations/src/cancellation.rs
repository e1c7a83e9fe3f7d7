//! Cancellation. The end-to-end tests start these orchestrations and cancel them.

use conformance_api::*;
use windlass_sdk::prelude::*;

/// Waits until its cancellation is requested, cleans up with an activity that takes a moment, and ends as cancelled.
#[orchestrator(name = "ConformanceCancellable")]
pub async fn cancellable(ctx: Orchestration) -> Result<String> {
    ctx.set_custom_status("waiting");
    let cancellation = select! {
        cancellation = ctx.cancelled() => cancellation,
        () = ctx.sleep(hours(1)) => return Ok("not cancelled".into()),
    };
    ctx.set_custom_status("cleaning up");
    ctx.sleep(secs(2)).await;
    let acts = vec![Act::Succeed];
    ctx.call(step, &Plan { acts }).await?;
    // The request is still there.
    assert_eq!(ctx.cancellation_requested(), Some(cancellation.clone()));
    assert_eq!(ctx.cancelled().await, cancellation);
    Err(cancellation.into())
}

/// Continues as new when it is cancelled, and ends as it likes when it sees the request again.
#[orchestrator(name = "ConformanceCancelledTwice")]
pub async fn cancelled_twice(ctx: Orchestration) -> Result<String> {
    ctx.set_custom_status("waiting");
    let reason = ctx.cancelled().await.reason().to_owned();
    if ctx.execution() == 1 {
        return ctx.continue_as_new(&());
    }
    Ok(format!("goes on after: {reason}"))
}
