//! Tests of the approval workflow, which waits for an event or a timer, whichever comes first.

use harness::World;
use serde_json::{Value, json};

const MODULES: &[&str] = &["approval", "approval_activities"];

fn request(world: &World, reminder_every_seconds: u64, reminders: u32, escalation_seconds: u64) -> Value {
    world.input(json!({
        "title": "New winch",
        "requester": "ada@example.com",
        "approver": "grace@example.com",
        "manager": "barbara@example.com",
        "reminderEverySeconds": reminder_every_seconds,
        "reminders": reminders,
        "escalationSeconds": escalation_seconds,
    }))
}

async fn messages(world: &World, id: &str) -> Vec<String> {
    let messages = world.backend.get(&format!("/notifications?about={id}")).await;
    let messages = messages.as_array().expect("a list").iter();
    messages
        .map(|message| message["kind"].as_str().expect("a kind").to_owned())
        .collect()
}

#[tokio::test]
async fn the_approver_approves_or_rejects() {
    let world = World::start(MODULES).await;
    for (id, approved, outcome) in [("yes", true, "approved"), ("no", false, "rejected")] {
        world
            .begin("ApprovalWorkflow", id, &request(&world, 3600, 3, 3600))
            .await;
        world.once_custom(id, "Waiting for grace@example.com").await;
        world
            .raise(
                id,
                "Approval",
                json!({ "approved": approved, "by": "grace", "comment": "seen" }),
            )
            .await;
        assert_eq!(
            world.output_of(id).await,
            json!({ "outcome": outcome, "by": "grace", "comment": "seen", "remindersSent": 0, "escalated": false })
        );
        assert_eq!(messages(&world, id).await, ["approval-request", "decision"]);
    }
    world.stop().await;
}

#[tokio::test]
async fn the_approver_is_reminded_and_then_the_manager_decides() {
    let world = World::start(MODULES).await;
    world
        .begin("ApprovalWorkflow", "late", &request(&world, 1, 2, 3600))
        .await;
    world.once_custom("late", "Escalated to barbara@example.com").await;
    world
        .raise("late", "approval", json!({ "approved": true, "by": "barbara" }))
        .await;
    let output = world.output_of("late").await;
    assert_eq!(
        (
            &output["outcome"],
            &output["by"],
            &output["remindersSent"],
            &output["escalated"]
        ),
        (&json!("approved"), &json!("barbara"), &json!(2), &json!(true))
    );
    assert_eq!(
        messages(&world, "late").await,
        ["approval-request", "reminder", "reminder", "escalation", "decision"]
    );
    world.stop().await;
}

#[tokio::test]
async fn a_request_without_a_decision_expires() {
    let world = World::start(MODULES).await;
    let output = world.run("ApprovalWorkflow", &request(&world, 1, 1, 1)).await;
    assert_eq!(
        output,
        json!({ "outcome": "expired", "by": null, "comment": null, "remindersSent": 1, "escalated": true })
    );
    world.stop().await;
}

#[tokio::test]
async fn a_decision_reaches_a_workflow_that_was_waiting_when_the_host_was_killed() {
    let mut world = World::start(MODULES).await;
    world
        .begin("ApprovalWorkflow", "killed", &request(&world, 3600, 3, 3600))
        .await;
    world.once_custom("killed", "Waiting for grace@example.com").await;
    world.crash().await;
    world
        .raise("killed", "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    assert_eq!(world.output_of("killed").await["outcome"], "approved");
    assert_eq!(messages(&world, "killed").await, ["approval-request", "decision"]);
    world.stop().await;
}
