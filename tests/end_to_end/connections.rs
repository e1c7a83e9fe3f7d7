//! Tests of connections: half closed, idle, silent, and more than the host has places for.

use futures::future::select_all;
use harness::{PATIENCE, World, until};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const MODULES: &[&str] = &["bench", "bench_activities"];

/// Opens a connection to the host without sending anything.
pub(crate) async fn connect(url: &str) -> TcpStream {
    let address = url.strip_prefix("http://").expect("a plain host");
    TcpStream::connect(address).await.expect("it listens")
}

/// A request without a body, with a key or without.
pub(crate) fn head(method: &str, target: &str, key: Option<&str>) -> String {
    let key = key
        .map(|key| format!("Authorization: Bearer {key}\r\n"))
        .unwrap_or_default();
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: 0\r\n\r\n")
}

/// Opens a connection and sends a request.
pub(crate) async fn ask(url: &str, request: &str) -> TcpStream {
    let mut stream = connect(url).await;
    stream.write_all(request.as_bytes()).await.expect("it listens");
    stream
}

/// Reads everything until the host closes the connection.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("the host closes")
        .expect("an answer");
    answer
}

/// Starts an instance, waits for its end with the sending half closed, and reads the response.
pub(crate) async fn wait_half_closed(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    terminate: impl Future<Output = ()>,
) {
    let request = head("POST", "/v1/orchestrations/BenchParked?instanceId=half&wait=60s", None);
    let request = request.replace("Content-Length", "Connection: close\r\nContent-Length");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    stream.shutdown().await.expect("it listens");
    let ((), answer) = tokio::join!(terminate, rest(&mut stream));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"runtimeStatus\":\"Terminated\""), "{answer}");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_half_gets_its_answer() {
    let world = World::start(MODULES).await;
    wait_half_closed(connect(world.url()).await, async {
        until("the instance", async || {
            (world.get("/v1/instances/half").await.status == 202).then_some(())
        })
        .await;
        world.tell("/v1/instances/half/terminate").await.expect(202);
    })
    .await;
    world.stop().await;
}

/// Reads the status line of a response, without the reason.
pub(crate) async fn status_line(stream: &mut TcpStream) -> String {
    let mut begin = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut begin))
        .await
        .expect("in time")
        .expect("an answer");
    String::from_utf8_lossy(&begin).into_owned()
}

/// Removes the connection that is answered first, and returns its status line.
async fn first_answer(streams: &mut Vec<TcpStream>) -> String {
    let (line, index, _) = select_all(streams.iter_mut().map(|stream| Box::pin(status_line(stream)))).await;
    streams.remove(index);
    line
}

#[tokio::test]
async fn the_wait_of_a_disconnected_client_makes_room_for_others() {
    // There is room for one wait; another one is answered at once.
    let world = World::start_with(MODULES, &["--max-connections", "2"]).await;
    world.begin("BenchParked", "one", &json!(null)).await;
    let wait = head("GET", "/v1/instances/one?wait=60s", None);
    let mut streams = vec![ask(world.url(), &wait).await, ask(world.url(), &wait).await];
    assert_eq!(first_answer(&mut streams).await, "HTTP/1.1 202");
    // The waiting client disconnects, and one of the next two waits in its place.
    drop(streams);
    let mut streams = vec![ask(world.url(), &wait).await, ask(world.url(), &wait).await];
    assert_eq!(first_answer(&mut streams).await, "HTTP/1.1 202");
    world.tell("/v1/instances/one/terminate").await.expect(202);
    assert_eq!(first_answer(&mut streams).await, "HTTP/1.1 200");
    world.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_timeout() {
    let world = World::start_with(&[], &["--idle-timeout", "300ms"]).await;
    let mut stream = ask(world.url(), &head("GET", "/healthz", None)).await;
    // The host closes it long before the time limit for a head.
    let silent = connect(world.url()).await;
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let nothing = silent.try_read(&mut [0; 1]);
    assert!(nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    world.stop().await;
}

/// Arguments for eight places.
const FEW: &[&str] = &["--max-connections", "8"];

/// Asserts that these requests are answered while the requests that occupy the host continue.
pub(crate) async fn are_answered(world: &World, requests: &[String], occupied: &mut [TcpStream]) {
    for request in requests {
        let request = request.replace("Content-Length: 0", "Content-Length: 0\r\nConnection: close");
        let mut stream = ask(world.url(), &request).await;
        let mut answer = String::new();
        tokio::select! {
            biased;
            read = stream.read_to_string(&mut answer) => { read.expect("an answer"); }
            () = first_read(occupied) => panic!("answered after others that came before: {request}"),
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{request}{answer}");
    }
}

/// Returns when one of them is answered or closed.
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
        waiting.push(ask(world.url(), &wait).await);
    }
    // A quarter of the places stays free of waits, so six of them wait.
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
    // The same with any number of silent connections.
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
async fn requests_beyond_the_limit_wait_and_monitoring_does_not() {
    let world = World::start_with(&[], FEW).await;
    // Each request holds its place until its body has arrived. The host confirms that it waits for the body.
    let body = r#"{"value":"v","modules":["m"]}"#;
    let mut busy = Vec::new();
    for n in 0..8 {
        let length = format!("Content-Length: {}\r\nExpect: 100-continue", body.len());
        let put = head("PUT", &format!("/v1/config/c{n}"), None).replace("Content-Length: 0", &length);
        let mut stream = ask(world.url(), &put).await;
        assert_eq!(status_line(&mut stream).await, "HTTP/1.1 100");
        busy.push(stream);
    }
    let mut list = vec![ask(world.url(), &head("GET", "/v1/instances", None)).await];
    are_answered(&world, &[head("GET", "/healthz", None)], &mut list).await;
    for stream in &mut busy {
        stream.write_all(body.as_bytes()).await.expect("it listens");
    }
    assert_eq!(first_answer(&mut list).await, "HTTP/1.1 200");
    world.stop().await;
}
