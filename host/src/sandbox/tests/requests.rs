//! Tests of outgoing requests to servers of the tests, through the hook that `wasi:http` calls.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use wasmtime_wasi::async_trait;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::grants::request_group::{LookupPermit, MAX_LOOKUPS};
use crate::grants::{ActivityLimits, EgressPolicy, Grants, RequestGroup};
use crate::model::Timestamp;
use crate::sandbox::{
    activity::{lock, log::ActivityLog},
    egress::{Reach, connect::Connector, network::Network, request::Egress, traffic::Traffic},
};
use crate::tls::ExtraRoots;

use super::activities::attempt;

/// Starts a server that answers every request with this text. Returns its port.
async fn server(answer: impl Into<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = answer.into();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                while let Some(head) = read_head(&mut connection).await {
                    let answer = answer.replace("{head}", head.lines().next().unwrap());
                    connection.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    port
}

/// Reads the next head; `None` at the end of the connection.
pub(super) async fn read_head(connection: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

pub(super) fn with_length(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

pub(super) struct Client {
    egress: Egress,
    log: Arc<Mutex<ActivityLog>>,
}

impl Client {
    /// A client with these rules of the operator.
    fn new(rules: &[String]) -> Self {
        Self::with_limits(rules, 2, 1_000)
    }

    fn with_limits(rules: &[String], open_requests: usize, response_bytes: u64) -> Self {
        let limits = ActivityLimits {
            open_requests,
            response_bytes,
            ..ActivityLimits::default()
        };
        let connector = Connector::system(ExtraRoots::none());
        Self::with(Reach::new(policy(rules), Arc::default()), connector, &limits)
    }

    /// A client with these rules of the operator, over this network.
    fn over(network: impl Network + 'static, roots: ExtraRoots, rules: &[String]) -> Self {
        let reach = Reach::new(policy(rules), Arc::default());
        Self::with(reach, Connector::over(network, roots), &ActivityLimits::default())
    }

    pub(super) fn with(reach: Reach, connector: impl Into<Arc<Connector>>, limits: &ActivityLimits) -> Self {
        let log = Arc::new(Mutex::new(ActivityLog::new(&attempt(), Instant::now(), 10_000)));
        Self {
            egress: Egress::new(reach, connector.into(), log.clone(), limits),
            log,
        }
    }

    /// A client that shares a group with others.
    fn in_group(group: &Arc<RequestGroup>, rules: &[String]) -> Self {
        let reach = Reach::new(policy(rules), of_group(group));
        let connector = Connector::system(ExtraRoots::none());
        Self::with(reach, connector, &ActivityLimits::default())
    }

    pub(super) async fn get(&mut self, url: &str) -> Result<Response<WasiBody>, Error> {
        self.get_within(url, 10_000).await
    }

    /// Like [`get`](Self::get), with a timeout for connecting in milliseconds.
    async fn get_within(&mut self, url: &str, connect_ms: u64) -> Result<Response<WasiBody>, Error> {
        let patience = RequestOptions {
            connect_timeout: Some(Duration::from_millis(connect_ms)),
            between_bytes_timeout: Some(Duration::from_millis(50)),
            ..Default::default()
        };
        let request = Request::get(url).body(empty()).unwrap();
        self.send(request, patience).await
    }

    pub(super) async fn send(
        &mut self,
        mut request: Request<WasiBody>,
        patience: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        request.headers_mut().insert("host", "test".parse().unwrap());
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

pub(super) fn empty() -> WasiBody {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn of_group(group: &Arc<RequestGroup>) -> Arc<Grants> {
    Arc::new(Grants {
        requests: group.clone(),
        ..Grants::default()
    })
}

pub(super) fn policy(rules: &[String]) -> Arc<EgressPolicy> {
    Arc::new(EgressPolicy::new(
        rules.iter().map(|rule| rule.parse().unwrap()).collect(),
    ))
}

pub(super) async fn text(response: Response<WasiBody>) -> Result<String, Error> {
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
async fn a_request_with_an_empty_body_has_a_length() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let head = tokio::spawn(async move {
        let mut heads = Vec::new();
        for _ in 0..3 {
            let (mut connection, _) = listener.accept().await.unwrap();
            heads.push(read_head(&mut connection).await.unwrap());
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    });
    let mut client = Client::new(std::slice::from_ref(&url));
    let mut post = async |body: WasiBody| {
        let request = Request::post(&url).body(body).unwrap();
        client.send(request, RequestOptions::default()).await.unwrap();
    };
    post(empty()).await;
    // A body that the guest opened, and ended without a byte.
    let ended = StreamBody::new(futures::stream::empty::<Result<Frame<Bytes>, Error>>());
    post(ended.boxed_unsync()).await;
    let written = StreamBody::new(futures::stream::iter([Ok(Frame::data(Bytes::from("abc")))]));
    post(written.boxed_unsync()).await;
    let [none, ended, written] = head.await.unwrap().try_into().unwrap();
    assert!(none.contains("content-length: 0\r\n"), "{none}");
    assert!(ended.contains("content-length: 0\r\n"), "{ended}");
    assert!(written.contains("transfer-encoding: chunked\r\n"), "{written}");
}

#[tokio::test]
async fn traffic_is_counted_exactly() {
    let answer = with_length(&"x".repeat(600));
    let port = server(answer.clone()).await;
    let url = format!("http://127.0.0.1:{port}");
    let mut client = Client::new(std::slice::from_ref(&url));
    let traffic = client.egress.traffic();
    client.get("http://127.0.0.2").await.unwrap_err();
    assert_eq!(traffic.read(), Traffic::default());
    let expected = |requests: u64| Traffic {
        sent: requests * "GET / HTTP/1.1\r\nhost: test\r\n\r\n".len() as u64,
        received: requests * answer.len() as u64,
    };
    text(client.get(&url).await.unwrap()).await.unwrap();
    assert_eq!(traffic.read(), expected(1));
    // Bytes beyond the limit are counted too, because they were received.
    text(client.get(&url).await.unwrap()).await.unwrap_err();
    assert_eq!(traffic.read(), expected(2));
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
    let line = format!("the request to http://127.0.0.1:{port} was refused: no rule allows http://127.0.0.1:{port}");
    assert_eq!(client.log(), [line], "the path may contain secrets");
}

#[tokio::test]
async fn a_name_of_this_machine_is_refused_when_only_the_name_is_allowed() {
    let port = server(with_length("secret")).await;
    // Resolves to the loopback address if the resolver follows RFC 6761, or not at all.
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

/// A resolver with a list of answers, and connections that all lead to one server of the test.
struct ScriptedNetwork {
    answers: Mutex<Vec<&'static [&'static str]>>,
    server: u16,
    connections: Arc<Mutex<Vec<SocketAddr>>>,
}

impl ScriptedNetwork {
    /// Returns the network, and the list of addresses that it was asked to connect to.
    fn new(answers: &[&'static [&'static str]], server: u16) -> (Self, Arc<Mutex<Vec<SocketAddr>>>) {
        let connections = Arc::<Mutex<_>>::default();
        let network = Self {
            answers: Mutex::new(answers.iter().rev().copied().collect()),
            server,
            connections: connections.clone(),
        };
        (network, connections)
    }
}

#[async_trait]
impl Network for ScriptedNetwork {
    async fn resolve(&self, _: &str, _: LookupPermit) -> io::Result<Vec<IpAddr>> {
        let answer = self.answers.lock().unwrap().pop().expect("an answer for each lookup");
        Ok(answer.iter().map(|address| address.parse().unwrap()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connections.lock().unwrap().push(address);
        TcpStream::connect(("127.0.0.1", self.server)).await
    }
}

fn addresses(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

#[tokio::test]
async fn dns_rebinding_has_no_effect() {
    // The server closes its connections, so that the second request needs a new one.
    let port = server("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\npublic").await;
    let (network, connections) = ScriptedNetwork::new(&[&["93.184.215.14"], &["127.0.0.1"]], port);
    let mut client = Client::over(network, ExtraRoots::none(), &["http://rebound.example".into()]);
    // The check and the connection use the same lookup: a second one would get the other answer.
    let response = client.get("http://rebound.example/").await.unwrap();
    assert_eq!(text(response).await.unwrap(), "public");
    assert_eq!(*connections.lock().unwrap(), addresses(&["93.184.215.14:80"]));
    let refused = client.get("http://rebound.example/").await.unwrap_err();
    assert!(matches!(refused, Error::DestinationIpProhibited), "{refused:?}");
    assert_eq!(connections.lock().unwrap().len(), 1, "nothing was connected to");
    let line = "the request to http://rebound.example:80 was refused: http://rebound.example:80 allows it, \
                but it resolves to a loopback address, which no --allow rule of the operator names";
    assert_eq!(client.log(), [line]);
}

#[tokio::test]
async fn only_the_public_addresses_of_a_name_are_used() {
    let port = server(with_length("public")).await;
    let (network, connections) = ScriptedNetwork::new(&[&["10.0.0.1", "93.184.215.14", "::1"]], port);
    let mut client = Client::over(network, ExtraRoots::none(), &["http://mixed.example".into()]);
    client.get("http://mixed.example/").await.unwrap();
    assert_eq!(*connections.lock().unwrap(), addresses(&["93.184.215.14:80"]));
}

#[tokio::test]
async fn a_grant_only_allows_public_addresses() {
    let port = server(with_length("public")).await;
    let (network, connections) = ScriptedNetwork::new(&[&["93.184.215.14"], &["169.254.169.254"]], port);
    let rules = ["http://api.example", "http://169.254.169.254"].map(|rule| rule.parse().unwrap());
    let grants = Grants {
        egress: EgressPolicy::new(rules.to_vec()),
        ..Grants::default()
    };
    let reach = Reach::new(Arc::default(), Arc::new(grants));
    let connector = Connector::over(network, ExtraRoots::none());
    let mut client = Client::with(reach, connector, &ActivityLimits::default());
    client.get("http://api.example/").await.unwrap();
    for url in ["http://api.example/", "http://169.254.169.254/"] {
        let refused = client.get(url).await.unwrap_err();
        assert!(matches!(refused, Error::DestinationIpProhibited), "{url}: {refused:?}");
    }
    assert_eq!(*connections.lock().unwrap(), addresses(&["93.184.215.14:80"]));
    assert_eq!(client.log().len(), 2);
}

/// A resolver that returns addresses of this machine, and real connections to them.
struct LocalNetwork(&'static [&'static str]);

#[async_trait]
impl Network for LocalNetwork {
    async fn resolve(&self, _: &str, _: LookupPermit) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.iter().map(|address| address.parse().unwrap()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}

/// A listener that does not answer connections, because its backlog is full. Also returns the connections that fill it.
async fn silent_listener(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    const BACKLOG: u32 = 1;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(BACKLOG).unwrap();
    let mut connections = Vec::new();
    // Linux accepts one more than the backlog.
    for _ in 0..=BACKLOG {
        connections.push(TcpStream::connect(address).await.unwrap());
    }
    (listener, connections)
}

fn rules(name: &str, port: u16, addresses: &[&str]) -> Vec<String> {
    let hosts = [&[name], addresses].concat();
    hosts.iter().map(|host| format!("http://{host}:{port}")).collect()
}

#[tokio::test]
async fn the_next_address_is_tried_if_one_does_not_answer() {
    let port = server(with_length("hello")).await;
    let _silent = silent_listener(SocketAddr::from(([127, 0, 0, 2], port))).await;
    const ADDRESSES: &[&str] = &["127.0.0.2", "127.0.0.1"];
    let rules = rules("two.example", port, ADDRESSES);
    let mut client = Client::over(LocalNetwork(ADDRESSES), ExtraRoots::none(), &rules);
    let response = client.get(&format!("http://two.example:{port}")).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "hello");
    assert_eq!(client.log(), [""; 0]);
}

#[tokio::test]
async fn the_next_address_is_tried_if_one_refuses_the_connection() {
    let port = server(with_length("hello")).await;
    const ADDRESSES: &[&str] = &["127.0.0.2", "127.0.0.3", "127.0.0.1"];
    let url = format!("http://three.example:{port}");
    let mut client = Client::over(
        LocalNetwork(ADDRESSES),
        ExtraRoots::none(),
        &rules("three.example", port, ADDRESSES),
    );
    assert_eq!(text(client.get(&url).await.unwrap()).await.unwrap(), "hello");
    let mut client = Client::over(
        LocalNetwork(&ADDRESSES[..2]),
        ExtraRoots::none(),
        &rules("three.example", port, ADDRESSES),
    );
    let refused = client.get(&url).await.unwrap_err();
    assert!(matches!(refused, Error::ConnectionRefused), "{refused:?}");
}

/// A network in which no address answers. Records the addresses that it was asked to connect to.
#[derive(Clone, Default)]
struct DeadNetwork(Arc<Mutex<Vec<SocketAddr>>>);

#[async_trait]
impl Network for DeadNetwork {
    async fn resolve(&self, _: &str, _: LookupPermit) -> io::Result<Vec<IpAddr>> {
        let v6 = (1..20_u16).map(|last| IpAddr::from([0x2001, 0x4860, 0, 0, 0, 0, 0, last]));
        Ok(v6.chain([[93, 184, 215, 14].into(), [10, 0, 0, 1].into()]).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.0.lock().unwrap().push(address);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_addresses_without_an_answer_a_few_of_both_families_are_tried() {
    let network = DeadNetwork::default();
    let mut client = Client::over(network.clone(), ExtraRoots::none(), &["http://many.example".into()]);
    let failed = client.get("http://many.example/").await.unwrap_err();
    assert!(matches!(failed, Error::ConnectionTimeout), "{failed:?}");
    let tried = network.0.lock().unwrap().clone();
    assert_eq!(tried.len(), 8, "{tried:?}");
    assert_eq!(tried[1], addresses(&["93.184.215.14:80"])[0]);
    let is_public = |address: &SocketAddr| address.ip() != IpAddr::from([10, 0, 0, 1]);
    assert!(tried.iter().all(is_public), "{tried:?}");
}

/// A resolver that never answers.
struct SilentNetwork;

#[async_trait]
impl Network for SilentNetwork {
    async fn resolve(&self, _: &str, _: LookupPermit) -> io::Result<Vec<IpAddr>> {
        std::future::pending().await
    }

    async fn connect(&self, _: SocketAddr) -> io::Result<TcpStream> {
        unreachable!("there is no address to connect to")
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_lookup_times_out() {
    let mut client = Client::over(SilentNetwork, ExtraRoots::none(), &["http://slow.example".into()]);
    let failed = client.get("http://slow.example/").await.unwrap_err();
    assert!(matches!(failed, Error::DnsTimeout), "{failed:?}");
    let line = "the request to http://slow.example:80 failed: the name lookup took too long";
    assert_eq!(client.log(), [line]);
}

#[tokio::test]
async fn the_head_of_a_response_is_limited() {
    let long = format!(
        "HTTP/1.1 200 OK\r\nx-long: {}\r\ncontent-length: 0\r\n\r\n",
        "x".repeat(100_000)
    );
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n",
        "x-many: x\r\n".repeat(200)
    );
    for answer in [long, many] {
        let port = server(answer).await;
        let mut client = Client::new(&[format!("http://127.0.0.1:{port}")]);
        let failed = client.get(&format!("http://127.0.0.1:{port}")).await.unwrap_err();
        assert!(
            matches!(failed, Error::HttpResponseHeaderSectionSize(Some(65_536))),
            "{failed:?}"
        );
        let log = client.log();
        assert!(
            log[0].ends_with("more than 128 header fields or 65536 bytes of them"),
            "{log:?}"
        );
    }
}

/// The certificate authority of the tests, which signed the certificate of `service.test` and 127.0.0.1.
const AUTHORITY: &[u8] = include_bytes!("../../../../tests/harness/certificates/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../../tests/harness/certificates/service.pem");
const KEY: &[u8] = include_bytes!("../../../../tests/harness/certificates/service.key");

/// Starts a server with that certificate, which answers every request. Returns its port.
async fn encrypted_server() -> u16 {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            // A client that does not trust the certificate closes the connection.
            let Ok(mut connection) = acceptor.accept(connection).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(connection.read_u8().await.unwrap());
            }
            connection.write_all(with_length("encrypted").as_bytes()).await.unwrap();
            connection.shutdown().await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn tls_requires_a_certificate_of_a_trusted_authority() {
    let port = encrypted_server().await;
    let get = async |url: &str, roots: ExtraRoots| {
        let (network, _) = ScriptedNetwork::new(&[&["93.184.215.14"]], port);
        let mut client = Client::over(network, roots, &["https://*".into()]);
        let answer = match client.get(url).await {
            Ok(response) => text(response).await,
            Err(error) => Err(error),
        };
        (answer, client.log())
    };
    let ours = || ExtraRoots::from_pem(AUTHORITY).unwrap();
    let (answer, _) = get("https://service.test/", ours()).await;
    assert_eq!(answer.unwrap(), "encrypted");
    for (url, roots) in [
        ("https://service.test/", ExtraRoots::none()),
        ("https://other.test/", ours()),
    ] {
        let (refused, log) = get(url, roots).await;
        assert!(matches!(refused, Err(Error::TlsCertificateError)), "{url}: {refused:?}");
        assert!(log[0].contains("failed: TLS: invalid peer certificate"), "{log:?}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let port = server("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n").await;
    let mut client = Client::new(&[format!("http://127.0.0.1:{port}")]);
    assert_eq!(
        client.get(&format!("http://127.0.0.1:{port}")).await.unwrap().status(),
        302
    );
}

#[tokio::test]
async fn the_bytes_of_all_responses_of_an_attempt_are_limited() {
    let port = server(with_length(&"x".repeat(600))).await;
    let mut client = Client::new(&[format!("http://127.0.0.1:{port}")]);
    let url = format!("http://127.0.0.1:{port}");
    assert_eq!(text(client.get(&url).await.unwrap()).await.unwrap().len(), 600);
    let refused = text(client.get(&url).await.unwrap()).await.unwrap_err();
    assert!(
        matches!(refused, Error::HttpResponseBodySize(Some(1_000))),
        "{refused:?}"
    );
    let line = "a response was cut off: an attempt may receive 1000 bytes";
    assert_eq!(client.log(), [line]);
}

#[tokio::test]
async fn open_requests_are_limited_and_count_until_their_response_is_dropped() {
    let port = server(with_length("hello")).await;
    let mut client = Client::with_limits(&[format!("http://127.0.0.1:{port}")], 1, 1_000);
    let url = format!("http://127.0.0.1:{port}");
    let first = client.get(&url).await.unwrap();
    assert!(matches!(
        client.get(&url).await.unwrap_err(),
        Error::ConnectionLimitReached
    ));
    let line = format!("the request to {url} was refused: the attempt already has 1 open requests, the maximum");
    assert_eq!(client.log(), [line]);
    drop(first);
    client.get(&url).await.unwrap();
}

#[tokio::test]
async fn attempts_that_share_a_room_share_its_limit() {
    let port = server(with_length("hello")).await;
    let url = format!("http://127.0.0.1:{port}");
    let group = Arc::new(RequestGroup::new("the quota of the test"));
    let mut clients = [(); 2].map(|()| Client::in_group(&group, std::slice::from_ref(&url)));
    group.set_limit(Some(2));
    let mut open = Vec::new();
    for client in &mut clients {
        open.push(client.get(&url).await.unwrap());
    }
    let [one, other] = &mut clients;
    let refused = one.get(&url).await.unwrap_err();
    assert!(matches!(refused, Error::ConnectionLimitReached), "{refused:?}");
    let line = format!("the request to {url} was refused: the quota of the test is reached: 2");
    assert_eq!(one.log(), [line]);
    group.set_limit(Some(3));
    open.push(one.get(&url).await.unwrap());
    assert_eq!(group.open(), 3);
    // A lower limit does not affect open requests.
    group.set_limit(Some(1));
    assert_eq!(text(open.remove(0)).await.unwrap(), "hello");
    assert!(other.get(&url).await.is_err());
    open.clear();
    assert_eq!(group.open(), 0);
    other.get(&url).await.unwrap();
}

#[tokio::test]
async fn a_failed_request_leaves_its_room() {
    let silent = server("").await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let group = Arc::new(RequestGroup::default());
    let mut client = Client::in_group(&group, &[url(silent), url(closed.port())]);
    client.get("http://nobody.allows.example").await.unwrap_err();
    client.get(&url(closed.port())).await.unwrap_err();
    assert_eq!(group.open(), 0);
    // The request is dropped, as when an attempt is stopped.
    for _ in 0..3 {
        let dropped = tokio::time::timeout(Duration::from_millis(20), client.get(&url(silent))).await;
        assert!(dropped.is_err());
    }
    assert_eq!(group.open(), 0);
}

/// A resolver that never answers for some names, and keeps the places of dropped lookups like the resolver of the system.
#[derive(Clone)]
struct StubbornNetwork {
    server: u16,
    waiting: Arc<Mutex<Vec<LookupPermit>>>,
}

#[async_trait]
impl Network for StubbornNetwork {
    async fn resolve(&self, name: &str, place: LookupPermit) -> io::Result<Vec<IpAddr>> {
        if name == "quick.example" {
            return Ok(vec![[93, 184, 215, 14].into()]);
        }
        self.waiting.lock().unwrap().push(place);
        std::future::pending().await
    }

    async fn connect(&self, _: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.server)).await
    }
}

#[tokio::test]
async fn a_room_can_only_use_a_part_of_the_hosts_lookups() {
    let network = StubbornNetwork {
        server: server(with_length("hello")).await,
        waiting: Arc::default(),
    };
    let client = |group: &Arc<RequestGroup>| {
        let reach = Reach::new(policy(&["http://*".into()]), of_group(group));
        let connector = Connector::over(network.clone(), ExtraRoots::none());
        let limits = ActivityLimits {
            open_requests: 100,
            ..ActivityLimits::default()
        };
        Client::with(reach, connector, &limits)
    };
    let (theirs, ours) = (Arc::<RequestGroup>::default(), Arc::<RequestGroup>::default());
    // The requests time out soon, but their lookups continue.
    for _ in 0..MAX_LOOKUPS + 5 {
        let given_up = client(&theirs).get_within("http://slow.example/", 1).await.unwrap_err();
        assert!(matches!(given_up, Error::DnsTimeout), "{given_up:?}");
    }
    assert_eq!(network.waiting.lock().unwrap().len(), MAX_LOOKUPS);
    let waits = client(&theirs)
        .get_within("http://quick.example/", 20)
        .await
        .unwrap_err();
    assert!(matches!(waits, Error::DnsTimeout), "{waits:?}");
    client(&ours).get("http://quick.example/").await.unwrap();
    network.waiting.lock().unwrap().pop();
    client(&theirs).get("http://quick.example/").await.unwrap();
}

#[tokio::test]
async fn a_response_that_stops_in_the_middle_times_out() {
    let port = server("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhel").await;
    let mut client = Client::new(&[format!("http://127.0.0.1:{port}")]);
    let response = client.get(&format!("http://127.0.0.1:{port}")).await.unwrap();
    assert!(matches!(
        text(response).await.unwrap_err(),
        Error::ConnectionReadTimeout
    ));
}

#[tokio::test]
async fn a_server_without_tls_is_not_accepted_for_https() {
    let port = server(with_length("hello")).await;
    let mut client = Client::new(&[format!("https://127.0.0.1:{port}")]);
    // The server waits for the end of a head, and the client for the handshake of the server.
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
async fn the_times_of_log_lines_are_relative_to_the_start_of_the_attempt() {
    let mut client = Client::new(&[]);
    client.get("http://example.com").await.unwrap_err();
    let line = lock(&client.log).take().remove(0);
    assert!((Timestamp(1_000)..Timestamp(60_000)).contains(&line.at), "{line:?}");
}
