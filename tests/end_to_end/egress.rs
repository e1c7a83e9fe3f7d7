//! Activities reach what the operator allows, and nothing else.

use harness::{Backend, Encrypted, World};
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

#[tokio::test]
async fn what_was_refused_is_in_the_log_of_the_instance_without_its_path() {
    let world = World::start(&["patterns", "patterns_activities"]).await;
    let input = json!({ "customerId": "cust-ada", "backend": "http://10.0.0.1:8090" });
    world.begin("ParallelExecution", "refused", &input).await;
    world.failure_of("refused").await;
    let line = "the request to http://10.0.0.1:8090 was refused: no rule allows http://10.0.0.1:8090";
    let log = world.log_of("refused").await;
    assert!(log.iter().any(|message| message == line), "{log:?}");
    assert!(log.iter().all(|message| !message.contains("cust-ada")), "{log:?}");
    world.stop().await;
}

#[tokio::test]
async fn encrypted_requests_trust_the_authorities_that_the_operator_names() {
    let backend = Backend::start().await;
    let encrypted = Encrypted::way_to(backend.url()).await;
    let authority = Encrypted::authority().display().to_string();
    let input = json!({ "customerId": "cust-ada", "backend": encrypted.url() });

    let args = ["--allow", encrypted.url(), "--egress-ca", &authority];
    let world = World::start_with(&["patterns", "patterns_activities"], &args).await;
    assert!(world.run("ParallelExecution", &input).await["profile"].is_object());
    world.stop().await;

    let world = World::start_with(&["patterns", "patterns_activities"], &args[..2]).await;
    let failure = world.run_failing("ParallelExecution", &input).await;
    assert_eq!(failure["details"]["reason"], "TlsCertificateError", "{failure:#}");
    world.stop().await;
}
