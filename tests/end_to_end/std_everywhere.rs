//! Tests of plain `std` in an orchestration: clocks, sleeps, hash order and random numbers are the same after a kill.

use harness::World;
use serde_json::{Value, json};

#[tokio::test]
async fn std_returns_the_same_values_after_a_kill() {
    let mut world = World::start(&["std_everywhere"]).await;
    world.begin("StdEverywhere", "std", &json!({ "sleepSeconds": 2 })).await;
    world.once_custom("std", "nap 1").await;
    world.crash().await;
    world.once_custom("std", "nap 2").await;
    world.crash().await;
    let output = world.output_of("std").await;

    let observations = output["observations"].as_array().expect("observations");
    assert_eq!(observations.len(), 3);
    // The observations differ from each other, and the clock advanced by the sleeps.
    for field in ["now", "hashMapOrder", "dice"] {
        assert_ne!(observations[0][field], observations[1][field], "{output:#}");
    }
    for slept in output["sleptMs"].as_array().expect("a duration for each clock") {
        assert!(
            slept.as_u64().is_some_and(|slept| (4_000..90_000).contains(&slept)),
            "{output:#}"
        );
    }
    // Replay does not print again: each line is in the log once.
    let naps: Vec<_> = world
        .log_of("std")
        .await
        .into_iter()
        .filter(|line| line.starts_with("nap"))
        .collect();
    assert_eq!(naps.len(), 2, "{naps:?}");
    // Replay repeats the recorded timers and adds none: one turn for the start, and one for each of two timers.
    let history = world.history("std").await;
    assert_eq!(history["turns"], 3, "{history:#}");
    world.stop().await;
}

#[tokio::test]
async fn two_hosts_that_continue_one_history_observe_the_same() {
    let mut world = World::start(&["std_everywhere"]).await;
    world.begin("StdEverywhere", "std", &json!({ "sleepSeconds": 1 })).await;
    world.once_custom("std", "nap 1").await;
    world.kill().await;
    let twin = world.copy().await;
    world.restart().await;
    let (one, other) = (world.output_of("std").await, twin.output_of("std").await);
    for look in 0..3 {
        let (one, other) = (&one["observations"][look], &other["observations"][look]);
        assert_eq!(
            (&one["dice"], &one["hashMapOrder"]),
            (&other["dice"], &other["hashMapOrder"])
        );
    }
    // The first observation was before the kill, so both hosts see the time of the recorded turn.
    assert_eq!(one["observations"][0]["now"], other["observations"][0]["now"]);
    twin.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn two_instances_see_different_random_numbers() {
    let world = World::start(&["std_everywhere"]).await;
    let mut seen: Vec<Value> = Vec::new();
    for _ in 0..2 {
        let output = world.run("StdEverywhere", &json!({ "sleepSeconds": 0 })).await;
        seen.push(output["observations"][0]["dice"].clone());
    }
    assert_ne!(seen[0], seen[1]);
    world.stop().await;
}
