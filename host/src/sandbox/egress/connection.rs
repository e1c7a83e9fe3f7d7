//! One HTTP/1.1 connection to a destination, which carries one request after another.
//!
//! It sends requests, and determines whether it can be used again. The [`pool`](super::pool) decides who may use it and how
//! long it may be idle.

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

/// Maximum bytes of a response's head. Also the maximum that is read ahead of the guest.
pub(super) const MAX_HEAD_BYTES: usize = 64 << 10;
/// Maximum header fields of a response.
const MAX_HEADERS: usize = 128;

/// Maximum age of a connection when it takes a request. Afterwards the name is resolved and its address checked again, so
/// that changes of DNS and rules take effect.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Longest wait until a connection is ready after its last request. This takes microseconds, unless the server answered
/// without reading the request.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(100);

/// An open connection.
pub(super) struct HttpConnection {
    destination: Destination,
    /// The checked address that it is connected to.
    address: IpAddr,
    sender: SendRequest<Sending>,
    tally: Arc<Tally>,
    socket: Watch,
    opened_at: Instant,
    /// Closes the connection when it is dropped.
    _driver: AbortOnDropJoinHandle<hyper::Result<()>>,
}

/// A response whose body is not read yet.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// Whether the connection can be used again after the body was read.
    pub(super) reuse: Reuse,
}

/// The conditions for using a connection again, except that the response must be read.
#[derive(Debug)]
pub(super) struct Reuse {
    /// Whether the server keeps the connection open. Our requests never ask to close it.
    is_kept: bool,
    /// Whether the request was sent completely.
    request: Done,
}

/// Why there is no response.
pub(super) struct Unanswered {
    pub(super) refused: Refused,
    /// Whether the exchange has ended. False after a timeout, because the server may still be processing the request.
    is_over: bool,
    /// Whether the server may have received a part of the request.
    was_sent: bool,
    /// Whether a part of the response arrived.
    was_answered: bool,
}

impl HttpConnection {
    /// Starts HTTP on a connection.
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

    /// Whether the connection is known to be closed or too old for another request.
    pub(super) fn is_over(&self) -> bool {
        self.sender.is_closed() || self.opened_at.elapsed() >= MAX_AGE
    }

    /// Whether the connection can take the next request: the last one has ended, and the server has not closed it.
    pub(super) async fn is_ready(&mut self) -> bool {
        let settled = timeout(SETTLE_TIMEOUT, self.sender.ready()).await;
        matches!(settled, Ok(Ok(()))) && !self.is_over() && self.socket.is_quiet()
    }

    /// Counts further traffic for this meter, or for none.
    pub(super) fn count_for(&self, meter: Option<Arc<TrafficMeter>>) {
        self.tally.count_for(meter);
    }

    /// Sends a request and waits for the head of its response, for at most `first_byte`.
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
            // hyper reads ahead, and so accepts longer heads than its limit.
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
    /// Whether the connection can be used again, after the body of the response was read.
    pub(super) fn is_possible(&self) -> bool {
        self.is_kept && self.request.get()
    }
}

impl Unanswered {
    /// Whether the same request may be sent over another connection (RFC 9110, section 9.2.2): the server received no part
    /// of it, or closed the connection without a response and the method is idempotent.
    pub(super) fn may_repeat(&self, method: &Method, body: &RequestBody) -> bool {
        self.is_over && !self.was_answered && (!self.was_sent || method.is_idempotent()) && body.is_untouched()
    }
}

/// Whether the server keeps the connection open after this response.
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
