//! What `windlass bench` starts: as little work as possible, so that the host is what is measured.

use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

windlass_sdk::export!(orchestrators: [bench_chain, bench_fanout, bench_long]);

signatures! {
    #[activity(name = "BenchEcho")]
    fn bench_echo(text: String) -> Result<String>;
}

/// Length of `BenchChain`.
const CHAIN: u32 = 5;

/// How many activities, and what goes in and out of each.
#[payload]
pub struct Load {
    pub activities: u32,
    #[serde(default)]
    pub text: String,
}

/// Five activities, one after the other, each with the output of the one before.
#[orchestrator(name = "BenchChain")]
async fn bench_chain(ctx: Orchestration, text: String) -> Result<String> {
    let mut text = text;
    for _ in 0..CHAIN {
        text = ctx.call(bench_echo, &text).await?;
    }
    Ok(text)
}

/// Activities side by side; gives back how many there were.
#[orchestrator(name = "BenchFanout")]
async fn bench_fanout(ctx: Orchestration, load: Load) -> Result<usize> {
    let echoes = try_join_all((0..load.activities).map(|_| ctx.call(bench_echo, &load.text))).await?;
    Ok(echoes.len())
}

/// Activities one after the other, for a long history.
#[orchestrator(name = "BenchLong")]
async fn bench_long(ctx: Orchestration, load: Load) -> Result<u32> {
    for _ in 0..load.activities {
        ctx.call(bench_echo, &load.text).await?;
    }
    Ok(load.activities)
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn each_shape_of_load_calls_the_activity_as_often_as_it_says() {
        let world = || World::new().activity(bench_echo, |call| Ok(call.input.clone()));
        let load = Load {
            activities: 12,
            text: "x".into(),
        };
        let chain = world().run(bench_chain, &"x".to_owned());
        let (fanout, long) = (world().run(bench_fanout, &load), world().run(bench_long, &load));
        assert_eq!((chain.output().as_str(), chain.attempts_of(bench_echo)), ("x", 5));
        assert_eq!((*fanout.output(), fanout.attempts_of(bench_echo)), (12, 12));
        assert_eq!((*long.output(), long.attempts_of(bench_echo)), (12, 12));
    }
}
