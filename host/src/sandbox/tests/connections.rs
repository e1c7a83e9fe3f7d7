//! Tests of the reuse of connections, with servers of the tests.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{advance, pause, resume},
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use crate::grants::{ActivityLimits, RequestGroup};
use crate::sandbox::egress::{ConnectionCounts, Reach, connect::Connector};
use crate::tls::ExtraRoots;

use super::requests::{Client, empty, of_group, policy, read_head, text, with_length};

/// What a server does with a request, given its method and its number on the connection, from 1.
type Script = fn(&str, usize) -> Step;

enum Step {
    Answer(String),
    AnswerAndClose(String),
    Close,
}

fn hello() -> String {
    with_length("hello")
}

/// A server that counts its connections.
struct Counting {
    url: String,
    accepted: Arc<AtomicUsize>,
    /// Methods of the requests in the order of arrival.
    seen: Arc<Mutex<Vec<String>>>,
    /// Notified of each connection that has ended.
    ended: Arc<Notify>,
}

impl Counting {
    /// Starts a server with this script.
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            accepted: Arc::default(),
            seen: Arc::default(),
            ended: Arc::default(),
        };
        let (accepted, seen, ended) = (server.accepted.clone(), server.seen.clone(), server.ended.clone());
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Relaxed);
                let (seen, ended) = (seen.clone(), ended.clone());
                tokio::spawn(async move {
                    serve(connection, script, &seen).await;
                    ended.notify_one();
                });
            }
        });
        server
    }

    /// Starts a server that keeps its connections open.
    async fn keeping() -> Self {
        Self::start(|_, _| Step::Answer(hello())).await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Relaxed)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// A client in this group.
    fn client(&self, connector: &Arc<Connector>, group: &Arc<RequestGroup>) -> Client {
        let reach = Reach::new(policy(std::slice::from_ref(&self.url)), of_group(group));
        let limits = ActivityLimits {
            open_requests: 1_000,
            ..ActivityLimits::default()
        };
        Client::with(reach, connector.clone(), &limits)
    }
}

async fn serve(mut connection: TcpStream, script: Script, seen: &Mutex<Vec<String>>) {
    let mut number = 0;
    while let Some(head) = read_head(&mut connection).await {
        let method = head.split(' ').next().unwrap();
        seen.lock().unwrap().push(method.to_owned());
        number += 1;
        let (answer, closes) = match script(method, number) {
            Step::Answer(answer) => (answer, false),
            Step::AnswerAndClose(answer) => (answer, true),
            Step::Close => return,
        };
        let written = connection.write_all(answer.as_bytes()).await;
        if closes || written.is_err() {
            return;
        }
    }
}

fn connector() -> Arc<Connector> {
    Arc::new(Connector::system(ExtraRoots::none()))
}

/// Sends a request and reads the response.
async fn send(client: &mut Client, method: Method, url: &str, body: WasiBody) -> Result<String, Error> {
    let request = Request::builder().method(method).uri(url).body(body).unwrap();
    text(client.send(request, RequestOptions::default()).await?).await
}

fn body(bytes: &'static str) -> WasiBody {
    Full::new(Bytes::from(bytes))
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn get(client: &mut Client, server: &Counting) -> Result<String, Error> {
    send(client, Method::GET, &server.url, empty()).await
}

/// Advances the clock, which runs normally before and after, so that connections work.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

#[tokio::test]
async fn only_requests_in_the_same_room_share_a_connection() {
    let (server, connector) = (Counting::keeping().await, connector());
    let (ours, theirs) = (Arc::<RequestGroup>::default(), Arc::<RequestGroup>::default());
    for _ in 0..3 {
        // Each client is an attempt.
        let mut client = server.client(&connector, &ours);
        for _ in 0..3 {
            assert_eq!(get(&mut client, &server).await.unwrap(), "hello");
        }
    }
    assert_eq!(server.accepted(), 1);
    get(&mut server.client(&connector, &theirs), &server).await.unwrap();
    assert_eq!(server.accepted(), 2);
    let counts = ConnectionCounts {
        opened: 2,
        reused: 8,
        idle: 2,
    };
    assert_eq!(connector.counts(), counts);
}

#[tokio::test]
async fn an_idle_connection_does_not_grant_access() {
    let (server, connector, group) = (Counting::keeping().await, connector(), Arc::default());
    get(&mut server.client(&connector, &group), &server).await.unwrap();
    let nowhere = Reach::new(Arc::default(), of_group(&group));
    let mut other = Client::with(nowhere, connector.clone(), &ActivityLimits::default());
    let refused = get(&mut other, &server).await.unwrap_err();
    assert!(matches!(refused, Error::HttpRequestDenied), "{refused:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn concurrent_requests_have_their_own_connections_of_which_few_are_kept() {
    let (server, connector, group) = (Counting::keeping().await, connector(), Arc::default());
    let mut clients: Vec<Client> = (0..40).map(|_| server.client(&connector, &group)).collect();
    let open = join_all(clients.iter_mut().map(|client| client.get(&server.url))).await;
    assert_eq!((server.accepted(), connector.counts().idle), (40, 0));
    for response in open {
        text(response.unwrap()).await.unwrap();
    }
    assert_eq!(connector.counts().idle, 32);
}

#[tokio::test]
async fn a_group_keeps_a_limited_number_and_closes_the_oldest_first() {
    let (connector, group) = (connector(), Arc::default());
    let mut servers = Vec::new();
    for _ in 0..66 {
        let server = Counting::keeping().await;
        get(&mut server.client(&connector, &group), &server).await.unwrap();
        servers.push(server);
    }
    assert_eq!(connector.counts().idle, 64);
    servers[0].ended.notified().await;
    servers[1].ended.notified().await;
    // Another group has its own limit.
    let last = &servers[65];
    get(&mut last.client(&connector, &Arc::default()), last).await.unwrap();
    assert_eq!(connector.counts().idle, 65);
}

#[tokio::test]
async fn a_response_that_was_not_read_completely_closes_its_connection() {
    let (server, connector, group) = (Counting::keeping().await, connector(), Arc::default());
    let mut client = server.client(&connector, &group);
    drop(client.get(&server.url).await.unwrap());
    server.ended.notified().await;
    get(&mut client, &server).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_response_without_a_body_need_not_be_read() {
    let server = Counting::start(|_, _| Step::Answer("HTTP/1.1 204 No Content\r\n\r\n".into())).await;
    let (connector, group) = (connector(), Arc::default());
    let mut client = server.client(&connector, &group);
    drop(client.get(&server.url).await.unwrap());
    get(&mut client, &server).await.unwrap();
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_not_used_again() {
    let scripts: [Script; 2] = [
        |_, _| Step::Answer("HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 5\r\n\r\nhello".into()),
        |_, _| Step::Answer("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello".into()),
    ];
    for script in scripts {
        let server = Counting::start(script).await;
        let (connector, group) = (connector(), Arc::default());
        let mut client = server.client(&connector, &group);
        get(&mut client, &server).await.unwrap();
        get(&mut client, &server).await.unwrap();
        assert_eq!((server.accepted(), connector.counts().idle), (2, 0));
    }
}

/// Answers the first request of a connection, and closes the connection at the second one.
fn closes_at_the_second(_: &str, number: usize) -> Step {
    match number {
        1 => Step::Answer(hello()),
        _ => Step::Close,
    }
}

#[tokio::test]
async fn a_request_is_repeated_if_the_connection_was_closed_and_the_method_is_idempotent() {
    for (method, is_repeated) in [
        (Method::GET, true),
        (Method::DELETE, true),
        (Method::PUT, true),
        (Method::POST, false),
        (Method::PATCH, false),
    ] {
        let server = Counting::start(closes_at_the_second).await;
        let (connector, group) = (connector(), Arc::default());
        let mut client = server.client(&connector, &group);
        get(&mut client, &server).await.unwrap();
        let answer = send(&mut client, method.clone(), &server.url, empty()).await;
        assert_eq!(answer.is_ok(), is_repeated, "{method}: {answer:?}");
        let sent = server.seen().iter().filter(|seen| *seen == method.as_str()).count();
        let expected = match method {
            Method::GET => 3,
            _ if is_repeated => 2,
            _ => 1,
        };
        assert_eq!(sent, expected, "{method}");
    }
}

#[tokio::test]
async fn a_body_that_was_read_is_not_sent_again() {
    let server = Counting::start(closes_at_the_second).await;
    let (connector, group) = (connector(), Arc::default());
    let mut client = server.client(&connector, &group);
    get(&mut client, &server).await.unwrap();
    let answer = send(&mut client, Method::PUT, &server.url, body("abc")).await;
    assert!(answer.is_err());
    assert_eq!(server.seen(), ["GET", "PUT"]);
}

#[tokio::test]
async fn no_request_fails_if_the_server_closes_every_connection() {
    let server = Counting::start(|_, _| Step::AnswerAndClose(hello())).await;
    let (connector, group) = (connector(), Arc::default());
    let mut client = server.client(&connector, &group);
    for _ in 0..100 {
        // The end of the last connection may or may not have arrived.
        assert_eq!(get(&mut client, &server).await.unwrap(), "hello");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used() {
    let server = Counting::start(|_, _| Step::AnswerAndClose(hello())).await;
    let (connector, group) = (connector(), Arc::default());
    let mut client = server.client(&connector, &group);
    for _ in 0..100 {
        let answer = send(&mut client, Method::POST, &server.url, body("abc")).await;
        assert_eq!(answer.unwrap(), "hello");
        // The end was sent, but the runtime may not have noticed it.
        server.ended.notified().await;
    }
    assert_eq!((server.seen().len(), server.accepted()), (100, 100));
}

#[tokio::test]
async fn idle_connections_expire() {
    let (server, connector, group) = (Counting::keeping().await, connector(), Arc::default());
    get(&mut server.client(&connector, &group), &server).await.unwrap();
    pass(Duration::from_secs(31)).await;
    server.ended.notified().await;
    assert_eq!(connector.counts().idle, 0);
}

#[tokio::test]
async fn a_request_that_cannot_be_repeated_only_takes_a_recently_used_connection() {
    let (server, connector, group) = (Counting::keeping().await, connector(), Arc::default());
    let mut client = server.client(&connector, &group);
    get(&mut client, &server).await.unwrap();
    send(&mut client, Method::POST, &server.url, empty()).await.unwrap();
    assert_eq!(server.accepted(), 1);
    pass(Duration::from_secs(2)).await;
    send(&mut client, Method::POST, &server.url, empty()).await.unwrap();
    assert_eq!(server.accepted(), 2);
    pass(Duration::from_secs(2)).await;
    get(&mut client, &server).await.unwrap();
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn a_connection_in_use_is_replaced_at_its_maximum_age() {
    let (server, connector, group) = (Counting::keeping().await, connector(), Arc::default());
    let mut client = server.client(&connector, &group);
    for _ in 0..17 {
        get(&mut client, &server).await.unwrap();
        pass(Duration::from_secs(20)).await;
    }
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn connections_of_a_dropped_room_are_closed() {
    let (server, connector) = (Counting::keeping().await, connector());
    let group = Arc::<RequestGroup>::default();
    get(&mut server.client(&connector, &group), &server).await.unwrap();
    drop(group);
    // No request can take the connection any more. It is closed when it expires, or at the next check.
    pass(Duration::from_secs(31)).await;
    server.ended.notified().await;
}
