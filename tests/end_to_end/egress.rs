//! Activities reach what the operator allows, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Backend, Encrypted, World, until};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

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

/// A server that begins answers and never ends them, and how many requests it was sent.
async fn dawdling_server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(connection.read_u8().await.expect("a request"));
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let beginning = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nx";
                connection.write_all(beginning).await.expect("the guest listens");
                // An error is an end, too.
                let _ = connection.read_u8().await;
            });
        }
    });
    (url, requests)
}

#[tokio::test]
async fn open_requests_of_all_activities_of_a_tenant_are_bounded_together() {
    let (url, requests) = dawdling_server().await;
    let world = World::start_with(&["hostile_orchestrations", "hostile_activities"], &["--allow", &url]).await;
    let limit = async |most: u32| {
        let body = json!({ "quotas": { "maxTenantRequests": most } });
        let request = world.request(Method::PATCH, "/v1/tenants/default").json(&body);
        world.send(request).await.expect(200);
    };
    let are_open = async |open: u64| {
        until(&format!("{open} open requests"), async || {
            let tenant = world.get("/v1/tenants/default").await.expect(200);
            (tenant["use"]["openRequests"] == open).then_some(())
        })
        .await;
    };
    let keep_responses = async |id: &str, timeout_ms: u64| {
        let call = json!({ "activity": "HostileKeepsResponses", "input": url, "attemptTimeoutMs": timeout_ms });
        world.begin("CallHostileActivity", id, &call).await;
    };
    limit(5).await;
    keep_responses("greedy", 600_000).await;
    are_open(5).await;
    let running = "windlass_tenant_activities_running{tenant=\"default\"}";
    assert_eq!(world.metrics().await.number(running), 1.0);

    keep_responses("refused", 1_000).await;
    assert_eq!(world.output_of("refused").await["errorType"], "windlass.timeout");
    let line = format!("the request to {url} was refused: the quota maxTenantRequests of the tenant is reached: 5");
    let log = world.log_of("refused").await;
    assert!(log.contains(&line), "{log:?}");
    assert_eq!(requests.load(Ordering::Relaxed), 5);

    // A quota counts at once, and what an attempt held is free when its time is up.
    limit(8).await;
    keep_responses("more", 1_000).await;
    assert_eq!(world.output_of("more").await["errorType"], "windlass.timeout");
    assert_eq!(requests.load(Ordering::Relaxed), 8);
    are_open(5).await;
    let shown = world.cli(&["tenant", "show", "default"]).await;
    assert!(shown.stdout.contains("openRequests"), "{shown:?}");
    world.tell("/v1/instances/greedy/terminate").await.expect(202);
    are_open(0).await;
    world.stop().await;
}

#[tokio::test]
async fn what_requests_send_and_receive_is_counted_however_their_attempts_end() {
    let world = World::start(&["patterns", "patterns_activities"]).await;
    let call = |key: &str| {
        let mut input = world.nested("call", json!({ "key": key, "failures": 2 }));
        input["firstIntervalMs"] = 1.into();
        input
    };
    let used = async || {
        let usage = world.get("/v1/usage").await.expect(200);
        let functions = usage["functions"].as_array().expect("functions");
        let of_calls = functions
            .iter()
            .find(|function| function["function"] == "CallUnreliableService");
        let of_calls = of_calls.unwrap_or_else(|| panic!("no calls in {usage:#}"));
        assert_eq!(usage["total"]["httpSent"], of_calls["httpSent"], "{usage:#}");
        ["count", "failed", "httpSent", "httpReceived"].map(|what| of_calls[what].as_u64().expect(what))
    };
    // Two attempts fail, the third completes.
    world.run("OrchestrationWithRetry", &call("first")).await;
    let [count, failed, sent, received] = used().await;
    assert_eq!((count, failed), (3, 2));
    assert!(sent > 3 * 100 && received > 3 * 100, "{sent} and {received}");

    // Three that send the same and get no answer in time.
    world.backend.delay("unreliable", 60_000).await;
    let body = json!({ "quotas": { "activityTimeout": "2s" } });
    let request = world.request(Method::PATCH, "/v1/tenants/default").json(&body);
    world.send(request).await.expect(200);
    let failure = world.run_failing("OrchestrationWithRetry", &call("other")).await;
    assert_eq!(failure["type"], "windlass.timeout", "{failure:#}");
    assert_eq!(used().await, [6, 5, 2 * sent, received]);
    let shown = world.cli(&["usage"]).await;
    assert!(shown.stdout.contains(&(2 * sent).to_string()), "{shown:?}");
    world.stop().await;
}
