//! Tests of what applies to all requests: routes, methods, host names, origins, parameters, ids, shutdown.

use super::harness::TestHost;

#[tokio::test]
async fn health_and_readiness_are_reported() {
    let host = TestHost::start().await;
    assert_eq!(host.get("/healthz").await.json()["status"], "ok");
    assert_eq!(host.get("/readyz").await.json()["status"], "ready");
}

#[tokio::test]
async fn unknown_resources_are_refused_with_a_problem_document() {
    let host = TestHost::start().await;
    assert_eq!(host.get("/v1/nothing").await.refusal(), (404, "unknown-route".into()));
    assert_eq!(host.get("/").await.refusal(), (404, "unknown-route".into()));
    let wrong_method = host.delete("/v1/orchestrations/F").await;
    assert_eq!(wrong_method.refusal(), (405, "method-not-allowed".into()));
    assert_eq!(wrong_method.header("allow"), "POST");
    assert_eq!(
        host.get("/v1/modules/none").await.refusal(),
        (404, "unknown-module".into())
    );
    assert_eq!(
        host.get("/docs/errors/none").await.refusal(),
        (404, "unknown-route".into())
    );
}

#[tokio::test]
async fn the_type_of_a_problem_is_a_page_of_the_host() {
    let host = TestHost::start().await;
    let kind = host.get("/v1/modules/none").await.json()["type"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = host.get(&kind).await;
    assert_eq!(page.status, 200);
    assert!(page.text.starts_with("# unknown-module\n"), "{}", page.text);
}

#[tokio::test]
async fn programs_on_this_machine_are_answered_and_foreign_pages_are_not() {
    let host = TestHost::start().await;
    let with = async |name: &'static str, value: String| {
        host.send(|client, base| client.get(format!("{base}/healthz")).header(name, value))
            .await
    };
    assert_eq!(with("host", "localhost".into()).await.status, 200);
    assert_eq!(
        with("host", "rebound.example".into()).await.refusal(),
        (403, "foreign-host".into())
    );
    assert_eq!(with("origin", format!("http://{}", host.address)).await.status, 200);
    let foreign = with("origin", "http://evil.example".into()).await;
    assert_eq!(foreign.refusal(), (403, "foreign-origin".into()));
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));
    assert!(
        host.raw(b"GET /healthz HTTP/1.1\r\n\r\n", true)
            .await
            .contains("foreign-host")
    );
}

#[tokio::test]
async fn parameters_and_ids_are_read_strictly() {
    let host = TestHost::start().await;
    for (target, code) in [
        ("/v1/instances?limit=0", "invalid-parameter"),
        ("/v1/instances?limit=1001", "invalid-parameter"),
        ("/v1/instances?cursor=zzz", "invalid-parameter"),
        ("/v1/instances?runtimeStatus=Runing", "invalid-parameter"),
        ("/v1/instances?createdTimeFrom=now", "invalid-parameter"),
        ("/v1/instances?status=Running", "unknown-parameter"),
        ("/v1/instances?limit=1&limit=2", "repeated-parameter"),
        ("/v1/instances/a?wait=2h", "invalid-parameter"),
        ("/v1/instances/a?history=yes", "invalid-parameter"),
        ("/v1/instances/a%2Fb", "invalid-path"),
        ("/v1/instances/a%0Ab", "invalid-path"),
        ("/v1/instances/a%ffb", "invalid-path"),
        ("/v1/modules/a%20b", "invalid-path"),
        ("/v1/instances/a/logs?level=loud", "invalid-parameter"),
    ] {
        assert_eq!(host.get(target).await.refusal(), (400, code.into()), "{target}");
    }
    let long = format!("/v1/instances/{}", "x".repeat(257));
    assert_eq!(host.get(&long).await.refusal(), (400, "invalid-path".into()));
    let longer = format!("/v1/instances/{}", "x".repeat(9_000));
    assert_eq!(host.get(&longer).await.refusal(), (414, "target-too-long".into()));
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let host = TestHost::start().await;
    let head = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    assert!(host.raw(head.as_bytes(), true).await.starts_with("HTTP/1.1 431"));
    let many = "X: y\r\n".repeat(200);
    let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    assert!(host.raw(head.as_bytes(), true).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn waiting_requests_are_answered_when_the_host_shuts_down() {
    let mut host = TestHost::start().await;
    host.running("slow").await;
    let server = host.server.take().unwrap();
    let (answer, ()) = tokio::join!(host.get("/v1/instances/slow?wait=60s"), async {
        // The waiting request is sent before this one: both run on this thread, in this order.
        host.get("/healthz").await;
        host.stop.cancel();
    });
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["runtimeStatus"], "Running");
    server.await.unwrap();
    host.engine.stop().await;
    assert!(
        tokio::net::TcpStream::connect(host.address).await.is_err(),
        "the socket is closed"
    );
}
