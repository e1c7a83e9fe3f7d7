//! Tests of outgoing requests: activities reach only what the operator allows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{Backend, Closes, Encrypted, PlainServer, World, module, until};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn activities_cannot_reach_addresses_that_are_not_allowed() {
    let world = World::start(&["patterns", "patterns_activities"]).await;
    let forbidden = Backend::start().await;
    let input = json!({ "customerId": "cust-ada", "backend": forbidden.url() });
    let failure = world.run_failing("ParallelExecution", &input).await;
    assert!(
        failure["message"].as_str().is_some_and(|text| !text.is_empty()),
        "{failure:#}"
    );
    assert_eq!(forbidden.get("/control/calls").await, json!({}));
    // The same call to the allowed backend succeeds, so the address was the reason.
    let input = world.input(json!({ "customerId": "cust-ada" }));
    assert!(world.run("ParallelExecution", &input).await["profile"].is_object());
    world.stop().await;
}

#[tokio::test]
async fn activities_cannot_reach_the_host_itself() {
    let world = World::start(&["patterns", "patterns_activities"]).await;
    let input = json!({ "customerId": "cust-ada", "backend": world.url() });
    let failure = world.run_failing("ParallelExecution", &input).await;
    assert_eq!(failure["details"]["reason"], "HttpRequestDenied", "{failure:#}");
    world.stop().await;
}

#[tokio::test]
async fn refused_requests_are_logged_without_their_path() {
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
async fn https_requests_trust_the_configured_authorities() {
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

/// Starts a server that never ends its responses. Returns its URL and the number of requests that it has received.
async fn endless_server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("the socket is bound"));
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
                connection.write_all(beginning).await.expect("the guest reads");
                // Keeps the connection open until the client closes or resets it.
                let _ = connection.read_u8().await;
            });
        }
    });
    (url, requests)
}

#[tokio::test]
async fn the_activities_of_a_tenant_share_a_quota_on_open_requests() {
    let (url, requests) = endless_server().await;
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

    // A new quota applies at once, and the requests of an attempt end when it times out.
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
async fn bytes_of_requests_are_counted_however_the_attempts_end() {
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
            .find(|function| function["function"] == "UnreliableActivity");
        let of_calls = of_calls.unwrap_or_else(|| panic!("no calls in {usage:#}"));
        assert_eq!(usage["total"]["httpSent"], of_calls["httpSent"], "{usage:#}");
        ["count", "failed", "httpSent", "httpReceived"].map(|what| of_calls[what].as_u64().expect(what))
    };
    // Two attempts fail, the third completes.
    world.run("OrchestrationWithRetry", &call("first")).await;
    let [count, failed, sent, received] = used().await;
    assert_eq!((count, failed), (3, 2));
    assert!(sent > 3 * 100 && received > 3 * 100, "{sent} and {received}");

    // Three more attempts send the same bytes and time out without a response: twice as many bytes in total.
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

/// Starts a host that allows requests to `server`.
async fn world_with(server: &PlainServer, args: &[&str]) -> World {
    let args = [args, &["--allow", server.url()]].concat();
    World::start_with(&["hostile_orchestrations", "patterns_activities"], &args).await
}

/// Runs an activity that sends requests, and returns its outcome.
async fn send(world: &World, requests: &Value) -> Value {
    let call = json!({ "activity": "SendRequests", "input": requests });
    world.run("CallHostileActivity", &call).await
}

#[tokio::test]
async fn post_put_and_patch_without_a_body_send_a_content_length() {
    let server = PlainServer::start(Closes::WhenTold).await;
    let world = world_with(&server, &[]).await;
    for method in ["POST", "PUT", "PATCH", "GET", "DELETE"] {
        let outcome = send(&world, &json!({ "method": method, "url": server.url() })).await;
        assert!(outcome["output"].is_array(), "{method}: {outcome:#}");
    }
    let has_length = |headers: &[String]| headers.contains(&"content-length: 0".to_owned());
    let seen = server.seen();
    let with_length: Vec<bool> = seen.iter().map(|request| has_length(&request.headers)).collect();
    assert_eq!(with_length, [true, true, true, false, false], "{seen:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_refused_header_is_named_and_the_request_is_not_sent() {
    let server = PlainServer::start(Closes::WhenTold).await;
    let world = world_with(&server, &[]).await;
    let with = |name: &str, value: &str| json!({ "method": "POST", "url": server.url(), "body": "abc", "headers": [[name, value]] });
    for (name, value, message) in [
        (
            "Connection",
            "close",
            "the header \"connection\" is refused: the host decides how long a connection is kept",
        ),
        (
            "x-note",
            "a\r\nb",
            "the header \"x-note\" is refused: its value has the control character U+000D at byte 1",
        ),
        (
            "content-length",
            "4",
            "the header \"content-length\" is refused: it is 4, but the body has 3 bytes",
        ),
    ] {
        let outcome = send(&world, &with(name, value)).await;
        assert_eq!(
            (&outcome["errorType"], &outcome["message"]),
            (&json!("HttpError"), &json!(message))
        );
    }
    // The SDK does not check the host's limit on the size of all headers, so the host refuses this one.
    let outcome = send(&world, &with("x-long", &"x".repeat(100_000))).await;
    let message = outcome["message"].as_str().expect("a message");
    assert!(message.starts_with("the header \"x-long\" is refused: "), "{message}");
    assert!(server.seen().is_empty());

    let outcome = send(&world, &with("content-length", "3")).await;
    assert!(outcome["output"].is_array(), "{outcome:#}");
    let seen = server.seen();
    let lengths = seen[0]
        .headers
        .iter()
        .filter(|header| header.starts_with("content-length"));
    assert_eq!((lengths.count(), &*seen[0].body), (1, "abc"), "{seen:?}");
    world.stop().await;
}

/// The connections on which the server received requests with this request line.
fn connections_of(server: &PlainServer, target: &str) -> BTreeSet<usize> {
    let seen = server.seen();
    let of_target = seen.iter().filter(|request| request.target == target);
    of_target.map(|request| request.connection).collect()
}

#[tokio::test]
async fn thousands_of_requests_of_many_activities_share_few_connections() {
    let server = PlainServer::start(Closes::WhenTold).await;
    let world = world_with(&server, &[]).await;
    for _ in 0..20 {
        let requests = json!({ "method": "POST", "url": server.url(), "body": "abc", "times": 100 });
        let outcome = send(&world, &requests).await;
        assert_eq!(outcome["output"].as_array().map(Vec::len), Some(100), "{outcome:#}");
    }
    assert_eq!(server.seen().len(), 2_000);
    // One connection is not always enough: after a pause, a request that cannot be repeated does not reuse an idle
    // connection, because the server may be closing it.
    assert!(server.accepted() <= 100, "{}", server.accepted());
    let metrics = world.metrics().await;
    let count = |what: &str| metrics.number(&format!("windlass_outgoing_connections_{what}"));
    assert_eq!(count("opened_total"), server.accepted() as f64);
    assert_eq!(count("opened_total") + count("reused_total"), 2_000.0);
    assert!(count("idle") >= 1.0);
    world.stop().await;
}

#[tokio::test]
async fn usage_is_the_same_over_new_and_reused_connections() {
    let server = PlainServer::start(Closes::WhenTold).await;
    let world = world_with(&server, &[]).await;
    let mut used = Vec::new();
    for _ in 0..3 {
        let outcome = send(&world, &json!({ "method": "GET", "url": server.url() })).await;
        assert_eq!(outcome["output"], json!(["1"]), "not the first connection: {outcome:#}");
        let usage = world.get("/v1/usage").await.expect(200);
        used.push(["httpSent", "httpReceived"].map(|what| usage["total"][what].as_u64().expect(what)));
    }
    let [sent, received] = used[0];
    assert!(sent > 0 && received > 0);
    assert_eq!(used[2], [3 * sent, 3 * received]);
    world.stop().await;
}

#[tokio::test]
async fn tenants_never_share_a_connection() {
    let server = PlainServer::start(Closes::WhenTold).await;
    let world = world_with(&server, &[]).await;
    let tenants = ["one", "other"];
    for tenant in tenants {
        world.post("/v1/tenants", &json!({ "name": tenant })).await.expect(201);
    }
    for name in ["hostile_orchestrations", "patterns_activities"] {
        for tenant in tenants {
            let request = world.request(Method::PUT, &format!("/v1/modules/{name}"));
            let request = request.header("windlass-tenant", tenant).body(module(name));
            world.send(request).await.expect(201);
        }
    }
    for round in 0..5 {
        for tenant in tenants {
            let requests = json!({ "method": "GET", "url": format!("{}/{tenant}", server.url()), "times": 10 });
            let call = json!({ "activity": "SendRequests", "input": requests });
            let path = format!("/v1/orchestrations/CallHostileActivity?instanceId=r{round}&wait=30");
            let request = world.request(Method::POST, &path).header("windlass-tenant", tenant);
            let answer = world.send(request.json(&call)).await;
            assert_eq!(answer.status, 200, "{:#}", answer.body);
        }
    }
    let connections = tenants.map(|tenant| connections_of(&server, &format!("GET /{tenant}")));
    assert!(connections.iter().all(|used| !used.is_empty()), "{connections:?}");
    assert!(connections[0].is_disjoint(&connections[1]), "{connections:?}");
    assert_eq!(server.seen().len(), 100);
    world.stop().await;
}

#[tokio::test]
async fn connections_closed_by_the_server_fail_no_request_and_repeat_none() {
    let server = PlainServer::start(Closes::AfterEachAnswer).await;
    let world = world_with(&server, &[]).await;
    let outcome = send(&world, &json!({ "method": "GET", "url": server.url(), "times": 200 })).await;
    assert_eq!(outcome["output"].as_array().map(Vec::len), Some(200), "{outcome:#}");
    assert_eq!(server.accepted(), 200);
    world.stop().await;

    let server = PlainServer::start(Closes::WhenTold).await;
    let world = world_with(&server, &[]).await;
    for number in 0..10 {
        let url = format!("{}/{number}", server.url());
        let outcome = send(&world, &json!({ "method": "POST", "url": url, "body": "abc" })).await;
        assert!(outcome["output"].is_array(), "{outcome:#}");
        server.close_connections().await;
    }
    let targets: Vec<String> = server.seen().into_iter().map(|request| request.target).collect();
    let expected: Vec<String> = (0..10).map(|number| format!("POST /{number}")).collect();
    assert_eq!(targets, expected);
    world.stop().await;
}
