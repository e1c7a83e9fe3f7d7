//! Tests of activities that take long: heartbeats and cancellation.

use harness::{World, until};
use serde_json::{Value, json};

const MODULES: &[&str] = &["long_calls", "long_calls_activities"];

/// Waits until the stored details of the heartbeat of an import satisfy the condition, and returns them.
async fn once_reported(world: &World, id: &str, is_so: impl Fn(u64) -> bool) -> u64 {
    until(&format!("the import {id} has reported enough rows"), async || {
        let history = world.history(id).await;
        let details = history["heartbeats"][0]["details"].as_u64();
        details.filter(|rows| is_so(*rows))
    })
    .await
}

fn attempt_types(history: &Value) -> Vec<&str> {
    let attempts = history["attempts"].as_array().expect("attempts").iter();
    attempts
        .map(|attempt| attempt["failure"]["type"].as_str().expect("a type"))
        .collect()
}

#[tokio::test]
async fn the_next_attempt_gets_the_last_heartbeat() {
    let world = World::start(MODULES).await;
    // The rows take no time, so most heartbeats are stored only because the attempt fails.
    let import = json!({ "import": { "rows": 5_000, "failsAfter": 3_000 } });
    world.begin("ImportWithHeartbeats", "import", &import).await;
    let output = world.output_of("import").await;
    assert_eq!(output, json!({ "rows": 5_000, "resumedAfter": 3_000, "attempt": 2 }));
    assert_eq!(attempt_types(&world.history("import").await), ["ConnectionLost"]);
    world.purge("import").await;
    world.stop().await;
}

#[tokio::test]
async fn a_crash_of_the_host_loses_only_heartbeats_that_were_not_stored() {
    let mut world = World::start(MODULES).await;
    let import = json!({ "import": { "rows": 60, "rowMs": 100 } });
    world.begin("ImportWithHeartbeats", "import", &import).await;
    let reported = once_reported(&world, "import", |rows| rows > 5).await;
    world.crash().await;
    let output = world.output_of("import").await;
    let resumed_after = output["resumedAfter"].as_u64().expect("a number");
    assert!(resumed_after >= reported, "{output}, reported {reported}");
    assert_eq!((&output["rows"], &output["attempt"]), (&json!(60), &json!(1)));
    world.stop().await;
}

#[tokio::test]
async fn an_attempt_without_heartbeats_fails_and_is_repeated() {
    let world = World::start(MODULES).await;
    let import = json!({ "import": { "rows": 5, "hangsAfter": 2 }, "heartbeatSeconds": 1 });
    world.begin("ImportWithHeartbeats", "import", &import).await;
    let output = world.output_of("import").await;
    assert_eq!(output, json!({ "rows": 5, "resumedAfter": 2, "attempt": 2 }));
    let history = world.history("import").await;
    assert_eq!(attempt_types(&history), ["windlass.heartbeat-timeout"]);
    let options = &history["history"][0]["decisions"][0]["options"];
    assert_eq!(options["heartbeatTimeoutMs"], 1_000, "{history:#}");
    let none = json!({ "import": { "rows": 1 }, "heartbeatSeconds": 0 });
    world.run("ImportWithHeartbeats", &none).await;
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_attempt_cleans_up() {
    let world = World::start(MODULES).await;
    let import = json!({ "import": { "rows": 100_000, "rowMs": 20 } });
    let cleaned_up = async |id: &str| {
        until(&format!("the attempt of {id} has cleaned up"), async || {
            let log = world.log_of(id).await;
            log.iter()
                .any(|line| line.starts_with("cancelled: removed"))
                .then_some(())
        })
        .await;
    };

    // The orchestration cancels the call.
    world.begin("ImportWithHeartbeats", "cancelled", &import).await;
    once_reported(&world, "cancelled", |rows| rows > 0).await;
    world.raise("cancelled", "Stop", json!("enough")).await;
    let failure = world.failure_of("cancelled").await;
    assert_eq!(failure["type"], "windlass.cancelled");
    cleaned_up("cancelled").await;

    // The instance is terminated.
    world.begin("ImportWithHeartbeats", "terminated", &import).await;
    once_reported(&world, "terminated", |rows| rows > 0).await;
    world.tell("/v1/instances/terminated/terminate").await.expect(202);
    cleaned_up("terminated").await;

    // Each attempt takes too long, and the next one goes on after it.
    let slow = json!({ "import": { "rows": 80, "rowMs": 20 }, "attemptSeconds": 1 });
    world.begin("ImportWithHeartbeats", "slow", &slow).await;
    let output = world.output_of("slow").await;
    assert!(output["resumedAfter"].as_u64() > Some(0), "{output}");
    cleaned_up("slow").await;
    let history = world.history("slow").await;
    assert!(
        attempt_types(&history)
            .iter()
            .all(|error_type| *error_type == "windlass.timeout")
    );
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_attempt_that_goes_on_is_stopped_after_its_grace() {
    let args = ["--cancellation-grace", "1s", "--activity-slots", "1"];
    let world = World::start_with(MODULES, &args).await;
    let import = json!({ "import": { "rows": 100_000, "rowMs": 20, "stubborn": true } });
    world.begin("ImportWithHeartbeats", "stubborn", &import).await;
    once_reported(&world, "stubborn", |rows| rows > 0).await;
    world.raise("stubborn", "Stop", json!("enough")).await;
    let failure = world.failure_of("stubborn").await;
    assert_eq!(failure["type"], "windlass.cancelled");
    // Its slot becomes free.
    world
        .run("ImportWithHeartbeats", &json!({ "import": { "rows": 1 } }))
        .await;

    // A shutdown does not wait for the grace.
    world.begin("ImportWithHeartbeats", "last", &import).await;
    once_reported(&world, "last", |rows| rows > 0).await;
    world.tell("/v1/instances/last/terminate").await.expect(202);
    world.end_of("last").await;
    world.stop().await;
}
