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

/// Whether to return the status of the children, or to wait.
#[payload]
pub enum Leave {
    Complete,
    Fail,
    Wait,
}

/// Calls three children that wait for cancellation, and ends without waiting for them. Their ids are its own, with the
/// policy.
#[orchestrator(name = "ConformanceParent")]
pub async fn parent(ctx: Orchestration, leave: Leave) -> Result<String> {
    let policies = [
        ("abandon", ParentClose::Abandon),
        ("terminate", ParentClose::Terminate),
        ("cancel", ParentClose::Cancel),
    ];
    let _children = policies.map(|(name, policy)| {
        let child = ctx.sub_orchestration_named::<String>("ConformanceCancellable", &());
        let id = format!("{}-{name}", ctx.instance_id());
        child.id(id).on_parent_close(policy).start()
    });
    ctx.set_custom_status("waiting");
    match leave {
        Leave::Complete => {
            ctx.event::<()>("leave").await?;
            Ok("left".into())
        }
        Leave::Fail => {
            ctx.event::<()>("leave").await?;
            Err(Failure::new("Left", "as asked"))
        }
        Leave::Wait => {
            ctx.sleep(hours(1)).await;
            Ok("waited".into())
        }
    }
}
