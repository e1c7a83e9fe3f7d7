//! Tests of common patterns, one orchestration each: parallel calls, polling, progress, retries, error handling,
//! continue-as-new, settings.

use harness::{World, until};
use serde_json::{Value, json};

const MODULES: &[&str] = &["patterns", "patterns_activities"];

#[tokio::test]
async fn three_services_are_called_concurrently() {
    let world = World::start(MODULES).await;
    // No response arrives before all three calls are in progress.
    world.backend.delay("customers", 60_000).await;
    let input = world.input(json!({ "customerId": "cust-ada" }));
    world.begin("ParallelExecution", "ada", &input).await;
    until("three calls at once", async || {
        (world.backend.calls("GET customers").await == 3).then_some(())
    })
    .await;
    world.tell("/v1/instances/ada/terminate").await.expect(202);
    world.once_status("ada", "Terminated").await;

    world.backend.behave("customers").await;
    let output = world.run("ParallelExecution", &input).await;
    let profile = world.backend.get("/customers/cust-ada/profile").await;
    let credit = world.backend.get("/customers/cust-ada/credit").await;
    let recommendations = world.backend.get("/customers/cust-ada/recommendations").await;
    assert_eq!(
        output,
        json!({
            "profile": { "name": profile["name"], "city": profile["city"] },
            "credit": { "limitCents": credit["limitCents"], "score": credit["score"] },
            "recommendations": { "skus": recommendations["skus"] },
        })
    );
    world.stop().await;
}

fn external_call(world: &World, operation: Value, deadline_seconds: u64) -> Value {
    let mut input = world.nested("operation", operation);
    input["pollEverySeconds"] = 1.into();
    input["deadlineSeconds"] = deadline_seconds.into();
    input
}

#[tokio::test]
async fn an_external_operation_is_polled_until_it_is_done() {
    let world = World::start(MODULES).await;
    let input = external_call(&world, json!({ "kind": "report", "polls": 2 }), 60);
    world.begin("CallExternalApiOrchestration", "report", &input).await;
    world.once_custom("report", "pending after 1 polls").await;
    let output = world.output_of("report").await;
    assert_eq!(
        (&output["polls"], &output["result"]["kind"]),
        (&json!(3), &json!("report"))
    );
    let timers = decisions(&world.history("report").await, "CreateTimer");
    assert_eq!(timers, 3);
    world.stop().await;
}

#[tokio::test]
async fn an_external_operation_that_fails_fails_the_workflow() {
    let world = World::start(MODULES).await;
    let input = external_call(&world, json!({ "kind": "report", "outcome": "failed" }), 60);
    let failure = world.run_failing("CallExternalApiOrchestration", &input).await;
    assert_eq!(failure["type"], "OperationFailed", "{failure:#}");
    world.stop().await;
}

#[tokio::test]
async fn polling_ends_at_the_deadline() {
    let world = World::start(MODULES).await;
    let input = external_call(&world, json!({ "kind": "report", "polls": 1000 }), 2);
    let failure = world.run_failing("CallExternalApiOrchestration", &input).await;
    assert_eq!(failure["type"], "DeadlineExceeded", "{failure:#}");
    assert!(world.backend.calls("GET operations").await >= 2);
    world.stop().await;
}

#[tokio::test]
async fn a_long_workflow_reports_structured_progress() {
    let world = World::start(MODULES).await;
    let input = json!({ "below": 1000, "pauseSeconds": 1 });
    world.begin("LongWorkflow", "primes", &input).await;
    let first = json!({ "step": 1, "of": 3, "percent": 33, "primesSoFar": 67 });
    world.once_custom("primes", first).await;
    let done = json!({ "step": 3, "of": 3, "percent": 100, "primesSoFar": 168 });
    assert_eq!(world.output_of("primes").await, done);
    assert_eq!(world.status("primes").await["customStatus"], done);
    world.stop().await;
}

#[tokio::test]
async fn retries_wait_5_and_then_10_seconds() {
    let world = World::start(MODULES).await;
    let input = world.nested("call", json!({ "key": "slow", "failures": 2 }));
    world.begin("OrchestrationWithRetry", "slow", &input).await;
    assert_eq!(world.output_of("slow").await, 3);
    let history = world.history("slow").await;
    let attempts = history["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{history:#}");
    for (attempt, number, seconds) in [(&attempts[0], 1, 5), (&attempts[1], 2, 10)] {
        assert_eq!(attempt["attempt"], number);
        assert_eq!(attempt["failure"]["type"], "Unreliable");
        let (ended, next) = (millis(&attempt["endedTime"]), millis(&attempt["nextTime"]));
        assert_eq!(next - ended, seconds * 1000, "{attempt:#}");
    }
    assert_eq!(world.backend.get("/unreliable/slow").await["calls"], 3);
    // Failed attempts cause no turns: the orchestration sees only the final outcome.
    assert_eq!(history["turns"], 2);
    world.stop().await;
}

#[tokio::test]
async fn after_three_attempts_the_last_failure_is_the_outcome() {
    let world = World::start(MODULES).await;
    let mut input = world.nested("call", json!({ "key": "never", "failures": 9 }));
    input["firstIntervalMs"] = 50.into();
    let failure = world.run_failing("OrchestrationWithRetry", &input).await;
    assert_eq!(failure["type"], "Unreliable", "{failure:#}");
    assert_eq!(world.backend.get("/unreliable/never").await["calls"], 3);
    world.stop().await;
}

#[tokio::test]
async fn a_permanent_failure_is_not_retried() {
    let world = World::start(MODULES).await;
    let mut input = world.nested("call", json!({ "key": "bad", "failures": 9, "permanent": true }));
    input["firstIntervalMs"] = 50.into();
    let failure = world.run_failing("OrchestrationWithRetry", &input).await;
    assert_eq!(
        (&failure["type"], &failure["nonRetryable"]),
        (&json!("Unprocessable"), &json!(true))
    );
    assert_eq!(world.backend.get("/unreliable/bad").await["calls"], 1);
    world.stop().await;
}

#[tokio::test]
async fn errors_are_logged_and_then_rethrown_or_returned_as_a_result() {
    let world = World::start(MODULES).await;
    let call = |key: &str, failures: u32, permanent: bool| {
        world.input(json!({ "key": key, "failures": failures, "permanent": permanent }))
    };
    let worked = world
        .run("OrchestrationWithErrorHandling", &call("fine", 0, false))
        .await;
    assert_eq!(worked["call"], 1, "{worked:#}");
    let failure = world
        .run_failing("OrchestrationWithErrorHandling", &call("later", 1, false))
        .await;
    assert_eq!(failure["type"], "Unreliable", "{failure:#}");
    let gave_up = world
        .run("OrchestrationWithErrorHandling", &call("never", 1, true))
        .await;
    assert_eq!(gave_up["errorType"], "Unprocessable", "{gave_up:#}");
    let logged = world.backend.get("/errors").await;
    let logged: Vec<_> = logged
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| error["source"].as_str())
        .collect();
    assert_eq!(logged, [Some("later"), Some("never")]);
    world.stop().await;
}

#[tokio::test]
async fn a_periodic_cleanup_is_one_execution_per_round() {
    let world = World::start(MODULES).await;
    let input = world.input(json!({ "olderThanDays": 30, "limit": 10, "everySeconds": 1, "rounds": 3 }));
    world.begin("PeriodicCleanup", "cleanup", &input).await;
    assert_eq!(world.output_of("cleanup").await, json!({ "rounds": 3, "deleted": 30 }));
    let instance = world.status("cleanup").await;
    assert_eq!(instance["execution"], 3);
    assert_eq!(
        (&instance["input"]["roundsDone"], &instance["input"]["deleted"]),
        (&json!(2), &json!(20))
    );
    assert_eq!(world.backend.get("/records").await.as_array().map(Vec::len), Some(30));
    world.stop().await;
}

#[tokio::test]
async fn an_eternal_cleanup_runs_until_it_is_terminated_and_carries_over_no_event() {
    let mut world = World::start(MODULES).await;
    let input = world.input(json!({ "olderThanDays": 30, "limit": 1, "everySeconds": 1 }));
    world.begin("PeriodicCleanup", "eternal", &input).await;
    world.raise("eternal", "Unheard", json!({ "kept": 1.5 })).await;
    let third = |instance: &Value| instance["execution"].as_u64() >= Some(3);
    world.once("eternal", "a third execution", third).await;
    world.crash().await;
    world
        .once("eternal", "a fourth execution", |instance| {
            instance["execution"].as_u64() >= Some(4)
        })
        .await;
    // Retries, because an execution that has just begun has no turns yet.
    let carried = until("a first turn", async || {
        let history = world.history("eternal").await;
        let started = &history["history"][0]["arrivals"][0];
        started.is_object().then(|| started["carriedEvents"].clone())
    })
    .await;
    assert_eq!(carried, json!([]));

    world
        .tell("/v1/instances/eternal/terminate?reason=enough")
        .await
        .expect(202);
    let ended = world.end_of("eternal").await;
    assert_eq!(
        (&ended["runtimeStatus"], &ended["output"]),
        (&json!("Terminated"), &json!("enough"))
    );
    let rounds = world.backend.get("/cleanups").await.as_array().map_or(0, Vec::len);
    assert!(rounds >= 3, "{rounds}");
    world.stop().await;
}

#[tokio::test]
async fn a_running_total_discards_its_history_and_loses_no_payment() {
    let mut world = World::start(MODULES).await;
    world
        .begin("RunningTotal", "account", &json!({ "turnsPerExecution": 5 }))
        .await;
    for payment in 1..=30 {
        world.raise("account", "payment", json!(payment)).await;
        if payment == 17 {
            world.crash().await;
        }
    }
    // `close` must wait until the payments are taken: only events of the same name are delivered in order.
    world.once_custom("account", 465).await;
    world.raise("account", "close", json!(null)).await;
    let output = world.output_of("account").await;
    assert_eq!((&output["total"], &output["payments"]), (&json!(465), &json!(30)));
    assert!(world.status("account").await["execution"].as_u64() > Some(1));
    world.stop().await;
}

#[tokio::test]
async fn numbers_and_times_round_trip_exactly() {
    let world = World::start(MODULES).await;
    for (value, taken) in [
        ("117.63331139400017", "1969-07-20T20:17:40.500Z"),
        ("1.5777777777770001", "0000-01-01T00:00:00Z"),
        ("9007199254740991.0", "9999-12-31T23:59:59.999Z"),
        ("5e-324", "2026-01-31T12:00:00Z"),
        ("1.7976931348623157e308", "2026-01-31T12:00:00Z"),
    ] {
        let input = format!(r#"{{"value": {value}, "taken": "{taken}", "scan": "AAA="}}"#);
        let input: Value = serde_json::from_str(&input).expect("JSON");
        let id = world.begin_any("ScaleMeasurement", &input).await;
        let ended = world.end_of(&id).await;
        let number: f64 = value.parse().expect("a number");
        let found = |value: &Value| value.as_f64().expect("a number").to_bits();
        assert_eq!(found(&ended["output"]["value"]), number.to_bits(), "{ended:#}");
        assert_eq!(found(&ended["customStatus"]), number.to_bits(), "{ended:#}");
        assert_eq!(ended["output"]["taken"], taken);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_value_that_json_cannot_represent_fails_with_its_position() {
    let world = World::start(MODULES).await;
    for (value, divisor, number) in [(1.0, 0.0, "inf"), (0.0, 0.0, "NaN")] {
        let input = json!({ "value": value, "divisor": divisor, "taken": "2026-01-31T12:00:00Z" });
        let failure = world.run_failing("ScaleMeasurement", &input).await;
        assert_eq!(failure["type"], "InvalidPayload", "{failure:#}");
        let message = format!("the output cannot be written: JSON has no number {number} (at \"/value\")");
        assert_eq!(failure["message"], message);
    }
    world.stop().await;
}

#[tokio::test]
async fn inputs_that_violate_their_schema_are_refused_with_the_path() {
    let world = World::start(MODULES).await;
    let reading = |member: &str, value: Value| {
        let mut reading = json!({ "value": 1.5, "taken": "2026-01-31T12:00:00Z" });
        reading[member] = value;
        reading
    };
    let exponent: Value = serde_json::from_str(r#"{ "below": 1e6 }"#).expect("JSON");
    for (function, input, path) in [
        (
            "RunningTotal",
            json!({ "turnsPerExecution": 5_000_000_000_u64 }),
            "/turnsPerExecution",
        ),
        (
            "RunningTotal",
            json!({ "turnsPerExecution": 10.0 }),
            "/turnsPerExecution",
        ),
        ("RunningTotal", json!({ "turnsPerExecution": -1 }), "/turnsPerExecution"),
        ("LongWorkflow", exponent, "/below"),
        ("ScaleMeasurement", reading("taken", json!("tomorrow")), "/taken"),
        ("ScaleMeasurement", reading("scan", json!("*")), "/scan"),
        ("ScaleMeasurement", reading("count", json!(4_294_967_296_u64)), "/count"),
    ] {
        let answer = world.post(&format!("/v1/orchestrations/{function}"), &input).await;
        let problem = answer.refused(400, "invalid-input");
        assert_eq!(problem["path"], path, "{function} {input}: {problem:#}");
    }
    assert_eq!(world.get("/v1/instances").await.expect(200)["instances"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn an_event_that_does_not_match_its_declaration_is_not_stored() {
    let world = World::start(MODULES).await;
    world.begin("RunningTotal", "account", &json!({})).await;
    let raise = async |event: &str, key: &str, payload: Value| {
        let path = format!("/v1/instances/account/events/{event}");
        let mut request = world.request("POST".parse().expect("a method"), &path).json(&payload);
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        world.send(request).await
    };
    for (event, key, payload) in [
        ("payment", "", json!("7")),
        ("PAYMENT", "key-1", json!({ "amount": 7 })),
        ("payment", "", json!(7.0)),
        ("close", "", json!(0)),
    ] {
        let problem = raise(event, key, payload).await.refused(400, "invalid-event");
        assert_eq!(
            (&problem["event"], &problem["function"], &problem["path"]),
            (&json!(event), &json!("RunningTotal"), &json!("")),
            "{problem:#}"
        );
    }
    // Events for a suspended instance are checked as well.
    world.tell("/v1/instances/account/suspend").await.expect(202);
    world.once_status("account", "Suspended").await;
    raise("payment", "", json!("7")).await.refused(400, "invalid-event");
    raise("payment", "", json!(8)).await.expect(202);
    world.tell("/v1/instances/account/resume").await.expect(202);
    raise("undeclared", "", json!("anything")).await.expect(202);
    world.once_custom("account", 8).await;

    // An invalid event from another instance is dropped, and the log of the sender reports it.
    let pay = async |amount: Value| {
        let id = world
            .begin_any("PayIntoAccount", &json!({ "account": "account", "amount": amount }))
            .await;
        world.output_of(&id).await;
        world.log_of(&id).await
    };
    let log = pay(json!("much")).await;
    assert!(
        log.iter()
            .any(|line| line.starts_with(r#"the event "payment" for "account" was dropped"#)),
        "{log:?}"
    );
    assert_eq!(pay(json!(34)).await, Vec::<String>::new());
    world.once_custom("account", 42).await;
    raise("close", "", json!(null)).await.expect(202);
    let output = world.output_of("account").await;
    assert_eq!((&output["total"], &output["payments"]), (&json!(42), &json!(2)));

    let module = world.get("/v1/modules/patterns").await.expect(200);
    let functions = module["functions"].as_array().expect("functions");
    let account = functions
        .iter()
        .find(|function| function["name"] == "RunningTotal")
        .expect("the function exists");
    let names: Vec<_> = account["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| &event["name"])
        .collect();
    assert_eq!(names, ["payment", "close"]);
    assert_eq!(account["events"][0]["payloadSchema"]["type"], "integer");
    world.stop().await;
}

#[tokio::test]
async fn a_missing_setting_is_reported_by_name() {
    let world = World::start(MODULES).await;
    let input = json!({ "config": "region", "secret": "token" });
    let failure = world.run_failing("ShowSettings", &input).await;
    assert_eq!(failure["type"], "MissingConfig", "{failure:#}");
    let message = failure["message"].as_str().expect("a message");
    assert!(message.contains("`region`"), "{message}");
    world.stop().await;
}

/// Counts the decisions of a kind in a history.
fn decisions(history: &Value, kind: &str) -> usize {
    let turns = history["history"].as_array().expect("turns").iter();
    turns
        .flat_map(|turn| turn["decisions"].as_array().expect("decisions"))
        .filter(|decision| decision["type"] == kind)
        .count()
}

/// The milliseconds since midnight of a time such as `2026-01-31T12:00:00.000Z`.
fn millis(time: &Value) -> i64 {
    let time = time.as_str().expect("a time");
    let part = |from: usize, to: usize| time[from..to].parse::<i64>().expect("digits");
    ((part(11, 13) * 60 + part(14, 16)) * 60 + part(17, 19)) * 1000 + part(20, 23)
}
