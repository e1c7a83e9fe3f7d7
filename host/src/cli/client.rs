//! An HTTP client that distinguishes responses, refusals and unreachable hosts.
//!
//! It opens one connection for each request, directly to the host. Proxies of the environment are ignored, since they
//! are for the outside world and not for a host on this machine. Redirects are not followed, because their target would
//! get the API key.

use std::{collections::BTreeMap, io, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{self, HeaderName},
    request,
};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{address::Address, error::CliError};
use crate::http::{PROBLEM_MEDIA_TYPE, Problem, TENANT_HEADER, segment};

/// Timeout of a response that does not wait for an instance.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A host, and the identity of the requests to it.
#[derive(Debug, Clone)]
pub(super) struct Client {
    address: Address,
    identity: HeaderMap,
}

/// A request to be sent.
#[derive(Debug)]
pub(super) struct Call {
    address: Address,
    request: request::Builder,
    /// The path, and the query so far.
    target: String,
    body: Body,
    time: Duration,
}

/// A successful response.
#[derive(Debug)]
pub(super) struct Answer {
    body: Bytes,
}

impl Client {
    pub(super) fn new(address: Address, key: Option<&str>, tenant: Option<&str>) -> Result<Self, CliError> {
        let identity = identity(key, tenant)?;
        Ok(Self { address, identity })
    }

    /// Creates a request to the resource whose path has these segments.
    pub(super) fn call(&self, method: Method, segments: &[&str]) -> Call {
        let path: String = segments.iter().flat_map(|text| ["/".into(), segment(text)]).collect();
        let mut request = Request::builder().method(method);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&self.identity);
            headers.insert(header::HOST, self.address.name());
            headers.insert(header::USER_AGENT, USER_AGENT);
        }
        Call {
            address: self.address.clone(),
            request,
            target: self.address.target(&format!("/v1{path}")),
            body: full(Bytes::new()),
            time: ANSWER_TIME,
        }
    }

    pub(super) fn get(&self, segments: &[&str]) -> Call {
        self.call(Method::GET, segments)
    }
}

/// The members of a page of a list.
type Members = BTreeMap<String, Box<RawValue>>;

/// Reads all pages of a list; `page` creates the request of a page that begins at a cursor. The items are in the member
/// `name`.
pub(super) async fn all_items(
    name: &str,
    page: impl Fn(Option<String>) -> Call,
) -> Result<Vec<Box<RawValue>>, CliError> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let members: Members = page(cursor).send().await?.read()?;
        if let Some(list) = members.get(name) {
            items.append(&mut serde_json::from_str(list.get()).map_err(|error| unreadable(&error))?);
        }
        cursor = match members.get("nextCursor") {
            Some(next) => serde_json::from_str(next.get()).map_err(|error| unreadable(&error))?,
            None => return Ok(items),
        };
    }
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("windlass/", env!("CARGO_PKG_VERSION")));

impl Call {
    pub(super) fn query(mut self, name: &str, value: impl ToString) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        let value = segment(&value.to_string());
        self.target.push_str(&format!("{separator}{name}={value}"));
        self
    }

    pub(super) fn query_if(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(super) fn header_if(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(HeaderName::from_static(name), value),
            None => self,
        }
    }

    pub(super) fn json(self, text: Option<String>) -> Self {
        match text {
            Some(text) => Self {
                body: full(text.into()),
                ..self.header(header::CONTENT_TYPE, "application/json")
            },
            None => self,
        }
    }

    pub(super) fn body(self, length: u64, body: Body) -> Self {
        let call = self.header(header::CONTENT_TYPE, "application/wasm");
        Self {
            body,
            ..call.header(header::CONTENT_LENGTH, &length.to_string())
        }
    }

    /// Extends the timeout of the response.
    pub(super) fn patience(self, more: Duration) -> Self {
        Self {
            time: ANSWER_TIME + more,
            ..self
        }
    }

    fn header(self, name: HeaderName, value: &str) -> Self {
        Self {
            request: self.request.header(name, value),
            ..self
        }
    }

    /// Sends the request.
    pub(super) async fn send(self) -> Result<Answer, CliError> {
        let request = self.request.uri(self.target).body(self.body);
        let request = request.map_err(|error| CliError::Usage(error.to_string()))?;
        match timeout(self.time, exchange(&self.address, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(CliError::TimedOut("the host did not answer in time".into())),
        }
    }
}

async fn exchange(address: &Address, request: Request<Body>) -> Result<Answer, CliError> {
    let lost = |error: hyper::Error| address.lost(&error);
    let stream = address.connect().await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // The task ends with the exchange, which holds the other half.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.map_err(lost)?.into_parts();
    let body = body.collect().await.map_err(lost)?.to_bytes();
    if head.status.is_success() {
        Ok(Answer { body })
    } else {
        Err(refusal(head.status, &head.headers, &body))
    }
}

impl Answer {
    /// The body as JSON that is passed on verbatim.
    pub(super) fn raw(&self) -> Result<&RawValue, CliError> {
        serde_json::from_slice(&self.body).map_err(|error| unreadable(&error))
    }

    /// The body, deserialized.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        serde_json::from_slice(&self.body).map_err(|error| unreadable(&error))
    }
}

/// The headers with the key and the tenant.
fn identity(key: Option<&str>, tenant: Option<&str>) -> Result<HeaderMap, CliError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let value = HeaderValue::try_from(format!("Bearer {}", key.trim()));
        let mut value = value
            .map_err(|_| CliError::Usage("the API key contains characters that cannot go into a header".into()))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Some(tenant) = tenant {
        let value = HeaderValue::try_from(tenant);
        let value = value.map_err(|_| CliError::Usage(format!("{tenant:?} is not a valid tenant name")))?;
        headers.insert(TENANT_HEADER, value);
    }
    Ok(headers)
}

/// A body of bytes.
pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn unreadable(error: &serde_json::Error) -> CliError {
    CliError::failed(format!("the answer cannot be read ({error}); is this a Windlass host?"))
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CliError {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with(PROBLEM_MEDIA_TYPE))
        && let Ok(problem) = serde_json::from_slice::<Problem>(body)
    {
        return CliError::Refused(Box::new(problem));
    }
    match text(header::LOCATION).filter(|_| status.is_redirection()) {
        Some(elsewhere) => CliError::failed(format!(
            "the host answered {status} with a redirect to {elsewhere}, which is not followed; if that is the host, use \
             its URL"
        )),
        None => CliError::failed(format!("the host answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener as Blocking;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::tls::ExtraRoots;

    /// Answers one request with these bytes; returns the request.
    async fn answer(listener: TcpListener, bytes: String) -> String {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.unwrap());
        }
        connection.write_all(bytes.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    }

    async fn client() -> (TcpListener, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let address = Address::parse(&url, &ExtraRoots::none()).unwrap();
        (listener, Client::new(address, Some("wl_key"), Some("acme")).unwrap())
    }

    #[tokio::test]
    async fn a_request_has_the_key_the_tenant_and_the_parameters() {
        let (listener, client) = client().await;
        let call = client
            .get(&["modules", "a b"])
            .query("from", "1 + 1&2")
            .query_if("to", None::<u8>);
        let call = call.query("limit", 3).header_if("idempotency-key", Some("k"));
        let bytes = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned();
        let (sent, head) = tokio::join!(call.send(), answer(listener, bytes));
        assert_eq!(sent.unwrap().raw().unwrap().get(), "{}");
        assert!(
            head.starts_with("GET /base/v1/modules/a%20b?from=1%20%2B%201%262&limit=3 HTTP/1.1\r\n"),
            "{head}"
        );
        for header in [
            "authorization: Bearer wl_key\r\n",
            "windlass-tenant: acme\r\n",
            "host: 127.0.0.1:",
            "user-agent: windlass/",
            "idempotency-key: k\r\n",
        ] {
            assert!(head.contains(header), "{header} is not in {head}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_with_the_key() {
        let elsewhere = Blocking::bind("127.0.0.1:0").unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let (listener, client) = client().await;
        let location = format!("http://{}/v1/modules", elsewhere.local_addr().unwrap());
        let bytes = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let (sent, _) = tokio::join!(client.get(&["modules"]).send(), answer(listener, bytes));
        match sent {
            Err(CliError::Failed(sentence)) => assert!(sentence.contains(&location), "{sentence}"),
            other => panic!("{other:?}"),
        }
        let nobody = elsewhere.accept().unwrap_err();
        assert_eq!(
            nobody.kind(),
            io::ErrorKind::WouldBlock,
            "the redirect was not followed"
        );
    }

    #[tokio::test]
    async fn a_server_without_tls_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let address = Address::parse(&url, &ExtraRoots::none()).unwrap();
        let client = Client::new(address, None, None).unwrap();
        let plain = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            let _ = connection.read_to_end(&mut Vec::new()).await;
        };
        match tokio::join!(client.get(&["modules"]).send(), plain).0 {
            Err(CliError::NotSecured(sentence)) => assert!(sentence.contains("does not speak TLS"), "{sentence}"),
            other => panic!("{other:?}"),
        }
    }
}
