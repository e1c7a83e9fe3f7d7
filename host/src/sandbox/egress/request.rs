//! The hook of `wasi:http/outgoing-handler`: sends a request if the policy allows it, over a connection of the host, which
//! may have carried earlier requests of the same tenant.
//!
//! The host does not follow redirects. A guest that follows one sends another request, which is checked again. Every
//! refusal is a line in the attempt's log.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, Uri, header::CONTENT_LENGTH, request::Parts};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, p2::bindings::http::types::ErrorCode};

use crate::grants::request_group::RequestPermit;
use crate::grants::{ActivityLimits, Destination};
use crate::model::LogLevel;
use crate::sandbox::activity::{lock, log::ActivityLog};

use super::{
    Reach,
    body::{Borrowed, LimitedBody, ResponseBudget},
    connect::{Connector, Refused},
    connection::{Answer, HttpConnection, Unanswered},
    pool::MAX_IDLE_TIME_UNREPEATABLE,
    request_body::RequestBody,
    traffic::TrafficMeter,
};

/// The timeout of each step of connecting. A guest may set a shorter one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout for the first byte of a response, and between its bytes. A guest may set a shorter one; the timeout of its
/// attempt is usually shorter.
const READ_TIMEOUT: Duration = Duration::from_secs(600);
/// Maximum bytes of a request's body that are buffered until the connection takes them.
const BODY_CHUNK_BYTES: usize = 64 << 10;

/// How long a request without a length waits for the first byte or the end of its body, before it is sent with chunked
/// encoding. A guest needs only microseconds to end an empty body.
const LOOK_TIME: Duration = Duration::from_millis(50);

/// The outgoing requests of one attempt.
pub(in crate::sandbox) struct Egress {
    reach: Reach,
    connector: Arc<Connector>,
    log: Arc<Mutex<ActivityLog>>,
    open_requests: usize,
    open: Arc<Semaphore>,
    budget: Arc<ResponseBudget>,
    traffic: Arc<TrafficMeter>,
}

/// Counts a request as open until it is dropped.
pub(super) struct OpenRequest {
    _of_attempt: OwnedSemaphorePermit,
    _permit: RequestPermit,
}

/// The response, and a future that must run for it. The future does nothing here, because connections have their own tasks.
type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl Egress {
    /// Creates the hook for an attempt.
    pub(in crate::sandbox) fn new(
        reach: Reach,
        connector: Arc<Connector>,
        log: Arc<Mutex<ActivityLog>>,
        limits: &ActivityLimits,
    ) -> Self {
        let open_requests = limits.open_requests;
        let open = Arc::new(Semaphore::new(open_requests.min(Semaphore::MAX_PERMITS)));
        Self {
            reach,
            connector,
            open_requests,
            open,
            budget: ResponseBudget::new(limits.response_bytes, log.clone()),
            log,
            traffic: Arc::default(),
        }
    }

    /// The meter of the attempt's traffic. It counts as long as there are connections.
    pub(in crate::sandbox) fn traffic(&self) -> Arc<TrafficMeter> {
        self.traffic.clone()
    }

    /// Checks a request before anything is sent.
    fn admit(&self, request: &Request<WasiBody>) -> Result<(Destination, OpenRequest), Refused> {
        let refuse = |error, reason: &str| {
            Err(Refused {
                error,
                reason: reason.to_owned(),
            })
        };
        let Some(destination) = Destination::of(request.uri()) else {
            return refuse(Error::HttpRequestUriInvalid, "the URL has no plain host");
        };
        if request.method() == Method::CONNECT {
            return refuse(Error::HttpRequestMethodInvalid, "tunnels are not supported");
        }
        if self.reach.rule_for(&destination).is_none() {
            return refuse(Error::HttpRequestDenied, &format!("no rule allows {destination}"));
        }
        let Ok(of_attempt) = self.open.clone().try_acquire_owned() else {
            return refuse(
                Error::ConnectionLimitReached,
                &format!(
                    "the attempt already has {} open requests, the maximum",
                    self.open_requests
                ),
            );
        };
        match self.reach.group().enter() {
            Ok(permit) => {
                let open = OpenRequest {
                    _of_attempt: of_attempt,
                    _permit: permit,
                };
                Ok((destination, open))
            }
            Err(full) => refuse(Error::ConnectionLimitReached, &full.to_string()),
        }
    }
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        // Without path and query, which may contain secrets.
        let target = Destination::of(request.uri()).map_or_else(|| "nowhere".to_owned(), |target| target.to_string());
        let (log, budget) = (self.log.clone(), self.budget.clone());
        let way = Way {
            reach: self.reach.clone(),
            connector: self.connector.clone(),
            traffic: self.traffic.clone(),
        };
        // Checked and logged immediately, even if the guest does not wait for the response.
        let admitted = self.admit(&request).map_err(|refused| noted(refused, &log, &target));
        Box::new(async move {
            let (destination, open) = admitted?;
            let time = Patience::of(options.unwrap_or_default());
            let sent = way.send(destination, request, &time).await;
            let (response, borrowed) = sent.map_err(|refused| noted(refused, &log, &target))?;
            let response = response.map(|body| LimitedBody::boxed(body, borrowed, budget, time.between_bytes, open));
            let nothing_to_run: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response, nothing_to_run))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    // The default implementations write to the host's own log, which a guest could flood.

    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> ErrorCode {
        ErrorCode::HttpProtocolError
    }

    fn p2_error_from_connect(&mut self, _: &std::io::Error) -> ErrorCode {
        ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, _: &std::io::Error) -> ErrorCode {
        ErrorCode::TlsProtocolError
    }
}

/// The timeouts of a request.
struct Patience {
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

impl Patience {
    fn of(options: RequestOptions) -> Self {
        let within = |wanted: Option<Duration>, limit: Duration| wanted.map_or(limit, |wanted| wanted.min(limit));
        Self {
            connect: within(options.connect_timeout, CONNECT_TIMEOUT),
            first_byte: within(options.first_byte_timeout, READ_TIMEOUT),
            between_bytes: within(options.between_bytes_timeout, READ_TIMEOUT),
        }
    }
}

/// Logs a refusal or an error. Returns the error for the guest.
fn noted(Refused { error, reason }: Refused, log: &Mutex<ActivityLog>, target: &str) -> Error {
    let what = if is_refusal(&error) { "was refused" } else { "failed" };
    lock(log).line(LogLevel::Warn, &format!("the request to {target} {what}: {reason}"));
    error
}

/// Whether the host refused the request, rather than that it failed.
fn is_refusal(error: &Error) -> bool {
    use Error::{
        ConnectionLimitReached, DestinationIpProhibited, HttpRequestDenied, HttpRequestMethodInvalid,
        HttpRequestUriInvalid,
    };
    matches!(
        error,
        ConnectionLimitReached
            | DestinationIpProhibited
            | HttpRequestDenied
            | HttpRequestMethodInvalid
            | HttpRequestUriInvalid
    )
}

/// Sends requests to their destinations.
struct Way {
    reach: Reach,
    connector: Arc<Connector>,
    traffic: Arc<TrafficMeter>,
}

impl Way {
    /// Sends a request over an idle connection, or over a new one.
    ///
    /// A server may close an idle connection just when it is used again. Then the request is sent once more, over a new
    /// connection, if that is safe. So a request is sent at most twice.
    async fn send(
        &self,
        destination: Destination,
        request: Request<WasiBody>,
        time: &Patience,
    ) -> Result<(Response<Incoming>, Borrowed), Refused> {
        let (mut head, body) = request.into_parts();
        let body = RequestBody::new(body);
        head.uri = origin_form(&head.uri);
        say_if_empty(&mut head, &body).await;
        let max_idle_time = if head.method.is_idempotent() && body.is_empty() {
            Duration::MAX
        } else {
            MAX_IDLE_TIME_UNREPEATABLE
        };
        let pool = self.connector.pool();
        if let Some(mut connection) = pool.take(&self.reach, &destination, max_idle_time).await {
            match self.send_over(&mut connection, head.clone(), &body, time).await {
                Ok(answer) => return Ok(self.answered(connection, answer)),
                Err(unanswered) if unanswered.may_repeat(&head.method, &body) => {}
                Err(unanswered) => return Err(unanswered.refused),
            }
        }
        let connected = self.connector.connect(&self.reach, &destination, time.connect).await?;
        let mut connection = HttpConnection::open(destination, connected).await?;
        match self.send_over(&mut connection, head, &body, time).await {
            Ok(answer) => Ok(self.answered(connection, answer)),
            Err(unanswered) => Err(unanswered.refused),
        }
    }

    async fn send_over(
        &self,
        connection: &mut HttpConnection,
        head: Parts,
        body: &RequestBody,
        time: &Patience,
    ) -> Result<Answer, Unanswered> {
        connection.count_for(Some(self.traffic.clone()));
        connection.send(head, body, time.first_byte).await
    }

    fn answered(&self, connection: HttpConnection, answer: Answer) -> (Response<Incoming>, Borrowed) {
        let Answer { response, reuse } = answer;
        let borrowed = Borrowed {
            connection,
            reuse,
            pool: self.connector.pool().clone(),
            group: self.reach.group().clone(),
        };
        (response, borrowed)
    }
}

/// Adds `content-length: 0` to a request with an empty body if its method usually has one (RFC 9110, section 8.6): some
/// servers reject such a request without a length (411). Guests in some languages do not set it, or open a body and write
/// nothing to it.
async fn say_if_empty(head: &mut Parts, body: &RequestBody) {
    let expects_body = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    if expects_body && !head.headers.contains_key(CONTENT_LENGTH) && body.is_empty_within(LOOK_TIME).await {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// The request target in origin form: only path and query. The host is in its header.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().unwrap_or_else(|_| Uri::from_static("/"))
}
