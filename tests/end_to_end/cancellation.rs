//! Tests of cancellation, with a crash in its middle.

use harness::World;
use serde_json::{Value, json};

const MODULES: &[&str] = &["conformance", "conformance_activities"];

#[tokio::test]
async fn a_cancelled_instance_cleans_up_even_if_the_host_crashes_in_between() {
    let mut world = World::start(MODULES).await;
    world.begin("ConformanceCancellable", "trip", &json!(null)).await;
    world.once_custom("trip", "waiting").await;
    // The request is durable when it is answered, and the code sees it after a crash.
    let path = "/v1/instances/trip/cancel";
    world.post(path, &json!({ "reason": "no time" })).await.expect(202);
    world.crash().await;
    world.post(path, &json!({ "reason": "another" })).await.expect(202);
    world.once_custom("trip", "cleaning up").await;
    world.crash().await;

    let ended = world.end_of("trip").await;
    assert_eq!(ended["runtimeStatus"], "Canceled", "{ended:#}");
    let failure = &ended["failure"];
    assert_eq!(
        (&failure["type"], &failure["message"]),
        (&json!("windlass.cancelled"), &json!("no time"))
    );
    let history = world.history("trip").await;
    let turns = history["history"].as_array().expect("turns").iter();
    let arrivals = turns.flat_map(|turn| turn["arrivals"].as_array().expect("arrivals"));
    let requests: Vec<&Value> = arrivals
        .filter(|arrival| arrival["type"] == "CancelRequested")
        .collect();
    assert_eq!(requests, [&json!({ "type": "CancelRequested", "reason": "no time" })]);

    world.post(path, &json!({})).await.refused(410, "instance-ended");
    world
        .post("/v1/instances/nowhere/cancel", &json!(null))
        .await
        .refused(404, "unknown-instance");
    let listed = world.get("/v1/instances?runtimeStatus=Canceled").await.expect(200);
    assert_eq!(listed["instances"][0]["instanceId"], "trip", "{listed:#}");
    world.stop().await;
}

#[tokio::test]
async fn a_request_stays_across_continue_as_new_and_is_only_a_request() {
    let mut world = World::start(MODULES).await;
    world.begin("ConformanceCancelledTwice", "twice", &json!(null)).await;
    world.once_custom("twice", "waiting").await;
    let suspended = world.tell("/v1/instances/twice/suspend").await;
    suspended.expect(202);
    world.once_status("twice", "Suspended").await;
    let asked = world.cli(&["cancel", "twice", "--reason", "enough"]).await;
    assert_eq!(asked.code, 0, "{asked:?}");
    world.crash().await;
    // It sees the request when it is resumed.
    assert_eq!(world.status("twice").await["runtimeStatus"], "Suspended");
    world.tell("/v1/instances/twice/resume").await.expect(202);
    assert_eq!(world.output_of("twice").await, "goes on after: enough");
    let status = world.status("twice").await;
    assert_eq!(status["execution"], 2, "{status:#}");
    world.stop().await;
}

#[tokio::test]
async fn instances_are_cancelled_before_their_start_and_by_filters() {
    let mut world = World::start(MODULES).await;
    let later = "/v1/orchestrations/ConformanceCancellable?startAfter=1d&instanceId=later";
    world.post(later, &json!(null)).await.expect(202);
    world.begin("ConformanceCancellable", "now", &json!(null)).await;
    world.once_custom("now", "waiting").await;
    let counted = world
        .cli(&["cancel", "--name", "ConformanceCancellable", "--dry-run"])
        .await;
    assert!(
        counted.stdout.contains("would ask 2 instances to cancel"),
        "{counted:?}"
    );
    let done = world
        .tell("/v1/bulk/cancel?name=ConformanceCancellable&reason=over")
        .await;
    assert_eq!(done.expect(200)["instances"], 2);
    world.crash().await;
    for id in ["later", "now"] {
        let ended = world.end_of(id).await;
        assert_eq!(
            (&ended["runtimeStatus"], &ended["failure"]["message"]),
            (&json!("Canceled"), &json!("over")),
            "{ended:#}"
        );
    }
    let late = world.status("later").await;
    assert_eq!(late["turns"], 1, "its code did not run: {late:#}");
    // `stop` replays all histories.
    world.stop().await;
}

#[tokio::test]
async fn children_are_closed_with_their_parent_in_one_commit() {
    let mut world = World::start(MODULES).await;
    for leave in ["Complete", "Fail", "Wait"] {
        world.begin("ConformanceParent", leave, &json!(leave)).await;
        world.once_custom(leave, "waiting").await;
        for policy in ["abandon", "terminate", "cancel"] {
            world.once_custom(&format!("{leave}-{policy}"), "waiting").await;
        }
    }
    for leave in ["Complete", "Fail"] {
        world.raise(leave, "leave", json!(null)).await;
    }
    let terminated = world.tell("/v1/instances/Wait/terminate").await;
    terminated.expect(202);
    for (leave, status) in [("Complete", "Completed"), ("Fail", "Failed"), ("Wait", "Terminated")] {
        assert_eq!(world.end_of(leave).await["runtimeStatus"], status);
    }
    // What happens to the children is as durable as the end of the parent.
    world.crash().await;
    for leave in ["Complete", "Fail", "Wait"] {
        let terminated = world.end_of(&format!("{leave}-terminate")).await;
        assert_eq!(terminated["runtimeStatus"], "Terminated", "{leave}: {terminated:#}");
        let cancelled = world.end_of(&format!("{leave}-cancel")).await;
        assert_eq!(cancelled["runtimeStatus"], "Canceled", "{leave}: {cancelled:#}");
        let abandoned = world.status(&format!("{leave}-abandon")).await;
        assert_eq!(abandoned["runtimeStatus"], "Running", "{leave}: {abandoned:#}");
    }
    world.stop().await;
}
