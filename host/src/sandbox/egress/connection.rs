//! One HTTP/1.1 connection to a destination, over which one request goes after the other.
//!
//! It sends and answers, and says whether it can be used again. Who may use it, and for how long it is kept in between,
//! is the business of the [`pool`](super::pool).

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, HeaderValue},
    request::Parts,
};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_http::Error;

use crate::grants::Destination;

use super::{
    connect::{Connected, Refused},
    request_body::{Done, RequestBody, Sending},
    socket::Watch,
    traffic::{Metered, Tally, TrafficMeter},
};

/// Most bytes of a response's head. Also the most that HTTP reads ahead of whoever reads the body.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;
/// Most header fields of a response.
const MAX_HEADERS: usize = 128;

/// Longest time from opening a connection until it takes its last request. Then the name is resolved and its address
/// checked again, so that a change of either is followed.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Longest wait for a connection to notice that its last request is over. It is a matter of microseconds, unless the
/// server answered without reading the request.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(100);

/// An open connection.
pub(super) struct HttpConnection {
    destination: Destination,
    /// The address that was checked, and is connected to.
    address: IpAddr,
    sender: SendRequest<Sending>,
    tally: Arc<Tally>,
    socket: Watch,
    opened_at: Instant,
    /// Closes the connection when it is dropped.
    _driver: AbortOnDropJoinHandle<hyper::Result<()>>,
}

/// A response whose body is still to be read.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// Whether the connection can be used again once the body was read.
    pub(super) reuse: Reuse,
}

/// What else must be true for a connection to be used again.
#[derive(Debug)]
pub(super) struct Reuse {
    /// Whether the server keeps the connection. A request never asks to close it.
    is_kept: bool,
    /// Whether the request went out whole.
    request: Done,
}

/// Why there is no response.
pub(super) struct Unanswered {
    pub(super) refused: Refused,
    /// Whether the exchange has ended. Nobody knows what a server does that has not answered in time.
    is_over: bool,
    /// Whether the server may have seen something of the request.
    was_sent: bool,
    /// Whether something of the response arrived.
    was_answered: bool,
}

impl HttpConnection {
    /// Begins to speak HTTP over a connection.
    pub(super) async fn open(destination: Destination, connected: Connected) -> Result<Self, Refused> {
        let Connected {
            stream,
            socket,
            address,
        } = connected;
        let tally = Arc::<Tally>::default();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(Metered::new(stream, tally.clone())))
            .await
            .map_err(hyper_error)?;
        Ok(Self {
            destination,
            address,
            sender,
            tally,
            socket,
            opened_at: Instant::now(),
            _driver: spawn(connection),
        })
    }

    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it takes no further request, as far as that is known.
    pub(super) fn is_over(&self) -> bool {
        self.sender.is_closed() || self.opened_at.elapsed() >= MAX_AGE
    }

    /// Whether it can take the next request: its last one is over, and the server has not closed it.
    pub(super) async fn is_ready(&mut self) -> bool {
        let settled = timeout(SETTLE_TIMEOUT, self.sender.ready()).await;
        matches!(settled, Ok(Ok(()))) && !self.is_over() && self.socket.is_quiet()
    }

    /// Counts from now on for that meter, or for nobody.
    pub(super) fn count_for(&self, meter: Option<Arc<TrafficMeter>>) {
        self.tally.count_for(meter);
    }

    /// Sends a request and waits that long for the head of its response.
    pub(super) async fn send(
        &mut self,
        head: Parts,
        body: &RequestBody,
        first_byte: Duration,
    ) -> Result<Answer, Unanswered> {
        let (sending, done) = body.send();
        let request = Request::from_parts(head, sending);
        let sent = timeout(first_byte, self.sender.send_request(request)).await;
        let traffic = self.tally.read();
        let (refused, is_over) = match sent {
            // hyper reads ahead, and so takes longer heads than it is told to.
            Ok(Ok(response)) if head_bytes(response.headers()) > MAX_HEAD_BYTES => (head_too_long(), true),
            Ok(Ok(response)) => {
                let is_kept = keeps_connection(&response);
                let reuse = Reuse { is_kept, request: done };
                return Ok(Answer { response, reuse });
            }
            Ok(Err(error)) => (hyper_error(error), true),
            Err(_) => {
                let reason = "the response took too long to begin";
                (Refused::new(Error::ConnectionReadTimeout, reason), false)
            }
        };
        Err(Unanswered {
            refused,
            is_over,
            was_sent: traffic.sent > 0,
            was_answered: traffic.received > 0,
        })
    }
}

impl Reuse {
    /// Whether the connection can be used again, now that the body of the response was read.
    pub(super) fn is_possible(&self) -> bool {
        self.is_kept && self.request.get()
    }
}

impl Unanswered {
    /// Whether the same request may be sent over another connection (RFC 9110, section 9.2.2): the server has seen
    /// nothing of it, or it closed the connection without an answer and the method promises that once is like twice.
    pub(super) fn may_repeat(&self, method: &Method, body: &RequestBody) -> bool {
        self.is_over && !self.was_answered && (!self.was_sent || method.is_idempotent()) && body.is_untouched()
    }
}

/// Whether the server keeps the connection after this response.
fn keeps_connection(response: &Response<Incoming>) -> bool {
    response.version() == Version::HTTP_11
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
        && !says_close(response.headers())
}

fn says_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(text);
    let mut options = values.flat_map(|value| value.split(','));
    options.any(|option| option.trim().eq_ignore_ascii_case("close"))
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

fn head_bytes(headers: &HeaderMap) -> usize {
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    fields.sum()
}

fn head_too_long() -> Refused {
    Refused::new(
        Error::HttpResponseHeaderSectionSize(u32::try_from(MAX_HEAD_BYTES).ok()),
        format!("the response has more than {MAX_HEADERS} header fields or {MAX_HEAD_BYTES} bytes of them"),
    )
}

fn hyper_error(error: hyper::Error) -> Refused {
    if error.is_parse_too_large() {
        return head_too_long();
    }
    let reason = format!("HTTP: {error}");
    Refused::new(Error::Hyper(error), reason)
}
