//! Tests of kills: everything that the host acknowledged still happens, exactly once.

use std::fs;

use harness::{World, until};
use serde_json::{Value, json};

const ORDERS: &[&str] = &["orders", "orders_activities"];

/// A moment in a run of `OrderProcessingOrchestration`, recognized by what the backend or the status shows.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// A request with this method and first path segment has arrived at the backend, but has not been executed yet.
    Called(&'static str, &'static str),
    /// This list of the backend is no longer empty: a request was executed, but its response may not have arrived yet.
    Done(&'static str),
    /// The instance has this custom status.
    Shows(&'static str),
}

const MOMENTS: [Moment; 10] = [
    Moment::Called("GET", "orders"),
    Moment::Shows("Processing payment"),
    Moment::Called("POST", "payments"),
    Moment::Done("/payments"),
    Moment::Called("POST", "inventory"),
    Moment::Done("/inventory/reservations"),
    Moment::Called("POST", "shipments"),
    Moment::Done("/shipments"),
    Moment::Called("POST", "notifications"),
    Moment::Done("/notifications"),
];

async fn reach(world: &World, id: &str, moment: Moment) {
    match moment {
        Moment::Called(method, area) => {
            let kind = format!("{method} {area}");
            until(&kind, async || (world.backend.calls(&kind).await > 0).then_some(())).await;
        }
        Moment::Done(list) => {
            until(list, async || {
                (world.backend.get(list).await != json!([])).then_some(())
            })
            .await;
        }
        Moment::Shows(status) => {
            world.once_custom(id, status).await;
        }
    }
}

#[tokio::test]
async fn a_kill_at_any_of_ten_moments_does_not_change_the_result() {
    let mut world = World::start(ORDERS).await;
    let input = world.input(json!({ "orderId": "order-1001" }));
    let expected = world.run("OrderProcessingOrchestration", &input).await;
    assert_eq!(expected["status"], "completed");

    for (number, moment) in MOMENTS.into_iter().enumerate() {
        world.backend.post("/control/reset", json!({})).await;
        match moment {
            Moment::Called(_, area) => world.backend.delay(area, 300).await,
            Moment::Shows(_) => world.backend.delay("payments", 300).await,
            Moment::Done(_) => {}
        }
        let id = format!("killed-{number}");
        world.begin("OrderProcessingOrchestration", &id, &input).await;
        reach(&world, &id, moment).await;
        world.kill().await;
        world.restart().await;
        assert_eq!(world.output_of(&id).await, expected, "{moment:?}");
        world.backend.charged_nobody_twice().await;
        for list in ["/payments", "/inventory/reservations", "/shipments", "/notifications"] {
            let done = world.backend.get(list).await;
            assert_eq!(done.as_array().map(Vec::len), Some(1), "{moment:?}: {list}: {done:#}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_batch_survives_a_kill_in_its_middle() {
    let mut world = World::start(ORDERS).await;
    world.backend.delay("payments", 100).await;
    let input = world.input(json!({ "batch": "spring" }));
    world.begin("ProcessAllOrdersBatch", "spring", &input).await;
    until("some payments", async || {
        let summary = world.backend.get("/payments/summary").await;
        (summary["charges"].as_u64() >= Some(5)).then_some(())
    })
    .await;
    world.crash().await;
    let output = world.output_of("spring").await;
    assert_eq!((&output["orders"], &output["processed"]), (&json!(24), &json!(19)));
    let summary = world.backend.get("/payments/summary").await;
    assert_eq!(
        (&summary["charges"], &summary["ordersCharged"]),
        (&json!(19), &json!(19)),
        "{summary:#}"
    );
    world.backend.charged_nobody_twice().await;
    world.stop().await;
}

#[tokio::test]
async fn retries_continue_after_a_crash_without_starting_over() {
    let mut world = World::start(&["patterns", "patterns_activities"]).await;
    let mut input = world.nested("call", json!({ "key": "counted", "failures": 9 }));
    input["firstIntervalMs"] = 1_500.into();
    world.begin("OrchestrationWithRetry", "counted", &input).await;
    for failed in 1..=2 {
        until("a failed attempt", async || {
            let history = world.history("counted").await;
            (attempts(&history) == failed).then_some(())
        })
        .await;
        world.crash().await;
    }
    assert_eq!(world.failure_of("counted").await["type"], "Unreliable");
    assert_eq!(world.backend.get("/unreliable/counted").await["calls"], 3);
    world.stop().await;
}

/// The number of failed attempts, without those that were cut off.
fn attempts(history: &Value) -> usize {
    let attempts = history["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    attempts.iter().filter(|attempt| attempt["cutOff"] == false).count()
}

#[tokio::test]
async fn an_attempt_cut_off_by_a_crash_is_recorded_and_does_not_count() {
    let mut world = World::start(&["patterns", "patterns_activities"]).await;
    world.backend.delay("unreliable", 60_000).await;
    let mut input = world.nested("call", json!({ "key": "cut", "failures": 2 }));
    input["firstIntervalMs"] = 50.into();
    world.begin("OrchestrationWithRetry", "cut", &input).await;
    until("the first attempt", async || {
        (world.backend.calls("POST unreliable").await == 1).then_some(())
    })
    .await;
    world.kill().await;
    world.backend.behave("unreliable").await;
    world.restart().await;
    // Two failures and a success are three attempts; the attempt that was cut off does not count.
    let call = world.output_of("cut").await;
    assert!(call.as_u64() >= Some(3), "{call}");
    let history = world.history("cut").await;
    let recorded = history["attempts"].as_array().expect("attempts").iter();
    assert_eq!(
        recorded.filter(|attempt| attempt["cutOff"] == true).count(),
        1,
        "{history:#}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_call_that_ends_the_host_repeatedly_by_itself_fails_as_poisonous() {
    let mut world = World::start(&["patterns", "patterns_activities"]).await;
    world.backend.delay("unreliable", 60_000).await;
    let input = world.input(json!({ "key": "poison", "failures": 0 }));
    world.begin("OrchestrationWithErrorHandling", "poison", &input).await;
    // The first end does not count: it is not in a quiet period.
    for calls in 1..=4 {
        once_called(&world, calls).await;
        world.crash().await;
    }
    let failure = world.failure_of("poison").await;
    assert_eq!(failure["type"], "windlass.poisonous", "{failure:#}");
    world.stop().await;
}

#[tokio::test]
async fn kills_while_ten_calls_run_are_blamed_on_only_one_attempt() {
    let mut world = World::start(&["patterns", "patterns_activities"]).await;
    world.backend.delay("unreliable", 60_000).await;
    let ids: Vec<_> = (0..10).map(|number| format!("cut-{number}")).collect();
    for id in &ids {
        let mut input = world.nested("call", json!({ "key": id, "failures": 0 }));
        input["firstIntervalMs"] = 50.into();
        world.begin("OrchestrationWithRetry", id, &input).await;
    }
    // All ten run at first, then all ten by themselves, then half of those that ran at the last end, and so on. The last
    // one is alone three times.
    for calls in [10, 20, 25, 28, 30, 31, 32, 33] {
        once_called(&world, calls).await;
        world.kill().await;
        if calls == 33 {
            world.backend.behave("unreliable").await;
        }
        world.restart().await;
    }
    let mut blamed = 0;
    for id in &ids {
        world.output_of(id).await;
        let history = world.history(id).await;
        let attempts = history["attempts"].as_array().expect("attempts");
        let types = attempts.iter().map(|attempt| &attempt["failure"]["type"]);
        blamed += types.filter(|failed| **failed == "windlass.poisonous").count();
    }
    assert_eq!(blamed, 1);
    world.stop().await;
}

/// Starts an instance with a call that runs until the backend behaves.
async fn begin_call(world: &World, id: &str) {
    let mut input = world.nested("call", json!({ "key": id, "failures": 0 }));
    input["firstIntervalMs"] = 50.into();
    world.begin("OrchestrationWithRetry", id, &input).await;
}

#[tokio::test]
async fn a_long_activity_beside_one_that_ends_the_host_ten_times_completes() {
    let mut world = World::start(&["patterns", "patterns_activities"]).await;
    world.backend.delay("unreliable", 60_000).await;
    begin_call(&world, "attacker").await;
    once_called(&world, 1).await;
    begin_call(&world, "neighbour").await;
    // The host ends whenever the attacker's activity runs: twice beside the neighbour's, three times alone. Then it has
    // failed, and its next attempt does the same.
    for calls in [2, 4, 5, 6, 7, 9, 11, 12, 13, 14] {
        once_called(&world, calls).await;
        world.kill().await;
        if calls == 14 {
            world.backend.behave("unreliable").await;
        }
        world.restart().await;
    }
    for (id, blamed) in [("neighbour", 0), ("attacker", 2)] {
        world.output_of(id).await;
        assert_eq!(attempts(&world.history(id).await), blamed, "{id}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_long_activity_survives_its_quiet_period_and_requests_are_served_meanwhile() {
    let mut world = World::start(&["patterns", "patterns_activities", "bench", "bench_activities"]).await;
    world.backend.delay("unreliable", 60_000).await;
    begin_call(&world, "long").await;
    once_called(&world, 1).await;
    world.crash().await;
    once_called(&world, 2).await;
    world.begin("BenchChain", "meanwhile", &json!("x")).await;
    assert_eq!(world.status("meanwhile").await["runtimeStatus"], "Pending");
    // Afterwards it runs on beside the others, without another attempt.
    assert_eq!(world.output_of("meanwhile").await, "x");
    assert_eq!(world.status("long").await["runtimeStatus"], "Running");
    assert_eq!(world.backend.calls("POST unreliable").await, 2);
    world.stop().await;
}

#[tokio::test]
async fn attempts_stopped_by_a_graceful_shutdown_are_not_cut_off() {
    let mut world = World::start(&["patterns", "patterns_activities"]).await;
    world.backend.delay("unreliable", 60_000).await;
    let input = world.input(json!({ "key": "stopped", "failures": 0 }));
    world.begin("OrchestrationWithErrorHandling", "stopped", &input).await;
    for calls in 1..=3 {
        once_called(&world, calls).await;
        world.ask_to_end();
        world.ended().await;
        if calls == 3 {
            world.backend.behave("unreliable").await;
        }
        world.restart().await;
    }
    world.output_of("stopped").await;
    assert_eq!(world.history("stopped").await["attempts"], json!([]));
    world.stop().await;
}

/// Waits until the unreliable service has had `calls` calls.
async fn once_called(world: &World, calls: u64) {
    until("calls of the unreliable service", async || {
        (world.backend.calls("POST unreliable").await == calls).then_some(())
    })
    .await;
}

#[tokio::test]
async fn timers_that_came_due_while_the_host_was_down_fire_at_once() {
    let mut world = World::start(&["std_everywhere", "patterns", "patterns_activities"]).await;
    let input = json!({ "below": 100, "pauseSeconds": 1 });
    let ids: Vec<_> = (0..20).map(|number| format!("sleeper-{number}")).collect();
    for id in &ids {
        world.begin("LongWorkflow", id, &input).await;
    }
    world.crash().await;
    for id in &ids {
        assert_eq!(world.output_of(id).await["primesSoFar"], 25);
    }
    world.stop().await;
}

#[tokio::test]
async fn more_instances_than_fit_in_memory_are_evicted_and_all_finish() {
    let world = World::start_with(&["patterns", "patterns_activities"], &["--hot", "2"]).await;
    let input = json!({ "below": 100, "pauseSeconds": 1 });
    let ids: Vec<_> = (0..30).map(|number| format!("parked-{number}")).collect();
    for id in &ids {
        world.begin("LongWorkflow", id, &input).await;
    }
    for id in &ids {
        assert_eq!(world.output_of(id).await["primesSoFar"], 25);
    }
    world.stop().await;
}

#[tokio::test]
async fn compiled_modules_that_are_lost_or_damaged_are_compiled_again() {
    let mut world = World::start(&["bench", "bench_activities"]).await;
    for damage in [None, Some(&b"not compiled code"[..])] {
        world.kill().await;
        for file in fs::read_dir(world.data().join("compiled")).expect("compiled modules") {
            let path = file.expect("an entry").path();
            // Deleted and not overwritten, because other hosts may have hard links to the file.
            fs::remove_file(&path).expect("the folder is writable");
            if let Some(bytes) = damage {
                fs::write(&path, bytes).expect("the folder is writable");
            }
        }
        world.restart().await;
        assert_eq!(world.run("BenchChain", &json!("again")).await, "again", "{damage:?}");
    }
    world.stop().await;
}
