//! Tests of clients that ask for much at the same time, or send and read slowly: others are served meanwhile.

use futures::future::{join_all, select_all};
use harness::{World, module, until};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::connections::{are_answered, connect, head, read_all, send, status_line};

const MODULES: &[&str] = &["bench", "bench_activities"];

/// Creates a tenant, and a key for it that may deploy modules.
async fn create_tenant(world: &World, name: &str) -> String {
    world.create_tenant(name).await;
    world.create_key(name, "deployer").await
}

#[tokio::test]
async fn a_host_with_few_files_keeps_some_of_them_free_of_silent_connections() {
    let world = World::start_with_files(512).await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(connect(world.url()).await);
    }
    // A new connection replaces the oldest silent one.
    let newest = &mut silent[500..];
    let requests = [head("GET", "/healthz", None), head("GET", "/v1/instances", None)];
    are_answered(&world, &requests, newest).await;
    world.is_healthy().await;
    assert!(!world.log().contains("cannot accept a connection"), "{}", world.log());
    assert!(
        world.log().contains("fewer requests than --max-connections"),
        "{}",
        world.log()
    );
    world.stop().await;
}

/// Begins a request whose body the host waits for, if it has a place for the request.
async fn begin_body(world: &World, method: &str, target: &str, key: &str, length: usize) -> TcpStream {
    let length = format!("Content-Length: {length}\r\nExpect: 100-continue");
    let request = head(method, target, Some(key)).replace("Content-Length: 0", &length);
    send(world.url(), &request).await
}

/// Removes the request whose body the host waits for next.
async fn next_begun(requests: &mut Vec<TcpStream>) -> TcpStream {
    let lines = requests.iter_mut().map(|stream| Box::pin(status_line(stream)));
    let (line, index, _) = select_all(lines).await;
    assert_eq!(line, "HTTP/1.1 100");
    requests.remove(index)
}

#[tokio::test]
async fn requests_of_one_tenant_leave_places_for_another() {
    let mut world = World::start_with(&[], &["--max-connections", "8"]).await;
    world.guard().await;
    let (greedy, modest) = (
        create_tenant(&world, "greedy").await,
        create_tenant(&world, "modest").await,
    );
    let body = r#"{"value":"v","modules":["m"]}"#;
    let mut busy = Vec::new();
    for n in 0..12 {
        busy.push(begin_body(&world, "PUT", &format!("/v1/config/c{n}"), &greedy, body.len()).await);
    }
    let (mut further, mut busy) = (busy, Vec::new());
    for _ in 0..7 {
        busy.push(next_begun(&mut further).await);
    }
    are_answered(&world, &[head("GET", "/v1/modules", Some(&modest))], &mut further).await;
    // The further requests of the tenant get their turn.
    for stream in busy.iter_mut().chain(&mut further) {
        stream.write_all(body.as_bytes()).await.expect("the host reads");
    }
    for stream in &mut further {
        assert_eq!(status_line(stream).await, "HTTP/1.1 100");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_revoked_key_ends_its_waits() {
    let mut world = World::start(MODULES).await;
    world.guard().await;
    let client = world.create_key("default", "client").await;
    world.begin("BenchParked", "one", &Value::Null).await;
    let wait = head("GET", "/v1/instances/one?wait=60s", Some(&client));
    let mut waiting = send(
        world.url(),
        &wait.replace("Content-Length", "Connection: close\r\nContent-Length"),
    )
    .await;
    until("the wait", async || {
        (world.metrics().await.number("windlass_http_waits") == 1.0).then_some(())
    })
    .await;
    // Other changes do not end it.
    world.create_key("default", "operator").await;
    assert_eq!(world.metrics().await.number("windlass_http_waits"), 1.0);
    let id = client.split('_').nth(1).expect("a key begins with its id");
    world.delete(&format!("/v1/keys/{id}")).await.expect(204);
    let answer = read_all(&mut waiting).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn slow_uploads_of_two_tenants_keep_nobody_from_uploading() {
    let mut world = World::start(&[]).await;
    world.guard().await;
    let mut slow = Vec::new();
    for tenant in ["one", "two"] {
        let key = create_tenant(&world, tenant).await;
        for n in 0..4 {
            let mut upload = begin_body(&world, "PUT", &format!("/v1/modules/m{n}"), &key, 32 << 20).await;
            assert_eq!(status_line(&mut upload).await, "HTTP/1.1 100");
            upload.write_all(&[0; 1_000]).await.expect("the host reads");
            slow.push(upload);
        }
    }
    let third = create_tenant(&world, "third").await;
    let upload = world.request_as(Some(&third), Method::PUT, "/v1/modules/bench");
    world.send(upload.body(module("bench"))).await.expect(201);
    drop(slow);
    world.stop().await;
}

#[tokio::test]
async fn answers_that_a_tenant_does_not_read_take_a_share_of_the_memory() {
    let args = ["--max-payload", "2MiB", "--memory", "256MiB"];
    let mut world = World::start_with(&["hostile_orchestrations"], &args).await;
    for n in 0..6 {
        let id = format!("large-{n}");
        world.begin("HostileStatus", &id, &json!(1)).await;
        world.output_of(&id).await;
    }
    world.guard().await;
    let operator = world.create_key("default", "operator").await;
    let other = create_tenant(&world, "other").await;
    let list = head("GET", "/v1/instances?limit=1000", Some(&operator));
    let mut unread = Vec::new();
    for _ in 0..40 {
        unread.push(send(world.url(), &list).await);
    }
    let read = async |key: &str, path: &str| world.send(world.request_as(Some(key), Method::GET, path)).await;
    // The host may take up a request on another connection before those above.
    let refused = until("an answer that is refused", async || {
        let answer = read(&operator, "/v1/instances?limit=1000").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.refused(503, "too-many-answers");
    read(&other, "/v1/modules").await.expect(200);
    world.is_healthy().await;
    drop(unread);
    until("memory for the next answer", async || {
        (read(&operator, "/v1/instances?limit=1000").await.status == 200).then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn lists_of_large_statuses_come_in_pages_of_bounded_size() {
    const INSTANCES: usize = 12;
    let world = World::start_with(&["hostile_orchestrations"], &["--max-payload", "2MiB"]).await;
    join_all((0..INSTANCES).map(async |n| {
        let id = format!("large-{n}");
        world.begin("HostileStatus", &id, &json!(1)).await;
        world.output_of(&id).await;
    }))
    .await;
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = world.get(&format!("/v1/instances?limit=1000{cursor}")).await;
        let length: usize = answer.header("content-length").parse().expect("a number");
        assert!(length < 6 << 20, "{length} bytes");
        let page = answer.expect(200);
        let ids = page["instances"].as_array().expect("instances").iter();
        found.extend(ids.map(|instance| instance["instanceId"].as_str().expect("an id").to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), INSTANCES);
    let listed = world.cli(&["list", "--json", "--limit", "0"]).await;
    assert_eq!(listed.stdout.lines().count(), INSTANCES);
    world.stop().await;
}
