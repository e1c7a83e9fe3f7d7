//! Tests of starts: links, `wait`, ids, replaced instances, idempotency keys and lists.

use harness::{Answer, World};
use reqwest::Method;
use serde_json::{Value, json};

const MODULES: &[&str] = &["bench", "bench_activities", "approval", "approval_activities"];

fn approval(world: &World) -> Value {
    world.input(json!({
        "title": "New winch",
        "requester": "ada@example.com",
        "approver": "grace@example.com",
        "manager": "barbara@example.com",
    }))
}

#[tokio::test]
async fn a_start_returns_working_links() {
    let world = World::start(MODULES).await;
    let answer = world
        .post("/v1/orchestrations/BenchChain?instanceId=a%20b", &json!("text"))
        .await;
    assert_eq!(answer.header("retry-after"), "1");
    let location = answer.header("location").to_owned();
    let links = answer.expect(202);
    assert_eq!(
        (&links["id"], &links["statusQueryGetUri"]),
        (&json!("a b"), &json!(location))
    );
    let path = location.strip_prefix(world.url()).expect("a URL of this host");
    assert_eq!(
        world
            .output_of(path.strip_prefix("/v1/instances/").expect("an instance"))
            .await,
        "text"
    );
    world.delete(path).await.expect(200);
    world.get(path).await.refused(404, "unknown-instance");
    world.stop().await;
}

#[tokio::test]
async fn a_start_with_wait_returns_the_result_or_links() {
    let world = World::start(MODULES).await;
    let ended = world
        .post("/v1/orchestrations/BenchChain?wait=60s", &json!("text"))
        .await
        .expect(200);
    assert_eq!(
        (&ended["runtimeStatus"], &ended["output"]),
        (&json!("Completed"), &json!("text"))
    );
    let path = "/v1/orchestrations/ApprovalWorkflow?instanceId=slow&wait=100ms";
    assert_eq!(world.post(path, &approval(&world)).await.expect(202)["id"], "slow");
    let waiting = world.get("/v1/instances/slow?wait=100ms").await.expect(202);
    assert!(
        matches!(waiting["runtimeStatus"].as_str(), Some("Pending" | "Running")),
        "{waiting:#}"
    );
    world.tell("/v1/instances/slow/terminate").await.expect(202);
    world.once_status("slow", "Terminated").await;
    world.stop().await;
}

#[tokio::test]
async fn payloads_are_returned_verbatim() {
    let world = World::start(&["patterns", "patterns_activities"]).await;
    let input = r#"{"below":10, "note":[1.0, 12345678901234567890123456789,"\u00e9"]}"#;
    let request = world.request(Method::POST, "/v1/orchestrations/LongWorkflow?instanceId=verbatim");
    world
        .send(request.header("content-type", "application/json").body(input))
        .await;
    world.end_of("verbatim").await;
    let request = world.request(Method::GET, "/v1/instances/verbatim");
    let text = request.send().await.expect("an answer").text().await.expect("text");
    assert!(text.contains(input), "{text}");
    world.stop().await;
}

#[tokio::test]
async fn the_id_of_an_active_instance_is_refused_and_an_ended_instance_is_replaced() {
    let world = World::start(MODULES).await;
    let input = approval(&world);
    world.begin("ApprovalWorkflow", "same", &input).await;
    let problem = world
        .post("/v1/orchestrations/BenchChain?instanceId=same", &json!("text"))
        .await;
    assert_eq!(problem.refused(409, "already-exists")["instanceId"], "same");
    assert_eq!(world.status("same").await["name"], "ApprovalWorkflow");

    world.tell("/v1/instances/same/terminate").await.expect(202);
    world.once_status("same", "Terminated").await;
    world.begin("BenchChain", "same", &json!("again")).await;
    assert_eq!(world.output_of("same").await, "again");
    let instance = world.status("same").await;
    assert_eq!(
        (&instance["name"], &instance["execution"]),
        (&json!("BenchChain"), &json!(1))
    );
    world.stop().await;
}

/// Sends a start with an idempotency key.
async fn keyed(world: &World, path: &str, key: &str, input: &Value) -> Answer {
    let request = world.request(Method::POST, path).header("idempotency-key", key);
    world.send(request.json(input)).await
}

#[tokio::test]
async fn a_repeated_start_gets_the_first_response_even_after_a_crash() {
    let mut world = World::start(MODULES).await;
    let path = "/v1/orchestrations/BenchChain";
    let first = keyed(&world, path, "start-1", &json!("x")).await;
    assert_eq!(first.header("idempotent-replayed"), "");
    let id = first.expect(202)["id"].clone();
    world.crash().await;
    let again = keyed(&world, path, "start-1", &json!("x")).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.expect(202)["id"], id);
    // A repeated request may have another `wait`.
    let waiting = format!("{path}?wait=60s");
    assert_eq!(
        keyed(&world, &waiting, "start-1", &json!("x")).await.expect(200)["output"],
        "x"
    );
    let all = world.get("/v1/instances").await.expect(200);
    assert_eq!(all["instances"].as_array().map(Vec::len), Some(1));

    keyed(&world, path, "start-1", &json!("other"))
        .await
        .refused(422, "idempotency-key-reused");
    keyed(&world, path, "", &json!("x"))
        .await
        .refused(400, "invalid-idempotency-key");
    assert_eq!(world.output_of(id.as_str().expect("an id")).await, "x");
    world.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let world = World::start(MODULES).await;
    for number in 0..5 {
        world.begin("BenchChain", &format!("chain-{number}"), &json!("x")).await;
    }
    world.begin("ApprovalWorkflow", "waiting", &approval(&world)).await;
    for number in 0..5 {
        world.output_of(&format!("chain-{number}")).await;
    }
    let mut found = Vec::new();
    let mut path = "/v1/instances?name=BenchChain&runtimeStatus=Completed&limit=2".to_owned();
    loop {
        let page = world.get(&path).await.expect(200);
        let instances = page["instances"].as_array().expect("a page");
        found.extend(
            instances
                .iter()
                .map(|instance| instance["instanceId"].as_str().expect("an id").to_owned()),
        );
        let Some(next) = page["nextCursor"].as_str() else { break };
        path = format!("/v1/instances?name=BenchChain&runtimeStatus=Completed&limit=2&cursor={next}");
    }
    assert_eq!(found, ["chain-4", "chain-3", "chain-2", "chain-1", "chain-0"]);
    let prefix = world.get("/v1/instances?instanceIdPrefix=wait").await.expect(200);
    assert_eq!(prefix["instances"][0]["instanceId"], "waiting");
    world.tell("/v1/instances/waiting/terminate").await.expect(202);
    world.once_status("waiting", "Terminated").await;
    world.stop().await;
}
