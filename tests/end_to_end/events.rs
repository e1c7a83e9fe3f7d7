//! Tests of external events: early ones are kept, each name is delivered in order, names are case-insensitive, and no
//! event is lost when a timer cancels its wait.

use harness::{World, until};
use serde_json::{Value, json};

const MODULES: &[&str] = &["approval", "approval_activities"];

fn request(world: &World) -> Value {
    world.input(json!({
        "title": "New winch",
        "requester": "ada@example.com",
        "approver": "grace@example.com",
        "manager": "barbara@example.com",
        "reminderEverySeconds": 3600,
    }))
}

#[tokio::test]
async fn events_raised_before_their_wait_survive_a_crash_in_order() {
    let mut world = World::start(MODULES).await;
    // The first notification hangs, so the workflow does not reach its wait.
    world
        .backend
        .put("/control/faults/notifications", json!({ "delayMs": 60_000 }))
        .await;
    world.begin("ApprovalWorkflow", "early", &request(&world)).await;
    until("the first activity", async || {
        (world.backend.calls("POST notifications").await > 0).then_some(())
    })
    .await;
    world.raise("early", "Other", json!("not for this wait")).await;
    world
        .raise("early", "APPROVAL", json!({ "approved": false, "by": "first" }))
        .await;
    world
        .raise("early", "approval", json!({ "approved": true, "by": "second" }))
        .await;
    world.backend.behave("notifications").await;
    world.crash().await;
    let output = world.output_of("early").await;
    assert_eq!(
        (&output["outcome"], &output["by"]),
        (&json!("rejected"), &json!("first"))
    );
    world.stop().await;
}

#[tokio::test]
async fn an_event_that_arrives_together_with_a_timer_is_not_lost() {
    let world = World::start(MODULES).await;
    let mut input = request(&world);
    input["reminderEverySeconds"] = 1.into();
    world.begin("ApprovalWorkflow", "race", &input).await;
    world.once_custom("race", "Waiting for grace@example.com").await;
    world.tell("/v1/instances/race/suspend").await.expect(202);
    world.once_status("race", "Suspended").await;
    // When an instance that started later sends its first reminder, the timer of this one is due too.
    world.begin("ApprovalWorkflow", "clock", &input).await;
    until("a reminder", async || {
        let messages = world.backend.get("/notifications?about=clock&kind=reminder").await;
        (messages != json!([])).then_some(())
    })
    .await;
    world
        .raise("race", "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    world.tell("/v1/instances/race/resume").await.expect(202);
    let output = world.output_of("race").await;
    assert_eq!(
        (&output["outcome"], &output["by"]),
        (&json!("approved"), &json!("grace"))
    );
    world.tell("/v1/instances/clock/terminate").await.expect(202);
    world.stop().await;
}

#[tokio::test]
async fn an_event_between_two_waits_is_kept_for_the_second() {
    let mut world = World::start(MODULES).await;
    let mut input = request(&world);
    input["reminderEverySeconds"] = 1.into();
    world.begin("ApprovalWorkflow", "between", &input).await;
    world.once_custom("between", "Waiting for grace@example.com").await;
    // The timer ended the first wait, and the reminder hangs, so the second wait has not begun.
    world.backend.delay("notifications", 60_000).await;
    until("the reminder", async || {
        (world.backend.calls("POST notifications").await == 2).then_some(())
    })
    .await;
    world
        .raise("between", "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    world.backend.behave("notifications").await;
    world.crash().await;
    let output = world.output_of("between").await;
    assert_eq!(
        (&output["outcome"], &output["remindersSent"]),
        (&json!("approved"), &json!(1))
    );
    world.stop().await;
}

#[tokio::test]
async fn events_are_refused_for_unknown_and_ended_instances() {
    let world = World::start(MODULES).await;
    let event = json!({ "approved": true, "by": "grace" });
    let problem = world.post("/v1/instances/nobody/events/Approval", &event).await;
    assert_eq!(problem.refused(404, "unknown-instance")["instanceId"], "nobody");
    world.begin("ApprovalWorkflow", "over", &request(&world)).await;
    world.raise("over", "Approval", event.clone()).await;
    world.output_of("over").await;
    let problem = world.post("/v1/instances/over/events/Approval", &event).await;
    assert_eq!(problem.refused(410, "instance-ended")["instanceStatus"], "Completed");
    world.stop().await;
}

#[tokio::test]
async fn an_event_with_an_idempotency_key_is_delivered_once() {
    let mut world = World::start(MODULES).await;
    world
        .backend
        .put("/control/faults/notifications", json!({ "delayMs": 60_000 }))
        .await;
    world.begin("ApprovalWorkflow", "once", &request(&world)).await;
    let path = "/v1/instances/once/events/Approval";
    let raise = |payload: Value| {
        let request = world.request("POST".parse().expect("a method"), path);
        world.send(request.header("idempotency-key", "event-1").json(&payload))
    };
    let event = json!({ "approved": true, "by": "grace" });
    raise(event.clone()).await.expect(202);
    raise(event.clone()).await.expect(202);
    raise(json!({ "approved": false, "by": "grace" }))
        .await
        .refused(422, "idempotency-key-reused");
    world.backend.behave("notifications").await;
    world.crash().await;
    assert_eq!(world.output_of("once").await["outcome"], "approved");
    let history = world.history("once").await;
    let turns = history["history"].as_array().expect("turns").iter();
    let events = turns
        .flat_map(|turn| turn["arrivals"].as_array().expect("arrivals"))
        .filter(|arrival| arrival["type"] == "EventRaised")
        .count();
    assert_eq!(events, 1, "{history:#}");
    world.stop().await;
}
