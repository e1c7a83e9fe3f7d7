//! Tests of uploads: modules that are refused, each with its own code, and repeated uploads.

use harness::{World, module};
use serde_json::{Value, json};

/// Asserts that there are no modules, and stops the host.
async fn nothing_was_stored(world: World) {
    assert_eq!(world.get("/v1/modules").await.expect(200)["modules"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn invalid_components_are_refused() {
    let world = World::start(&[]).await;
    world.upload("bad", Vec::new()).await.refused(422, "module-empty");
    world
        .upload("bad", b"<html></html>".to_vec())
        .await
        .refused(422, "module-not-wasm");
    let core = b"\0asm\x01\0\0\0".to_vec();
    world.upload("bad", core).await.refused(422, "module-core");
    let mut truncated = module("bench");
    truncated.truncate(truncated.len() / 2);
    world.upload("bad", truncated).await.refused(422, "module-truncated");
    let mut damaged = module("bench");
    damaged[8] = 0x7f;
    assert_eq!(world.upload("bad", damaged).await.status, 422);
    world.upload("no/slash", Vec::new()).await.refused(404, "unknown-route");
    world
        .upload("no%2Fslash", Vec::new())
        .await
        .refused(400, "invalid-path");
    nothing_was_stored(world).await;
}

#[tokio::test]
async fn hostile_components_are_refused_with_the_reason() {
    let world = World::start(&[]).await;
    let refused = async |name: &str, code: &str| world.upload(name, module(name)).await.refused(422, code);
    let sockets = refused("hostile_sockets", "module-forbidden-import").await;
    assert!(text(&sockets["import"]).contains("wasi:sockets/"), "{sockets:#}");
    let http = refused("hostile_http", "module-forbidden-import").await;
    assert!(text(&http["import"]).contains("wasi:http/"), "{http:#}");
    refused("hostile_no_export", "module-no-known-export").await;
    refused("hostile_endless_describe", "module-describe-limit").await;
    let before = world.resident_bytes();
    refused("hostile_large_schemas", "module-bad-schema").await;
    let taken = world.peak_resident_bytes().saturating_sub(before);
    assert!(taken < 200 << 20, "{taken} bytes");
    nothing_was_stored(world).await;
}

#[tokio::test]
async fn a_function_belongs_to_one_module() {
    let world = World::start(&["bench", "bench_activities"]).await;
    let problem = world
        .upload("copy", module("bench"))
        .await
        .refused(409, "function-taken");
    assert_eq!(problem["module"], "bench");
    assert!(text(&problem["function"]).starts_with("Bench"));
    world.get("/v1/modules/copy").await.refused(404, "unknown-module");
    // When the module is deleted, another one may offer the functions.
    world.delete("/v1/modules/bench").await.expect(204);
    world
        .post("/v1/orchestrations/BenchChain", &json!("x"))
        .await
        .refused(404, "unknown-function");
    world.upload("copy", module("bench")).await.expect(201);
    assert_eq!(world.run("BenchChain", &json!("x")).await, "x");
    world.stop().await;
}

#[tokio::test]
async fn an_upload_returns_the_digest_kind_and_functions() {
    let world = World::start(&[]).await;
    let uploaded = world.upload("bench", module("bench")).await.expect(201);
    assert_eq!(
        (&uploaded["name"], &uploaded["kind"]),
        (&json!("bench"), &json!("orchestration"))
    );
    assert!(text(&uploaded["digest"]).starts_with("sha256:"));
    let names: Vec<_> = uploaded["functions"]
        .as_array()
        .expect("functions")
        .iter()
        .map(|function| text(&function["name"]))
        .collect();
    let expected = [
        "BenchChain",
        "BenchFanout",
        "BenchLong",
        "BenchCold",
        "BenchParked",
        "BenchCollect",
        "BenchSleeper",
        "BenchSignals",
        "BenchCalls",
    ];
    assert_eq!(names, expected);
    assert!(uploaded["functions"][1]["inputSchema"]["properties"]["activities"].is_object());
    let again = world.upload("bench", module("bench")).await.expect(200);
    assert_eq!(again["digest"], uploaded["digest"]);
    let shown = world.get("/v1/modules/bench").await.expect(200);
    assert_eq!(
        (&shown["digest"], &shown["size"]),
        (&uploaded["digest"], &json!(module("bench").len()))
    );
    world.stop().await;
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}
