//! Sub-orchestrations that must all succeed. If one fails, the whole fails, until it is rewound: then only what failed runs
//! again.

use patterns_api::*;
use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    #[orchestrator(name = "OneCall")]
    pub fn one_call(call: UnreliableCall) -> Result<u32>;
}

/// Makes each call in a sub-orchestration of its own. Returns for each the number of the call that worked.
#[orchestrator(name = "AllOrNothing")]
pub async fn all_or_nothing(ctx: Orchestration, calls: Vec<UnreliableCall>) -> Result<Vec<u32>> {
    ctx.set_custom_status("Calling");
    let calls = calls.iter().map(|call| ctx.sub_orchestration(one_call, call));
    try_join_all(calls).await
}

/// Makes one call.
#[orchestrator(signature = one_call)]
pub async fn call_once(ctx: Orchestration, call: UnreliableCall) -> Result<u32> {
    ctx.call(risky_activity, &call).await
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn the_failure_of_one_fails_all() {
        let call = |key: &str| UnreliableCall {
            key: key.into(),
            failures: 0,
            permanent: false,
            backend: Backend::default(),
        };
        let run = World::new()
            .orchestration(call_once)
            .activity(risky_activity, |call| match call.input.key.as_str() {
                "bad" => Err(Failure::new("Unreliable", "not now")),
                _ => Ok(1),
            })
            .run(all_or_nothing, &vec![call("good"), call("bad")]);
        assert_eq!(run.failure().message(), "not now");
    }
}
