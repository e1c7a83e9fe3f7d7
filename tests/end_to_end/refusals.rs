//! Tests of refused requests: each gets its status and code, and changes nothing.

use harness::World;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MODULES: &[&str] = &["orders", "bench", "bench_activities"];
const START: &str = "/v1/orchestrations/BenchChain";

/// Asserts that there are no instances, and stops the host.
async fn nothing_was_started(world: World) {
    assert_eq!(world.get("/v1/instances").await.expect(200)["instances"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn an_unknown_function_is_refused_with_similar_names() {
    let world = World::start(MODULES).await;
    let answer = world
        .post("/v1/orchestrations/OrderProcesingOrchestration", &json!({}))
        .await;
    let problem = answer.refused(404, "unknown-function");
    assert_eq!(problem["near"][0], "OrderProcessingOrchestration", "{problem:#}");
    // The function is an activity, not an orchestration.
    world
        .post("/v1/orchestrations/BenchEcho", &json!("x"))
        .await
        .refused(404, "unknown-function");
    nothing_was_started(world).await;
}

#[tokio::test]
async fn an_input_that_violates_its_schema_is_refused_with_the_path() {
    let world = World::start(MODULES).await;
    let path = "/v1/orchestrations/OrderProcessingOrchestration";
    let problem = world
        .post(path, &json!({ "orderId": 7 }))
        .await
        .refused(400, "invalid-input");
    assert_eq!(problem["path"], "/orderId", "{problem:#}");
    world.post(path, &json!({})).await.refused(400, "invalid-input");
    world
        .post(path, &json!("order-1001"))
        .await
        .refused(400, "invalid-input");
    nothing_was_started(world).await;
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let world = World::start(MODULES).await;
    for body in [&b"text"[..], b"{\"a\":1", b"{} {}", b"\"\xff\"", b"[1,]"] {
        let request = world.request(Method::POST, START).body(body.to_vec());
        let problem = world.send(request).await.refused(400, "not-json");
        assert!(problem["line"].is_u64() && problem["column"].is_u64(), "{problem:#}");
    }
    nothing_was_started(world).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let world = World::start_with(MODULES, &["--max-payload", "10KiB", "--max-module", "1MiB"]).await;
    let large = "x".repeat(20_000);
    let problem = world.post(START, &json!(large)).await.refused(413, "body-too-large");
    assert_eq!(problem["limit"], 10 * 1024);
    world
        .upload("large", vec![0; 2 << 20])
        .await
        .refused(413, "body-too-large");
    nothing_was_started(world).await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_refused() {
    let world = World::start(MODULES).await;
    let address = world
        .url()
        .strip_prefix("http://")
        .expect("a host without TLS")
        .to_owned();
    for head in [
        "content-length: 100\r\n\r\n\"tex",
        "transfer-encoding: chunked\r\n\r\n6\r\n\"text\"\r\n",
    ] {
        let mut stream = TcpStream::connect(&address).await.expect("the host listens");
        let request = format!("POST {START} HTTP/1.1\r\nhost: {address}\r\n{head}");
        stream.write_all(request.as_bytes()).await.expect("the host reads");
        stream.shutdown().await.expect("the host reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("body-cut-off"),
            "{answer}"
        );
    }
    nothing_was_started(world).await;
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let world = World::start(MODULES).await;
    let start = |name: &str, value: &str| {
        let request = world.request(Method::POST, START);
        world.send(request.header(name, value).json(&json!("x")))
    };
    start("host", "windlass.example.com").await.refused(403, "foreign-host");
    start("origin", "http://evil.example")
        .await
        .refused(403, "foreign-origin");
    start("origin", "null").await.refused(403, "foreign-origin");
    nothing_was_started(world).await;
}

#[tokio::test]
async fn unknown_resources_methods_and_parameters_are_refused() {
    let world = World::start(MODULES).await;
    world.get("/v1/nonsense").await.refused(404, "unknown-route");
    world
        .delete("/v1/orchestrations/BenchChain")
        .await
        .refused(405, "method-not-allowed");
    world.get("/v1/instances/nobody").await.refused(404, "unknown-instance");
    world
        .get("/v1/instances/nobody/logs")
        .await
        .refused(404, "unknown-instance");
    world
        .delete("/v1/instances/nobody")
        .await
        .refused(404, "unknown-instance");
    for verb in ["terminate", "suspend", "resume"] {
        world
            .tell(&format!("/v1/instances/nobody/{verb}"))
            .await
            .refused(404, "unknown-instance");
    }
    world.get("/v1/modules/nothing").await.refused(404, "unknown-module");
    world.delete("/v1/modules/nothing").await.refused(404, "unknown-module");
    world
        .get("/v1/instances?state=Running")
        .await
        .refused(400, "unknown-parameter");
    world
        .get("/v1/instances?runtimeStatus=Walking")
        .await
        .refused(400, "invalid-parameter");
    world
        .get("/v1/instances?limit=1&limit=2")
        .await
        .refused(400, "repeated-parameter");
    world
        .get("/v1/instances/nobody?wait=soon")
        .await
        .refused(400, "invalid-parameter");
    let long = "x".repeat(2_000);
    world
        .post(&format!("{START}?instanceId={long}"), &json!("x"))
        .await
        .refused(400, "invalid-parameter");
    world
        .get(&format!("/v1/instances/{long}"))
        .await
        .refused(400, "invalid-path");
    let longer = "x".repeat(10_000);
    world
        .get(&format!("/v1/instances/{longer}"))
        .await
        .refused(414, "target-too-long");
    nothing_was_started(world).await;
}

#[tokio::test]
async fn the_type_of_an_error_is_a_path_to_its_page_on_the_host() {
    let world = World::start(&[]).await;
    let problem = world.get("/v1/instances/nobody").await.refused(404, "unknown-instance");
    let page = world
        .get(problem["type"].as_str().expect("an address"))
        .await
        .expect(200);
    assert!(
        page.as_str().is_some_and(|text| text.contains("unknown-instance")),
        "{page}"
    );
    let document = world.get("/v1/openapi.json").await.expect(200);
    assert!(document["paths"]["/v1/orchestrations/{function}"]["post"].is_object());
    world.stop().await;
}
