//! Modules that misbehave while they run: they fail, and the host does not notice.

use harness::World;
use serde_json::{Value, json};

const MODULES: &[&str] = &[
    "hostile_orchestrations",
    "hostile_activities",
    "bench",
    "bench_activities",
];

/// Limits that are reached soon.
const LIMITS: &[&str] = &[
    "--turn-timeout",
    "5s",
    "--turn-fuel",
    "200000000",
    "--activity-fuel",
    "500000000",
    "--activity-memory",
    "32MiB",
    "--orchestrator-memory",
    "32MiB",
];

async fn still_serves(world: World) {
    world.is_healthy().await;
    assert_eq!(world.run("BenchChain", &json!("alive")).await, "alive");
    world.stop().await;
}

async fn activity_fails_with(world: &World, call: Value, error_types: &[&str]) {
    let outcome = world.run("CallHostileActivity", &call).await;
    let error_type = outcome["errorType"].as_str().unwrap_or("none");
    assert!(error_types.contains(&error_type), "{call}: {outcome:#}");
}

#[tokio::test]
async fn endless_activities_end_by_fuel_or_by_time() {
    let world = World::start_with(MODULES, LIMITS).await;
    activity_fails_with(
        &world,
        json!({ "activity": "HostileLoop" }),
        &["windlass.fuel-exhausted"],
    )
    .await;
    let sleep = json!({ "activity": "HostileSleep", "attemptTimeoutMs": 500 });
    activity_fails_with(&world, sleep, &["windlass.timeout"]).await;
    still_serves(world).await;
}

#[tokio::test]
async fn a_loop_with_plenty_of_fuel_ends_by_time() {
    let world = World::start(MODULES).await;
    let call = json!({ "activity": "HostileLoop", "attemptTimeoutMs": 500 });
    activity_fails_with(&world, call, &["windlass.timeout"]).await;
    still_serves(world).await;
}

#[tokio::test]
async fn activities_that_break_fail_and_others_go_on() {
    let world = World::start_with(MODULES, LIMITS).await;
    for (activity, error_types) in [
        ("HostileMemory", &["windlass.memory-exhausted", "windlass.trap"][..]),
        ("HostilePanic", &["windlass.trap"]),
        ("HostileTrap", &["windlass.trap"]),
        ("HostileExit", &["windlass.trap"]),
        ("HostileStackOverflow", &["windlass.trap"]),
        ("HostileLogFlood", &["windlass.fuel-exhausted"]),
        ("HostilePrintFlood", &["windlass.fuel-exhausted"]),
    ] {
        let call = json!({ "activity": activity, "attemptTimeoutMs": 20_000 });
        activity_fails_with(&world, call, error_types).await;
    }
    let output = json!({ "activity": "HostileOutput", "input": 2 });
    activity_fails_with(&world, output, &["windlass.invalid-payload"]).await;
    let nobody = json!({ "activity": "NobodyOffersThis" });
    activity_fails_with(&world, nobody, &["windlass.unknown-function"]).await;
    still_serves(world).await;
}

#[tokio::test]
async fn orchestrations_that_break_fail_and_others_go_on() {
    let world = World::start_with(MODULES, LIMITS).await;
    for (function, input, error_types) in [
        ("HostileTurnLoop", json!(null), &["windlass.fuel-exhausted"][..]),
        ("HostileTurnLoopLater", json!(null), &["windlass.fuel-exhausted"]),
        (
            "HostileTurnMemory",
            json!(null),
            &["windlass.memory-exhausted", "windlass.trap"],
        ),
        ("HostileTurnPanic", json!(null), &["windlass.trap"]),
        ("HostileTurnTrap", json!(null), &["windlass.trap"]),
        ("HostileTurnExit", json!(null), &["windlass.trap"]),
        ("HostileTurnLogFlood", json!(null), &["windlass.fuel-exhausted"]),
        ("HostileWaitsForNothing", json!(null), &["windlass.waits-for-nothing"]),
        ("HostileUnknownActivity", json!(null), &["windlass.unknown-function"]),
        (
            "HostileStatus",
            json!(2),
            &["windlass.invalid-payload", "windlass.trap"],
        ),
    ] {
        let failure = world.run_failing(function, &input).await;
        let error_type = failure["type"].as_str().unwrap_or("none");
        assert!(error_types.contains(&error_type), "{function}: {failure:#}");
    }
    still_serves(world).await;
}

#[tokio::test]
async fn an_orchestration_without_bounds_meets_those_of_the_host() {
    let world = World::start(MODULES).await;
    let failure = world.run_failing("HostileTooManyTasks", &json!(null)).await;
    assert_eq!(failure["type"], "windlass.limit", "{failure:#}");
    let failure = world.run_failing("HostileStatus", &json!(48)).await;
    assert_eq!(failure["type"], "windlass.memory-exhausted", "{failure:#}");
    still_serves(world).await;
}

#[tokio::test]
async fn an_orchestration_that_runs_away_does_not_starve_others_and_can_be_ended() {
    let world = World::start_with(MODULES, LIMITS).await;
    world.begin("HostileRunaway", "runaway", &json!(null)).await;
    world
        .once("runaway", "a hundred executions", |instance| {
            instance["execution"].as_u64() > Some(100)
        })
        .await;
    assert_eq!(world.run("BenchChain", &json!("alive")).await, "alive");
    world.tell("/v1/instances/runaway/terminate").await.expect(202);
    world.once_status("runaway", "Terminated").await;
    world.purge("runaway").await;
    still_serves(world).await;
}

#[tokio::test]
async fn a_turn_that_takes_the_host_down_three_times_is_set_aside() {
    let endless = &["--turn-timeout", "10m", "--turn-fuel", "1000000000000000"];
    let mut world = World::start_with(MODULES, endless).await;
    world.begin("HostileTurnLoop", "deadly", &json!(null)).await;
    for _ in 0..3 {
        // Its turn is under way as soon as the host answers: nothing else is due.
        world.begin("BenchChain", "probe", &json!("x")).await;
        world.output_of("probe").await;
        assert_ne!(world.status("deadly").await["runtimeStatus"], "Stuck");
        world.crash().await;
    }
    let stuck = world.once_status("deadly", "Stuck").await;
    assert_eq!(stuck["stuck"]["code"], "took-host-down", "{stuck:#}");
    assert_eq!(world.run("BenchChain", &json!("alive")).await, "alive");
    // It can be ended and removed without being run.
    world.tell("/v1/instances/deadly/terminate").await.expect(202);
    world.once_status("deadly", "Terminated").await;
    world.purge("deadly").await;
    still_serves(world).await;
}
