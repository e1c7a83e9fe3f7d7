//! Tests of what an instance waits for, hot, suspended and after a crash.

use harness::{World, until};
use serde_json::{Value, json};

const MODULES: &[&str] = &["approval", "approval_activities"];

async fn waiting(world: &World, id: &str) -> Value {
    let path = format!("/v1/instances/{id}?waiting=true");
    world.get(&path).await.expect(202)["waitingFor"].clone()
}

#[tokio::test]
async fn what_an_instance_waits_for_is_the_same_hot_suspended_and_after_a_crash() {
    let mut world = World::start(MODULES).await;
    let input = world.input(json!({
        "title": "New winch",
        "requester": "ada@example.com",
        "approver": "grace@example.com",
        "manager": "barbara@example.com",
        "reminderEverySeconds": 3600,
    }));
    let path = "/v1/orchestrations/ApprovalWorkflow?instanceId=a";
    world.post(path, &input).await.expect(202);
    until("it waits for the approval", async || {
        let waiting = waiting(&world, "a").await;
        (waiting["events"]["total"] == 1 && waiting["activities"]["total"] == 0).then_some(())
    })
    .await;
    let hot = waiting(&world, "a").await;
    assert_eq!(hot["complete"], true, "{hot:#}");
    assert_eq!(hot["events"]["first"][0]["name"], "Approval", "{hot:#}");
    assert!(hot["timers"]["total"].as_u64() >= Some(1), "{hot:#}");

    world.tell("/v1/instances/a/suspend").await.expect(202);
    until("it is suspended", async || {
        (world.status("a").await["runtimeStatus"] == "Suspended").then_some(())
    })
    .await;
    assert_eq!(waiting(&world, "a").await, hot);
    world.crash().await;
    assert_eq!(waiting(&world, "a").await, hot);
    let shown = world.cli(&["status", "a", "--waiting"]).await;
    assert!(shown.code == 0 && shown.stdout.contains("Approval"), "{shown:?}");

    world.tell("/v1/instances/a/resume").await.expect(202);
    world
        .raise("a", "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    assert_eq!(world.output_of("a").await["outcome"], "approved");
    let ended = world.get("/v1/instances/a?waiting=true").await.expect(200);
    assert!(ended.get("waitingFor").is_none(), "{ended:#}");
    world.stop().await;
}
