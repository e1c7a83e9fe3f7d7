//! Outgoing requests against a server of this test, through the hook that `wasi:http` calls.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::model::Timestamp;
use crate::sandbox::{
    activity::{lock, log::ActivityLog},
    egress::{EgressPolicy, Reach, request::Egress},
};

use super::activities::attempt;

/// Answers every request on every connection with this text, after reading a head; then waits.
async fn server(answer: impl Into<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = answer.into();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(connection.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                connection
                    .write_all(answer.replace("{head}", head.lines().next().unwrap()).as_bytes())
                    .await
                    .unwrap();
                std::future::pending::<()>().await;
            });
        }
    });
    port
}

fn with_length(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

struct Client {
    egress: Egress,
    log: Arc<Mutex<ActivityLog>>,
}

impl Client {
    fn new(rules: &[String]) -> Self {
        Self::with_limits(rules, 2, 1_000)
    }

    fn with_limits(rules: &[String], open_requests: usize, response_bytes: u64) -> Self {
        let log = Arc::new(Mutex::new(ActivityLog::new(&attempt(), Instant::now(), 10_000)));
        let policy = EgressPolicy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect());
        Self {
            egress: Egress::new(
                Reach::new(Arc::new(policy), Arc::default()),
                log.clone(),
                open_requests,
                response_bytes,
            ),
            log,
        }
    }

    async fn get(&mut self, url: &str) -> Result<Response<WasiBody>, Error> {
        let patience = RequestOptions {
            between_bytes_timeout: Some(Duration::from_millis(50)),
            ..Default::default()
        };
        let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::get(url).header("host", "test").body(body).unwrap();
        let sent = self
            .egress
            .send_request(request, Some(patience), Box::new(async { Ok(()) }));
        let (response, connection) = Pin::from(sent).await?;
        tokio::spawn(Pin::from(connection));
        Ok(response)
    }

    fn log(&self) -> Vec<String> {
        lock(&self.log).take().into_iter().map(|line| line.message).collect()
    }
}

async fn text(response: Response<WasiBody>) -> Result<String, Error> {
    let body = response.into_body().collect().await?;
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn an_allowed_request_is_sent_with_its_path() {
    let port = server(with_length("hello")).await;
    let mut client = Client::new(&[format!("http://127.0.0.1:{port}")]);
    let response = client.get(&format!("http://127.0.0.1:{port}/a?b=c")).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "hello");
    let port = server("HTTP/1.1 200 OK\r\nx-seen: {head}\r\ncontent-length: 0\r\n\r\n").await;
    let mut client = Client::new(&[format!("http://127.0.0.1:{port}")]);
    let response = client.get(&format!("http://127.0.0.1:{port}/a?b=c")).await.unwrap();
    assert_eq!(response.headers()["x-seen"], "GET /a?b=c HTTP/1.1");
    assert_eq!(client.log(), [""; 0]);
}

#[tokio::test]
async fn a_request_that_no_rule_allows_is_refused_and_logged() {
    let port = server(with_length("secret")).await;
    let other = port.wrapping_add(1).max(1);
    let mut client = Client::new(&[format!("http://127.0.0.1:{other}"), "https://*".into()]);
    let refused = client
        .get(&format!("http://127.0.0.1:{port}/path?token=abc"))
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::HttpRequestDenied), "{refused:?}");
    let line = format!("the request to http://127.0.0.1:{port} failed: no rule allows http://127.0.0.1:{port}");
    assert_eq!(client.log(), [line], "the path may hold secrets");
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused_when_only_the_name_is_allowed() {
    let port = server(with_length("secret")).await;
    // Resolves to the loopback address wherever the resolver follows RFC 6761, or not at all.
    let name = format!("http://rebound.localhost:{port}");
    let mut client = Client::new(std::slice::from_ref(&name));
    let refused = client.get(&name).await.unwrap_err();
    assert!(
        matches!(refused, Error::DestinationIpProhibited | Error::DnsError { .. }),
        "{refused:?}"
    );
    let mut client = Client::new(&[format!("http://localhost:{port}")]);
    let response = client.get(&format!("http://localhost:{port}")).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "secret", "localhost names this machine");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let port = server("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n").await;
    let mut client = Client::new(&[format!("http://127.0.0.1:{port}")]);
    assert_eq!(
        client.get(&format!("http://127.0.0.1:{port}")).await.unwrap().status(),
        302
    );
}

#[tokio::test]
async fn all_responses_of_an_attempt_together_are_bounded() {
    let port = server(with_length(&"x".repeat(600))).await;
    let mut client = Client::new(&[format!("http://127.0.0.1:{port}")]);
    let url = format!("http://127.0.0.1:{port}");
    assert_eq!(text(client.get(&url).await.unwrap()).await.unwrap().len(), 600);
    let refused = text(client.get(&url).await.unwrap()).await.unwrap_err();
    assert!(
        matches!(refused, Error::HttpResponseBodySize(Some(1_000))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn open_requests_are_bounded_and_count_until_their_response_is_gone() {
    let port = server(with_length("hello")).await;
    let mut client = Client::with_limits(&[format!("http://127.0.0.1:{port}")], 1, 1_000);
    let url = format!("http://127.0.0.1:{port}");
    let first = client.get(&url).await.unwrap();
    assert!(matches!(
        client.get(&url).await.unwrap_err(),
        Error::ConnectionLimitReached
    ));
    drop(first);
    client.get(&url).await.unwrap();
}

#[tokio::test]
async fn a_response_that_stops_in_the_middle_is_given_up() {
    let port = server("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhel").await;
    let mut client = Client::new(&[format!("http://127.0.0.1:{port}")]);
    let response = client.get(&format!("http://127.0.0.1:{port}")).await.unwrap();
    assert!(matches!(
        text(response).await.unwrap_err(),
        Error::ConnectionReadTimeout
    ));
}

#[tokio::test]
async fn a_plain_server_does_not_pass_for_an_encrypted_one() {
    let port = server(with_length("hello")).await;
    let mut client = Client::new(&[format!("https://127.0.0.1:{port}")]);
    // The server waits for the end of a head, the client for the server's part of the handshake.
    let patience = RequestOptions {
        connect_timeout: Some(Duration::from_millis(100)),
        ..Default::default()
    };
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(format!("https://127.0.0.1:{port}")).body(body).unwrap();
    let sent = client
        .egress
        .send_request(request, Some(patience), Box::new(async { Ok(()) }));
    let refused = Pin::from(sent).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(refused, Error::ConnectionTimeout | Error::TlsCertificateError),
        "{refused:?}"
    );
    assert_eq!(client.log().len(), 1);
}

#[tokio::test]
async fn log_lines_are_dated_from_the_start_of_the_attempt() {
    let mut client = Client::new(&[]);
    client.get("http://example.com").await.unwrap_err();
    let line = lock(&client.log).take().remove(0);
    assert!((Timestamp(1_000)..Timestamp(60_000)).contains(&line.at), "{line:?}");
}
