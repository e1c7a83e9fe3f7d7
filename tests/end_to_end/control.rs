//! Tests of suspend, resume, terminate and purge.

use harness::{World, until};
use serde_json::{Value, json};

#[tokio::test]
async fn a_suspended_instance_does_nothing_until_it_is_resumed() {
    let mut world = World::start(&["approval", "approval_activities"]).await;
    let input = world.input(json!({
        "title": "New winch",
        "requester": "ada@example.com",
        "approver": "grace@example.com",
        "manager": "barbara@example.com",
        "reminderEverySeconds": 3600,
    }));
    world.begin("ApprovalWorkflow", "paused", &input).await;
    world.once_custom("paused", "Waiting for grace@example.com").await;
    for _ in 0..2 {
        world.tell("/v1/instances/paused/suspend").await.expect(202);
    }
    let suspended = world.once_status("paused", "Suspended").await;
    world
        .raise("paused", "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    world.crash().await;
    // Another instance completes in the meantime, but the suspended one does not advance.
    world.begin("ApprovalWorkflow", "other", &input).await;
    world
        .raise("other", "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    world.output_of("other").await;
    let still = world.status("paused").await;
    assert_eq!(
        (&still["runtimeStatus"], &still["turns"]),
        (&json!("Suspended"), &suspended["turns"])
    );

    world.tell("/v1/instances/paused/resume").await.expect(202);
    assert_eq!(world.output_of("paused").await["outcome"], "approved");
    for verb in ["suspend", "resume", "terminate"] {
        let answer = world.tell(&format!("/v1/instances/paused/{verb}")).await;
        answer.refused(410, "instance-ended");
    }
    world.stop().await;
}

#[tokio::test]
async fn terminate_reaches_children_and_their_running_activities() {
    let world = World::start(&["orders", "orders_activities"]).await;
    world.backend.delay("inventory", 50_000).await;
    let input = world.input(json!({ "orderId": "order-1003" }));
    // Only POST hangs, because validation reads the stock with GET.
    world
        .backend
        .put(
            "/control/faults/inventory",
            json!({ "delayMs": 50_000, "method": "POST" }),
        )
        .await;
    world.begin("FulfilmentWorkflow", "parent", &input).await;
    let children = until("activities of all children", async || {
        let page = world.get("/v1/instances?parentInstanceId=parent").await.expect(200);
        let reserving = world.backend.calls("POST inventory").await;
        let children = page["instances"].as_array().expect("a list").clone();
        (!children.is_empty() && reserving >= children.len() as u64).then_some(children)
    })
    .await;
    // Also those that are suspended, and not in memory if the host keeps no guests there.
    let first = children[0]["instanceId"].as_str().expect("an id");
    world.tell(&format!("/v1/instances/{first}/suspend")).await.expect(202);
    world.once_status(first, "Suspended").await;

    let answer = world
        .tell("/v1/instances/parent/terminate?reason=no%20longer%20wanted")
        .await;
    answer.expect(202);
    let parent = world.end_of("parent").await;
    assert_eq!(
        (&parent["runtimeStatus"], &parent["output"]),
        (&json!("Terminated"), &json!("no longer wanted"))
    );
    for child in &children {
        let id = child["instanceId"].as_str().expect("an id");
        world.once_status(id, "Terminated").await;
    }
    // Their activities were cancelled: nothing was shipped, and the host shuts down without waiting for them.
    world.backend.behave("inventory").await;
    assert_eq!(world.backend.get("/shipments").await, json!([]));
    world.stop().await;
}

#[tokio::test]
async fn only_ended_instances_are_purged() {
    let mut world = World::start(&["bench", "bench_activities", "patterns", "patterns_activities"]).await;
    let endless = world.input(json!({ "olderThanDays": 30 }));
    world.begin("PeriodicCleanup", "live", &endless).await;
    let problem = world
        .delete("/v1/instances/live")
        .await
        .refused(409, "instance-not-ended");
    assert_eq!(problem["instanceId"], "live");
    world.begin("BenchChain", "done", &json!("x")).await;
    world.output_of("done").await;
    world.purge("done").await;
    world.get("/v1/instances/done").await.refused(404, "unknown-instance");
    world
        .delete("/v1/instances/done")
        .await
        .refused(404, "unknown-instance");

    world.tell("/v1/instances/live/terminate").await.expect(202);
    world.once_status("live", "Terminated").await;
    world.purge("live").await;
    world.crash().await;
    assert_eq!(world.get("/v1/instances").await.expect(200)["instances"], json!([]));
    // A purged id can be reused, and the new instance starts from scratch.
    world.begin("BenchChain", "done", &json!("y")).await;
    assert_eq!(world.output_of("done").await, "y");
    world.stop().await;
}

#[tokio::test]
async fn a_parent_sees_a_terminated_child_as_a_failure() {
    let world = World::start(&["orders", "orders_activities"]).await;
    world
        .backend
        .put(
            "/control/faults/inventory",
            json!({ "delayMs": 50_000, "method": "POST" }),
        )
        .await;
    let input = world.input(json!({ "orderId": "order-1003" }));
    world.begin("FulfilmentWorkflow", "parent", &input).await;
    let order = world.backend.get("/orders/order-1003").await;
    let articles = order["items"].as_array().map_or(0, Vec::len);
    let children: Vec<Value> = until("a child for each article", async || {
        let page = world.get("/v1/instances?parentInstanceId=parent").await.expect(200);
        let children = page["instances"].as_array().expect("a list").clone();
        (children.len() == articles).then_some(children)
    })
    .await;
    for child in &children {
        let id = child["instanceId"].as_str().expect("an id");
        world.tell(&format!("/v1/instances/{id}/terminate")).await.expect(202);
    }
    let output = world.output_of("parent").await;
    assert_eq!(
        (&output["shipped"], output["missing"].as_array().map(Vec::len)),
        (&json!([]), Some(articles))
    );
    world.stop().await;
}
