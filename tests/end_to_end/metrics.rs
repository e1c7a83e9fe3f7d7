//! Tests of `GET /metrics`: known work leads to the expected counts.

use harness::{Metrics, World, until};
use serde_json::json;

const MODULES: &[&str] = &["bench", "bench_activities"];

/// Waits until the samples have these values, because a client may see the end of an instance slightly before it is
/// counted.
async fn once(world: &World, expected: &[(&str, f64)]) -> Metrics {
    until(&format!("{expected:?}"), async || {
        let metrics = world.metrics().await;
        let is_so = expected.iter().all(|(sample, value)| metrics.number(sample) == *value);
        is_so.then_some(metrics)
    })
    .await
}

#[tokio::test]
async fn starts_turns_attempts_fuel_and_commits_are_counted() {
    let world = World::start_with(MODULES, &["--hot", "auto"]).await;
    let before = world.metrics().await;
    for _ in 0..3 {
        world.run("BenchChain", &json!("counted")).await;
    }
    let after = once(
        &world,
        &[
            ("windlass_instances_started_total{by=\"client\"}", 3.0),
            ("windlass_instances_ended_total{status=\"completed\"}", 3.0),
            ("windlass_instances_ended_total{status=\"failed\"}", 0.0),
            // Six turns per instance: the start, and one for each of five results.
            ("windlass_turns_total", 18.0),
            ("windlass_guests_started_total{history=\"none\"}", 3.0),
            ("windlass_guests_started_total{history=\"replayed\"}", 0.0),
            ("windlass_turns_replayed_total", 0.0),
            ("windlass_hot_instances", 0.0),
            ("windlass_activity_attempts_total{outcome=\"completed\"}", 15.0),
            ("windlass_activity_attempts_total{outcome=\"failed\"}", 0.0),
            ("windlass_activity_attempts_running", 0.0),
            ("windlass_activity_attempts_waiting", 0.0),
            ("windlass_store_failures_total", 0.0),
        ],
    )
    .await;
    for by in ["turns", "activities"] {
        assert!(after.number(&format!("windlass_fuel_total{{by=\"{by}\"}}")) > 1_000.0);
    }
    let grown = |sample: &str| after.number(sample) - before.number(sample);
    // There were 18 turns, in any number of transactions.
    assert!(grown("windlass_store_operations_total") >= 18.0, "{after:?}");
    assert!(grown("windlass_store_commits_total") >= 1.0);
    assert_eq!(
        after.number("windlass_store_commit_seconds_count"),
        after.number("windlass_store_commits_total")
    );
    assert!(after.number("process_resident_memory_bytes") > 1e6);
    assert!(after.number("process_cpu_seconds_total") > 0.0);
    world.stop().await;
}

#[tokio::test]
async fn failures_replays_and_cut_off_attempts_are_counted() {
    let args = &["--hot", "0"];
    let mut world = World::start_with(&["bench", "bench_activities", "patterns", "patterns_activities"], args).await;
    world.run("BenchChain", &json!("replayed")).await;
    once(
        &world,
        &[
            ("windlass_guests_started_total{history=\"none\"}", 1.0),
            ("windlass_guests_started_total{history=\"replayed\"}", 5.0),
            ("windlass_turns_replayed_total", 15.0),
        ],
    )
    .await;

    world.backend.delay("unreliable", 60_000).await;
    let mut input = world.nested("call", json!({ "key": "cut", "failures": 2 }));
    input["firstIntervalMs"] = 50.into();
    world.begin("OrchestrationWithRetry", "cut", &input).await;
    until("the first attempt", async || {
        (world.backend.calls("POST unreliable").await == 1).then_some(())
    })
    .await;
    once(&world, &[("windlass_activity_attempts_running", 1.0)]).await;
    world.kill().await;
    world.backend.behave("unreliable").await;
    world.restart().await;
    world.output_of("cut").await;
    once(
        &world,
        &[
            ("windlass_activity_attempts_total{outcome=\"cut_off\"}", 1.0),
            ("windlass_activity_attempts_total{outcome=\"failed\"}", 2.0),
            ("windlass_activity_attempts_total{outcome=\"completed\"}", 1.0),
            // Counters begin at 0 with the restart, and the instance was started before it.
            ("windlass_instances_started_total{by=\"client\"}", 0.0),
            ("windlass_instances_ended_total{status=\"completed\"}", 1.0),
        ],
    )
    .await;
    world.stop().await;
}
