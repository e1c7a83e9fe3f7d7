//! The orchestrations of `windlass bench`. They do as little work as possible, so that the benchmark measures the host.

use bench_model::BenchCounter;
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
    bench_signals,
    bench_calls,
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

/// Operations for counters with the keys `0` to `counters - 1`, one after another.
#[payload]
pub struct Operations {
    pub operations: u32,
    #[schemars(range(min = 1))]
    pub counters: u32,
    /// The counter of the first operation, before the remainder is taken.
    #[serde(default)]
    pub first: u32,
}

impl Operations {
    /// The key of the counter for each operation.
    fn keys(&self) -> impl Iterator<Item = String> {
        let counter = |number: u32| u64::from(self.first) + u64::from(number);
        (0..self.operations).map(move |number| (counter(number) % u64::from(self.counters.max(1))).to_string())
    }
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

/// Sends signals, all in its first turn.
#[orchestrator(name = "BenchSignals")]
async fn bench_signals(ctx: Orchestration, operations: Operations) -> Result<u32> {
    for key in operations.keys() {
        ctx.entity(BenchCounter::at(&key)).signal().add();
    }
    Ok(operations.operations)
}

/// Calls counters, each after the answer of the one before.
#[orchestrator(name = "BenchCalls")]
async fn bench_calls(ctx: Orchestration, operations: Operations) -> Result<u32> {
    for key in operations.keys() {
        ctx.entity(BenchCounter::at(&key)).add().await?;
    }
    Ok(operations.operations)
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
    #[test]
    fn operations_are_spread_over_the_counters() {
        let operations = Operations {
            operations: 5,
            counters: 3,
            first: 2,
        };
        let world = || World::new().entity::<BenchCounter>();
        let (signals, calls) = (
            world().run(bench_signals, &operations),
            world().run(bench_calls, &operations),
        );
        for run in [&signals, &calls] {
            assert_eq!(run.output(), &5);
            let count = |key: &str| run.state_of(BenchCounter::at(key)).map(|counter| counter.count);
            assert_eq!(["0", "1", "2", "3"].map(count), [Some(2), Some(1), Some(2), None]);
        }
    }
}
