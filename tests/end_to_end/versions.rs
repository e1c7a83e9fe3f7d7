//! Tests of deploys while instances run: each instance finishes on the module version that it started on.

use harness::{World, module};
use serde_json::{Value, json};

fn request(world: &World) -> Value {
    world.input(json!({
        "title": "New winch",
        "requester": "ada@example.com",
        "approver": "grace@example.com",
        "manager": "barbara@example.com",
        "reminderEverySeconds": 3600,
    }))
}

/// The component with an additional custom section: the same code with another digest.
fn rebuilt(name: &str) -> Vec<u8> {
    let mut bytes = module(name);
    bytes.extend([0, 6, 4]);
    bytes.extend(b"note!");
    bytes
}

#[tokio::test]
async fn an_instance_finishes_on_its_version_after_its_function_is_removed() {
    let mut world = World::start(&["approval", "approval_activities"]).await;
    world.begin("ApprovalWorkflow", "old", &request(&world)).await;
    world.once_custom("old", "Waiting for grace@example.com").await;
    let old_digest = world.status("old").await["moduleDigest"].clone();

    // Other code under the same name, without the function.
    let replaced = world.upload("approval", module("bench")).await.expect(201);
    assert_ne!(replaced["digest"], old_digest);
    let answer = world
        .post("/v1/orchestrations/ApprovalWorkflow", &request(&world))
        .await;
    answer.refused(404, "unknown-function");
    // The crash forces a replay, which would find a difference with the new code.
    world.crash().await;
    world
        .raise("old", "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    assert_eq!(world.output_of("old").await["outcome"], "approved");
    assert_eq!(world.status("old").await["moduleDigest"], old_digest);
    world.stop().await;
}

#[tokio::test]
async fn new_instances_start_on_the_newest_version() {
    let world = World::start(&["approval", "approval_activities"]).await;
    world.begin("ApprovalWorkflow", "old", &request(&world)).await;
    world.once_custom("old", "Waiting for grace@example.com").await;
    let newer = world.upload("approval", rebuilt("approval")).await.expect(201);
    world.begin("ApprovalWorkflow", "new", &request(&world)).await;
    for id in ["old", "new"] {
        world
            .raise(id, "Approval", json!({ "approved": true, "by": "grace" }))
            .await;
        assert_eq!(world.output_of(id).await["outcome"], "approved");
    }
    assert_ne!(world.status("old").await["moduleDigest"], newer["digest"]);
    assert_eq!(world.status("new").await["moduleDigest"], newer["digest"]);
    world.stop().await;
}

#[tokio::test]
async fn a_deleted_module_still_serves_the_instances_that_run_on_it() {
    let mut world = World::start(&["approval", "approval_activities"]).await;
    world.begin("ApprovalWorkflow", "old", &request(&world)).await;
    world.once_custom("old", "Waiting for grace@example.com").await;
    world.delete("/v1/modules/approval").await.expect(204);
    world.crash().await;
    world
        .raise("old", "Approval", json!({ "approved": false, "by": "grace" }))
        .await;
    assert_eq!(world.output_of("old").await["outcome"], "rejected");
    world.stop().await;
}
