//! The hook of `wasi:http/outgoing-handler`: sends a request if the policy allows it, over a connection of our own.
//!
//! Redirects are answers like any other: a guest that follows one asks again, and is judged again. Every refusal is a
//! line in the attempt's log.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, Method, Request, Response, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, p2::bindings::http::types::ErrorCode};

use crate::model::LogLevel;
use crate::sandbox::{
    activity::{lock, log::ActivityLog},
    options::ActivityLimits,
};

use super::{
    Destination, Reach,
    body::{LimitedBody, ResponseBudget},
    connect::{Connector, Refused},
    room::RequestPlace,
    traffic::{Metered, TrafficMeter},
};

/// Longest time for each step of connecting. A guest may ask for less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the first byte of a response, and between its bytes. A guest may ask for less; its own time-out is
/// usually shorter.
const READ_TIMEOUT: Duration = Duration::from_secs(600);
/// Most bytes of a response's head.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Most header fields of a response.
const MAX_HEADERS: usize = 128;
/// Bytes of a request's body that wait in the host until the connection takes them.
const BODY_CHUNK_BYTES: usize = 64 << 10;

/// Outgoing requests of one attempt.
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
    _in_room: RequestPlace,
}

/// What sending gives: the response and whatever drives its connection.
type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl Egress {
    /// No request sent yet.
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

    /// What counts the attempt's traffic. Goes on for as long as there are connections.
    pub(in crate::sandbox) fn traffic(&self) -> Arc<TrafficMeter> {
        self.traffic.clone()
    }

    /// What is decided before anything is sent.
    fn admit(&self, request: &Request<WasiBody>) -> Result<(Destination, OpenRequest), Refused> {
        let refuse = |error, reason: &str| {
            Err(Refused {
                error,
                reason: reason.to_owned(),
            })
        };
        let Some(destination) = Destination::of(request.uri()) else {
            return refuse(Error::HttpRequestUriInvalid, "it has no plain host");
        };
        if request.method() == Method::CONNECT {
            return refuse(Error::HttpRequestMethodInvalid, "tunnels are not offered");
        }
        if self.reach.rule_for(&destination).is_none() {
            return refuse(Error::HttpRequestDenied, &format!("no rule allows {destination}"));
        }
        let Ok(of_attempt) = self.open.clone().try_acquire_owned() else {
            return refuse(
                Error::ConnectionLimitReached,
                &format!(
                    "{} requests of this attempt are open, and more may not be",
                    self.open_requests
                ),
            );
        };
        match self.reach.room().enter() {
            Ok(in_room) => {
                let open = OpenRequest {
                    _of_attempt: of_attempt,
                    _in_room: in_room,
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
        // Without path and query: those may carry secrets.
        let target = Destination::of(request.uri()).map_or_else(|| "nowhere".to_owned(), |target| target.to_string());
        let (log, reach, budget) = (self.log.clone(), self.reach.clone(), self.budget.clone());
        let (connector, traffic) = (self.connector.clone(), self.traffic.clone());
        // Noted at once: a guest that does not wait for the answer is refused all the same.
        let admitted = self.admit(&request).map_err(|refused| noted(refused, &log, &target));
        Box::new(async move {
            let (destination, open) = admitted?;
            let time = Patience::of(options.unwrap_or_default());
            let sent = async {
                let connection = connector.connect(&reach, &destination, time.connect).await?;
                send(Metered::new(connection, traffic), request, time, budget, open).await
            };
            sent.await.map_err(|refused| noted(refused, &log, &target))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    // The defaults of these write to the host's own log, which a guest could flood.

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

/// How long a request waits for what.
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

/// Tells the log, and gives back what the guest is told.
fn noted(Refused { error, reason }: Refused, log: &Mutex<ActivityLog>, target: &str) -> Error {
    let what = if is_refusal(&error) { "was refused" } else { "failed" };
    lock(log).line(LogLevel::Warn, &format!("the request to {target} {what}: {reason}"));
    error
}

/// Whether it says that the host did not want the request, rather than that it went wrong.
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

async fn send(
    connection: Metered,
    mut request: Request<WasiBody>,
    time: Patience,
    budget: Arc<ResponseBudget>,
    open: OpenRequest,
) -> Result<Sent, Refused> {
    *request.uri_mut() = origin_form(request.uri());
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(connection))
        .await
        .map_err(hyper_error)?;
    // Dropped with the response, which ends it.
    let driver = wasmtime_wasi::runtime::spawn(connection);
    let response = match timeout(time.first_byte, sender.send_request(request)).await {
        Ok(response) => response.map_err(hyper_error)?,
        Err(_) => {
            let reason = "the response took too long to begin".to_owned();
            return Err(Refused {
                error: Error::ConnectionReadTimeout,
                reason,
            });
        }
    };
    // hyper reads ahead, and so takes longer heads than it is told to.
    if head_bytes(response.headers()) > MAX_HEAD_BYTES {
        return Err(head_too_long());
    }
    let response = response.map(|body| LimitedBody::boxed(body, budget, time.between_bytes, open));
    // Whoever reads the body learns how the connection ended; an error here would only be a line in the host's log.
    let drive = async move {
        let _ = driver.await;
        Ok(())
    };
    Ok((response, Box::new(drive)))
}

fn head_bytes(headers: &HeaderMap) -> usize {
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    fields.sum()
}

fn head_too_long() -> Refused {
    Refused {
        error: Error::HttpResponseHeaderSectionSize(u32::try_from(MAX_HEAD_BYTES).ok()),
        reason: format!("the response has more than {MAX_HEADERS} header fields or {MAX_HEAD_BYTES} bytes of them"),
    }
}

fn hyper_error(error: hyper::Error) -> Refused {
    if error.is_parse_too_large() {
        return head_too_long();
    }
    let reason = format!("HTTP: {error}");
    Refused {
        error: Error::Hyper(error),
        reason,
    }
}

/// A request to an origin names only path and query; the host is in its header.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().unwrap_or_else(|_| Uri::from_static("/"))
}
