//! Continue-as-new: what an execution passes on to the next.

use conformance_api::*;
use windlass_sdk::prelude::*;

use crate::transcript::Transcript;

/// The transcript of the executions before.
#[payload]
#[derive(Default)]
pub struct Before {
    #[serde(default)]
    lines: Vec<String>,
}

#[orchestrator(name = "ConformanceExecutions")]
pub async fn executions(ctx: Orchestration, before: Before) -> Result<Vec<String>> {
    let mut lines = before.lines;
    let mut seen = Transcript::new(&ctx);
    seen.saw("execution", ctx.execution());
    seen.saw("the execution starts now", ctx.started_at() == ctx.now());
    match ctx.execution() {
        1 => {
            for number in 1..=5 {
                ctx.send_event(ctx.instance_id(), tick, &number);
            }
            ctx.send_event(ctx.instance_id(), "all arrived", &());
            ctx.event::<()>("all arrived").await?;
            seen.ended("the event that was taken", ctx.event(tick).await);
            // The event is delivered to this wait but not taken.
            let _wait = ctx.event(tick);
            ctx.sleep(millis(10)).await;
            let _timer = ctx.sleep(millis(20));
            drop(
                ctx.call(
                    step,
                    &Plan {
                        acts: vec![Act::Succeed],
                    },
                )
                .start(),
            );
            lines.extend(seen.lines());
            ctx.continue_as_new(&Before { lines })
        }
        2 => {
            let (second, third) = (ctx.event(tick).await?, ctx.event(tick).await?);
            seen.saw("events that were not taken are passed on", (second, third));
            ctx.sleep(millis(50)).await;
            seen.saw("tasks of the previous execution have no effect", ());
            lines.extend(seen.lines());
            ctx.continue_as_new(&Before { lines })
        }
        _ => {
            seen.saw(
                "events are passed on again",
                (ctx.event(tick).await?, ctx.event(tick).await?),
            );
            lines.extend(seen.lines());
            Ok(lines)
        }
    }
}
