//! Tests of rewinds: failed orchestrations go on after what made them fail was repaired, also if the host is killed.

use harness::{World, until};
use reqwest::Method;
use serde_json::{Value, json};

const MODULES: &[&str] = &["patterns", "patterns_activities", "entities", "entities_orchestrations"];

/// Calls of a service, each in a sub-orchestration. Each fails as often as given.
fn calls(world: &World, calls: &[(&str, u32)]) -> Value {
    let calls = calls
        .iter()
        .map(|(key, failures)| world.input(json!({ "key": key, "failures": failures })));
    calls.collect()
}

async fn calls_of(world: &World, key: &str) -> Value {
    world.backend.get(&format!("/unreliable/{key}")).await["calls"].take()
}

fn superseded(history: &Value) -> Vec<bool> {
    let turns = history["history"].as_array().expect("turns").iter();
    turns.map(|turn| turn["superseded"] == true).collect()
}

#[tokio::test]
async fn a_rewind_at_the_moment_of_the_failure_is_not_lost() {
    let world = World::start(&["bench", "bench_activities"]).await;
    for round in 0..5 {
        // More calls than a turn may make. The guest is large, so its owner takes a while to end.
        let id = format!("large-{round}");
        let input = json!({ "activities": 200_000 });
        world.begin("BenchFanout", &id, &input).await;
        world.failure_of(&id).await;
        for turns in [3, 5] {
            world.tell(&format!("/v1/instances/{id}/rewind")).await.expect(202);
            world.failure_of(&id).await;
            assert_eq!(world.status(&id).await["turns"], turns);
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn only_what_failed_runs_again_in_a_parent_and_its_children_even_if_the_host_is_killed() {
    let mut world = World::start(MODULES).await;
    let input = calls(&world, &[("good", 0), ("bad", 1), ("fine", 0)]);
    world.begin("AllOrNothing", "all", &input).await;
    let failure = world.failure_of("all").await;
    assert_eq!(failure["type"], "Unreliable", "{failure:#}");
    // The others may end after the failure of their parent.
    until("the ends of all", async || {
        let list = world.get("/v1/instances?runtimeStatus=Completed").await.expect(200);
        (list["instances"].as_array().map(Vec::len) == Some(2)).then_some(())
    })
    .await;
    // The host is killed while the call is repeated.
    world.backend.delay("unreliable", 60_000).await;
    let before = world.backend.calls("POST unreliable").await;
    world.tell("/v1/instances/all/rewind?reason=repaired").await.expect(202);
    let running = world.status("all").await;
    assert_eq!(running["runtimeStatus"], "Running", "{running:#}");
    assert!(
        running["failure"].is_null() && running["customStatus"] == "Calling",
        "{running:#}"
    );
    until("another call", async || {
        (world.backend.calls("POST unreliable").await > before).then_some(())
    })
    .await;
    world.kill().await;
    world.backend.behave("unreliable").await;
    world.restart().await;

    assert_eq!(world.output_of("all").await, json!([1, 2, 1]));
    for (key, times) in [("good", 1), ("bad", 2), ("fine", 1)] {
        assert_eq!(calls_of(&world, key).await, times, "{key}");
    }
    let history = world.history("all").await;
    let which = superseded(&history);
    let row = which
        .iter()
        .rposition(|superseded| *superseded)
        .expect("some are superseded")
        + 1;
    let rewound = &history["history"][row]["arrivals"][0];
    assert_eq!(
        (&rewound["type"], &rewound["reason"]),
        (&json!("Rewound"), &json!("repaired")),
        "{history:#}"
    );
    assert!(!which[0] && !which[which.len() - 1], "{history:#}");
    world.stop().await;
}

#[tokio::test]
async fn a_rewind_that_was_accepted_survives_a_crash_and_may_fail_again() {
    let mut world = World::start(MODULES).await;
    let input = world.input(json!({ "key": "twice", "failures": 2 }));
    world.begin("OneCall", "one", &input).await;
    world.failure_of("one").await;
    let rewind = async |world: &World| {
        let request = world.request(Method::POST, "/v1/instances/one/rewind");
        world.send(request.header("idempotency-key", "rewind-1")).await
    };
    rewind(&world).await.expect(202);
    world.crash().await;
    rewind(&world).await.expect(202);
    until("the second failure", async || {
        (calls_of(&world, "twice").await == 2).then_some(())
    })
    .await;
    assert_eq!(world.failure_of("one").await["type"], "Unreliable");
    let rewound = world.cli(&["rewind", "one", "--reason", "once more"]).await;
    assert_eq!(rewound.code, 0, "{rewound:?}");
    assert_eq!(world.output_of("one").await, 3);
    world.stop().await;
}

#[tokio::test]
async fn only_failed_orchestrations_are_rewound_one_at_a_time_or_all_at_once() {
    let world = World::start(MODULES).await;
    let rewind = async |id: &str| world.tell(&format!("/v1/instances/{id}/rewind")).await;
    rewind("none").await.refused(404, "unknown-instance");
    rewind("@counter@a").await.refused(409, "is-entity");
    let fine = world.input(json!({ "key": "fine", "failures": 0 }));
    world.begin("OneCall", "fine", &fine).await;
    world.output_of("fine").await;
    let refused = rewind("fine").await.refused(409, "instance-not-failed");
    assert_eq!(refused["instanceStatus"], "Completed");
    for key in ["a", "b", "c"] {
        let input = world.input(json!({ "key": key, "failures": 1 }));
        world.begin("OneCall", key, &input).await;
        world.failure_of(key).await;
    }
    let counted = world.cli(&["rewind", "--name", "OneCall", "--dry-run", "--json"]).await;
    assert_eq!(counted.json()["instances"], 3);
    let done = world.tell("/v1/bulk/rewind?name=OneCall").await.expect(200);
    assert_eq!(done["instances"], 3);
    for key in ["a", "b", "c"] {
        assert_eq!(world.output_of(key).await, 2, "{key}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_end_of_a_rewound_child_does_not_change_its_ended_parent() {
    let world = World::start(MODULES).await;
    let input = calls(&world, &[("bad", 1)]);
    world.begin("AllOrNothing", "parent", &input).await;
    let failure = world.failure_of("parent").await;
    let list = world.get("/v1/instances?name=OneCall").await.expect(200);
    let child = list["instances"][0]["instanceId"].as_str().expect("a child").to_owned();
    world.tell(&format!("/v1/instances/{child}/rewind")).await.expect(202);
    assert_eq!(world.output_of(&child).await, 2);
    assert_eq!(world.failure_of("parent").await, failure);
    // The parent takes the result of its child when it is rewound itself.
    world.tell("/v1/instances/parent/rewind").await.expect(202);
    assert_eq!(world.output_of("parent").await, json!([2]));
    assert_eq!(calls_of(&world, "bad").await, 2);
    world.stop().await;
}

#[tokio::test]
async fn operations_that_failed_are_applied_once_after_a_rewind_even_if_the_host_is_killed() {
    let mut world = World::start(MODULES).await;
    let add = async |world: &World, by: i64| {
        let request = world.request(Method::POST, "/v1/entities/Counter/full/calls/add?wait=20s");
        world.send(request.body(by.to_string())).await.expect(200)
    };
    add(&world, i64::MAX - 1).await;
    // The first one succeeds, and the counter can take no more.
    let input = json!({ "counter": "full", "signals": 0, "calls": 4 });
    world.begin("CountTogether", "count", &input).await;
    assert_eq!(world.failure_of("count").await["type"], "CounterOverflow");
    add(&world, -10).await;
    world.tell("/v1/instances/count/rewind").await.expect(202);
    world.kill().await;
    world.restart().await;
    assert_eq!(world.output_of("count").await, i64::MAX - 7);
    let counter = world.get("/v1/entities/Counter/full").await.expect(200);
    assert_eq!(counter["state"]["count"], i64::MAX - 7, "{counter:#}");
    world.stop().await;
}
