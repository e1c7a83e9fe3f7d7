//! Tests of large backlogs of events over many executions: no event is lost, and the cost per event is constant.

use futures::StreamExt as _;
use harness::World;
use serde_json::{Value, json};

const MODULES: &[&str] = &["patterns", "patterns_activities"];

/// Starts an instance that takes one event per execution, and suspends it.
async fn suspended(id: &str) -> World {
    let world = World::start(MODULES).await;
    world
        .begin("RunningTotal", id, &json!({ "turnsPerExecution": 0 }))
        .await;
    world.once_status(id, "Running").await;
    world.tell(&format!("/v1/instances/{id}/suspend")).await.expect(202);
    world.once_status(id, "Suspended").await;
    world
}

/// Raises `payments` events with the value 1, each padded to `bytes` bytes, eight at a time.
async fn pay(world: &World, id: &str, payments: usize, bytes: usize) {
    let body = format!("1{}", " ".repeat(bytes - 1));
    let raised = futures::stream::iter(0..payments).map(|_| {
        let path = format!("/v1/instances/{id}/events/payment");
        let request = world.request("POST".parse().expect("a method"), &path);
        world.send(request.header("content-type", "application/json").body(body.clone()))
    });
    raised
        .buffer_unordered(8)
        .for_each(|answer| async move { drop(answer.expect(202)) })
        .await;
}

/// Closes the account once it has taken all payments, and returns the output.
async fn total(world: &World, id: &str, payments: usize) -> Value {
    world.once_custom(id, payments).await;
    world.raise(id, "close", json!(null)).await;
    let output = world.output_of(id).await;
    assert_eq!(output["payments"], payments);
    output
}

#[tokio::test]
async fn a_backlog_larger_than_an_owner_keeps_in_memory_survives_executions_and_a_crash() {
    let mut world = suspended("large").await;
    // The orchestration never waits for this event.
    world.raise("large", "noise", json!("x".repeat(1_000))).await;
    pay(&world, "large", 72, 1_000_000).await;
    world.tell("/v1/instances/large/resume").await.expect(202);
    world
        .once("large", "a fourth execution", |status| {
            status["execution"].as_u64() > Some(3)
        })
        .await;
    world.crash().await;
    pay(&world, "large", 8, 1_000).await;
    assert_eq!(total(&world, "large", 80).await["total"], 80);
    let history = world.history("large").await;
    assert!(!history.to_string().contains("noise"), "the event was taken");
    world.stop().await;
}

#[tokio::test]
async fn the_cost_of_an_event_does_not_depend_on_the_backlog() {
    let mut costs = Vec::new();
    for payments in [150, 1_200] {
        let world = suspended("many").await;
        pay(&world, "many", payments, 1_000).await;
        let before = world.written_bytes();
        world.tell("/v1/instances/many/resume").await.expect(202);
        world.once_custom("many", payments).await;
        costs.push((world.written_bytes() - before) / payments as u64);
        assert_eq!(total(&world, "many", payments).await["total"], payments);
        world.stop().await;
    }
    assert!(costs[1] < 2 * costs[0], "bytes per event: {costs:?}");
}
