//! The orchestrations of `windlass bench`. They do as little work as possible, so that the benchmark measures the host.

use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

windlass_sdk::export!(orchestrators: [
    bench_chain,
    bench_fanout,
    bench_long,
    bench_cold,
    bench_parked,
    bench_collect,
    bench_sleeper,
]);

signatures! {
    #[activity(name = "BenchEcho")]
    fn bench_echo(text: String) -> Result<String>;
}

/// The number of activities in `BenchChain`.
const CHAIN: u32 = 5;

/// The number of activities, and the input and output of each.
#[payload]
pub struct Load {
    pub activities: u32,
    #[serde(default)]
    pub text: String,
}

/// Calls five activities in sequence, each with the output of the one before.
#[orchestrator(name = "BenchChain")]
async fn bench_chain(ctx: Orchestration, text: String) -> Result<String> {
    let mut text = text;
    for _ in 0..CHAIN {
        text = ctx.call(bench_echo, &text).await?;
    }
    Ok(text)
}

/// Calls activities in parallel. Returns their number.
#[orchestrator(name = "BenchFanout")]
async fn bench_fanout(ctx: Orchestration, load: Load) -> Result<usize> {
    let echoes = try_join_all((0..load.activities).map(|_| ctx.call(bench_echo, &load.text))).await?;
    Ok(echoes.len())
}

/// Calls activities in sequence, for a long history.
#[orchestrator(name = "BenchLong")]
async fn bench_long(ctx: Orchestration, load: Load) -> Result<u32> {
    for _ in 0..load.activities {
        ctx.call(bench_echo, &load.text).await?;
    }
    Ok(load.activities)
}

/// Like `BenchLong`, and then waits for the event `go`, for which the long history may have to be loaded again.
#[orchestrator(name = "BenchCold")]
async fn bench_cold(ctx: Orchestration, load: Load) -> Result<u32> {
    for _ in 0..load.activities {
        ctx.call(bench_echo, &load.text).await?;
    }
    ctx.event::<String>("go").await?;
    Ok(load.activities)
}

/// Waits for the event `go` and returns its payload.
#[orchestrator(name = "BenchParked")]
async fn bench_parked(ctx: Orchestration) -> Result<String> {
    ctx.event::<String>("go").await
}

/// Takes events `item` until one is negative, and returns those before it in their order.
#[orchestrator(name = "BenchCollect")]
async fn bench_collect(ctx: Orchestration) -> Result<Vec<i64>> {
    let mut items = Vec::new();
    loop {
        match ctx.event::<i64>("item").await? {
            item if item < 0 => return Ok(items),
            item => items.push(item),
        }
    }
}

/// Sleeps until a time in milliseconds since 1970, and returns when it woke.
#[orchestrator(name = "BenchSleeper")]
async fn bench_sleeper(ctx: Orchestration, due_ms: i64) -> Result<i64> {
    ctx.sleep_until(Timestamp::from_millis(due_ms)).await;
    Ok(ctx.now().as_millis())
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn each_kind_of_load_makes_the_expected_number_of_calls() {
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
        let cold = world().event(secs(1), "go", "now").run(bench_cold, &load);
        assert_eq!((*cold.output(), cold.attempts_of(bench_echo)), (12, 12));
    }

    #[test]
    fn waiting_orchestrations_return_what_they_waited_for() {
        let parked = World::new().event(secs(1), "go", "now");
        assert_eq!(parked.run(bench_parked, &()).output(), "now");
        let collect = [5, 5, 7, -1]
            .into_iter()
            .fold(World::new(), |world, item| world.event(secs(1), "item", &item));
        assert_eq!(collect.run(bench_collect, &()).output(), &[5, 5, 7]);
        let begun = Timestamp::from_millis(1_000_000);
        let sleeper = World::new().starting_at(begun).run(bench_sleeper, &1_030_000);
        assert_eq!(*sleeper.output(), 1_030_000);
    }
}
