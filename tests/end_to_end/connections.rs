//! Tests of connections: half-closed ones, idle ones, silent ones, and more than the host has slots for.

use futures::future::select_all;
use harness::{PATIENCE, World, until};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const MODULES: &[&str] = &["bench", "bench_activities"];

/// Opens a connection to the host without sending anything.
pub(crate) async fn connect(url: &str) -> TcpStream {
    let address = url.strip_prefix("http://").expect("a host without TLS");
    TcpStream::connect(address).await.expect("the host listens")
}

/// A request without a body.
pub(crate) fn head(method: &str, target: &str, key: Option<&str>) -> String {
    let key = key
        .map(|key| format!("Authorization: Bearer {key}\r\n"))
        .unwrap_or_default();
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: 0\r\n\r\n")
}

/// Opens a connection and sends a request.
pub(crate) async fn send(url: &str, request: &str) -> TcpStream {
    let mut stream = connect(url).await;
    stream.write_all(request.as_bytes()).await.expect("the host reads");
    stream
}

/// Reads everything until the host closes the connection.
pub(crate) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("the host closes the connection")
        .expect("an answer");
    answer
}

/// Starts an instance with `wait`, closes the sending half, and asserts that the response reports the termination by
/// `terminate`.
pub(crate) async fn wait_half_closed(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    terminate: impl Future<Output = ()>,
) {
    let request = head("POST", "/v1/orchestrations/BenchParked?instanceId=half&wait=60s", None);
    let request = request.replace("Content-Length", "Connection: close\r\nContent-Length");
    stream.write_all(request.as_bytes()).await.expect("the host reads");
    stream.shutdown().await.expect("the host reads");
    let ((), answer) = tokio::join!(terminate, read_all(&mut stream));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"runtimeStatus\":\"Terminated\""), "{answer}");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_still_gets_its_response() {
    let world = World::start(MODULES).await;
    wait_half_closed(connect(world.url()).await, async {
        until("the start of the instance", async || {
            (world.get("/v1/instances/half").await.status == 202).then_some(())
        })
        .await;
        world.tell("/v1/instances/half/terminate").await.expect(202);
    })
    .await;
    world.stop().await;
}

/// Reads the status line of a response up to the status code.
pub(crate) async fn status_line(stream: &mut TcpStream) -> String {
    let mut begin = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut begin))
        .await
        .expect("the host answers in time")
        .expect("an answer");
    String::from_utf8_lossy(&begin).into_owned()
}

/// Waits for the first response on any of the connections, removes that connection, and returns the status line.
async fn first_answer(streams: &mut Vec<TcpStream>) -> String {
    let (line, index, _) = select_all(streams.iter_mut().map(|stream| Box::pin(status_line(stream)))).await;
    streams.remove(index);
    line
}

#[tokio::test]
async fn a_disconnected_client_frees_its_wait() {
    // The host has room for one wait; it answers the other one at once.
    let world = World::start_with(MODULES, &["--max-connections", "2"]).await;
    world.begin("BenchParked", "one", &json!(null)).await;
    let wait = head("GET", "/v1/instances/one?wait=60s", None);
    let mut streams = vec![send(world.url(), &wait).await, send(world.url(), &wait).await];
    assert_eq!(first_answer(&mut streams).await, "HTTP/1.1 202");
    // The waiting client disconnects, so one of the next two requests can wait.
    drop(streams);
    let mut streams = vec![send(world.url(), &wait).await, send(world.url(), &wait).await];
    assert_eq!(first_answer(&mut streams).await, "HTTP/1.1 202");
    world.tell("/v1/instances/one/terminate").await.expect(202);
    assert_eq!(first_answer(&mut streams).await, "HTTP/1.1 200");
    world.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_timeout() {
    let world = World::start_with(&[], &["--idle-timeout", "300ms"]).await;
    let mut stream = send(world.url(), &head("GET", "/healthz", None)).await;
    // This one is subject to the longer time limit for a request head, so it is still open at the end.
    let silent = connect(world.url()).await;
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let nothing = silent.try_read(&mut [0; 1]);
    assert!(nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    world.stop().await;
}

/// Arguments for eight request slots.
const FEW: &[&str] = &["--max-connections", "8"];

/// Asserts that the host answers these requests before it answers or closes any of the connections in `occupied`.
pub(crate) async fn are_answered(world: &World, requests: &[String], occupied: &mut [TcpStream]) {
    for request in requests {
        let request = request.replace("Content-Length: 0", "Content-Length: 0\r\nConnection: close");
        let mut stream = send(world.url(), &request).await;
        let mut answer = String::new();
        tokio::select! {
            biased;
            read = stream.read_to_string(&mut answer) => { read.unwrap_or_else(|error| panic!("{error} after {answer:?}: {request}")); }
            () = first_read(occupied) => panic!("an earlier connection ended first: {request}"),
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{request}{answer}");
    }
}

/// Returns when the host answers or closes one of the connections.
async fn first_read(streams: &mut [TcpStream]) {
    let mut buffers = vec![[0; 1]; streams.len()];
    let reads = streams.iter_mut().zip(&mut buffers);
    let _ = select_all(reads.map(|(stream, buffer)| Box::pin(stream.read(buffer)))).await;
}

#[tokio::test]
async fn a_host_full_of_waits_answers_monitoring_and_administrators() {
    let mut world = World::start_with(MODULES, FEW).await;
    let admin = world.post("/v1/keys", &json!({ "role": "admin" })).await.expect(201);
    world.set_key(admin["key"].as_str().expect("a key"));
    let client = world.post("/v1/keys", &json!({ "role": "client" })).await.expect(201);
    let client = client["key"].as_str().expect("a key");
    world.begin("BenchParked", "one", &json!(null)).await;

    let wait = head("GET", "/v1/instances/one?wait=60s", Some(client));
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(send(world.url(), &wait).await);
    }
    // A quarter of the slots is reserved for other requests, so six of the eight can wait.
    for _ in 0..2 {
        assert_eq!(first_answer(&mut waiting).await, "HTTP/1.1 202");
    }
    let requests = [
        head("GET", "/healthz", None),
        head("GET", "/readyz", None),
        head("GET", "/metrics", world.key()),
        head("GET", "/v1/tenants", world.key()),
        head("GET", "/v1/modules", Some(client)),
    ];
    are_answered(&world, &requests, &mut waiting).await;
    // Silent connections change nothing, however many there are.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(connect(world.url()).await);
    }
    are_answered(&world, &requests, &mut waiting).await;
    for _ in 0..40 {
        silent.push(connect(world.url()).await);
    }
    are_answered(&world, &requests, &mut waiting).await;
    drop(silent);
    world.tell("/v1/instances/one/terminate").await.expect(202);
    while !waiting.is_empty() {
        assert_eq!(first_answer(&mut waiting).await, "HTTP/1.1 200");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_host_full_of_silent_connections_answers_at_once() {
    let world = World::start_with(&[], FEW).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(connect(world.url()).await);
    }
    let requests = [head("GET", "/healthz", None), head("GET", "/v1/instances", None)];
    are_answered(&world, &requests, &mut silent).await;
    world.stop().await;
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_but_monitoring_does_not() {
    let world = World::start_with(&[], FEW).await;
    // Each request holds its slot until its body has arrived. `100 Continue` shows that the host waits for the body.
    let body = r#"{"value":"v","modules":["m"]}"#;
    let mut busy = Vec::new();
    for n in 0..8 {
        let length = format!("Content-Length: {}\r\nExpect: 100-continue", body.len());
        let put = head("PUT", &format!("/v1/config/c{n}"), None).replace("Content-Length: 0", &length);
        let mut stream = send(world.url(), &put).await;
        assert_eq!(status_line(&mut stream).await, "HTTP/1.1 100");
        busy.push(stream);
    }
    let mut list = vec![send(world.url(), &head("GET", "/v1/instances", None)).await];
    are_answered(&world, &[head("GET", "/healthz", None)], &mut list).await;
    for stream in &mut busy {
        stream.write_all(body.as_bytes()).await.expect("the host reads");
    }
    assert_eq!(first_answer(&mut list).await, "HTTP/1.1 200");
    world.stop().await;
}
