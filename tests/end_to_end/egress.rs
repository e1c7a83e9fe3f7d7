//! Activities reach what the operator allows, and nothing else.

use harness::{Backend, World};
use serde_json::json;

#[tokio::test]
async fn an_address_that_was_not_allowed_is_not_reached() {
    let world = World::start(&["patterns", "patterns_activities"]).await;
    let forbidden = Backend::start().await;
    let input = json!({ "customerId": "cust-ada", "backend": forbidden.url() });
    let failure = world.run_failing("ParallelExecution", &input).await;
    assert!(
        failure["message"].as_str().is_some_and(|text| !text.is_empty()),
        "{failure:#}"
    );
    assert_eq!(forbidden.get("/control/calls").await, json!({}));
    // The same call of the allowed backend works, so it was the address.
    let input = world.input(json!({ "customerId": "cust-ada" }));
    assert!(world.run("ParallelExecution", &input).await["profile"].is_object());
    world.stop().await;
}

#[tokio::test]
async fn the_host_itself_is_not_reached_either() {
    let world = World::start(&["patterns", "patterns_activities"]).await;
    let input = json!({ "customerId": "cust-ada", "backend": world.url() });
    let failure = world.run_failing("ParallelExecution", &input).await;
    assert_eq!(failure["details"]["reason"], "HttpRequestDenied", "{failure:#}");
    world.stop().await;
}
