//! The activity of the conformance suite.

use conformance_api::Plan;
use windlass_sdk::prelude::*;

windlass_sdk::export!(activities: [step]);

/// Executes the act of the plan for this attempt.
#[activity(signature = conformance_api::step)]
fn step(ctx: Activity, plan: Plan) -> Result<u32> {
    let act = plan.act(ctx.attempt());
    std::thread::sleep(act.duration());
    act.outcome(ctx.attempt())
}
