//! Reads request bodies completely or not at all, limited in size and time.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    access::{self, Deploy, May},
    error::Refusal,
    idempotency::{self, Asked},
    state::App,
    uploads::{BodyRoom, UploadPermit},
};
use crate::{
    byte_order_mark,
    model::{Payload, PayloadError},
    store::IdempotencyKey,
};

/// The longest pause within a body. Shorter than what proxies allow, long enough for a bad connection.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// How slowly a body may arrive. The rates are far below any connection that works; slower clients are likely attacks
/// that occupy the host.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Maximum time to receive the body.
    time: Duration,
    /// Minimum rate, in bytes per second, over any time longer than `interval`.
    bytes_per_second: u64,
    interval: Duration,
}

/// The body that a resource expects.
#[derive(Debug)]
struct Expected<'a> {
    /// Its maximum length, in bytes.
    limit: usize,
    patience: Patience,
    /// The memory for it, if it may be large.
    room: Option<&'a mut BodyRoom>,
}

impl Expected<'_> {
    /// A payload, which is short.
    const fn payload(limit: usize) -> Self {
        Self {
            limit,
            patience: PAYLOAD,
            room: None,
        }
    }
}

/// For payloads, whose size is small.
const PAYLOAD: Patience = Patience {
    time: Duration::from_secs(60),
    bytes_per_second: 1024,
    interval: MAX_PAUSE,
};

/// For modules: 64 MiB may take as long as at 1 Mbit/s. They hold more memory, so the rate is higher.
const MODULE: Patience = Patience {
    time: Duration::from_secs(600),
    bytes_per_second: 16 * 1024,
    interval: Duration::from_secs(30),
};

/// How many bytes of a body that is too large are read and discarded before it is refused. Otherwise, the connection of
/// a client that is still writing would be reset, and the client would never read the refusal.
const MAX_DRAINED_BYTES: usize = 128 * 1024 * 1024;

/// Maximum time to discard a body.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Initial capacity of the buffer, in bytes, whatever length the client announced.
const FIRST_BUFFER_BYTES: usize = 16 * 1024;

/// Length of a byte order mark in UTF-8, in bytes. It does not count against the limit of the body.
const MARK_BYTES: usize = 3;

/// The body of a start or an event, with its idempotency key.
#[derive(Debug)]
pub(crate) struct PayloadBody {
    /// The body, verbatim except for a byte order mark; `null` if it is empty.
    pub(crate) payload: Payload,
    /// From the header `Idempotency-Key`.
    pub(crate) idempotency: Option<IdempotencyKey>,
}

impl FromRequest<App> for PayloadBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let limit = app.options.payload_bytes;
        let bytes = receive_text(app, &parts.headers, body, limit).await?;
        let payload = parse_payload(&bytes, limit)?;
        let asked = Asked {
            bytes: &bytes,
            meaning: payload.as_str().as_bytes(),
        };
        Ok(Self {
            idempotency: idempotency::key(&parts, asked)?,
            payload,
        })
    }
}

/// Maximum length of a [`JsonBody`], in bytes.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// A JSON object that the host itself interprets, unlike a payload.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = receive_text(app, &parts.headers, body, MAX_DOCUMENT_BYTES).await?;
        let text = parse_payload(&bytes, MAX_DOCUMENT_BYTES)?;
        // serde would accept an array and read it by the order of the fields.
        if !text.as_str().trim_start().starts_with('{') {
            return Err(Refusal::invalid_body("it must be a JSON object"));
        }
        serde_json::from_str(text.as_str())
            .map(Self)
            .map_err(|error| Refusal::invalid_body(error.to_string()))
    }
}

/// An empty body, with its idempotency key.
#[derive(Debug)]
pub(crate) struct EmptyBody {
    /// From the header `Idempotency-Key`.
    pub(crate) idempotency: Option<IdempotencyKey>,
}

impl FromRequest<App> for EmptyBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        match receive(app, &parts.headers, body, Expected::payload(0)).await {
            Ok(_) => Ok(Self {
                idempotency: idempotency::key(
                    &parts,
                    Asked {
                        bytes: &[],
                        meaning: &[],
                    },
                )?,
            }),
            Err(Refusal::BodyTooLarge { .. }) => Err(Refusal::UnexpectedBody),
            Err(refusal) => Err(refusal),
        }
    }
}

/// The bytes of a module, with the permit to hold them in memory.
#[derive(Debug)]
pub(crate) struct ModuleBody {
    pub(crate) bytes: Bytes,
    /// Keep it until the bytes are no longer needed.
    pub(crate) permit: UploadPermit,
}

impl FromRequest<App> for ModuleBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let May::<Deploy> { caller, .. } = May::from_request_parts(&mut parts, app).await?;
        // Until this upload has memory, its body stays in the buffers of the socket.
        let mut room = match app.uploads.room(caller.tenant).await {
            Ok(room) => room,
            Err(refusal) => {
                refused_unread(&parts.headers, body).await;
                return Err(refusal);
            }
        };
        let expected = Expected {
            limit: app.options.module_bytes,
            patience: MODULE,
            room: Some(&mut room),
        };
        let bytes = receive(app, &parts.headers, body, expected).await?;
        let permit = app.uploads.permit(room).await?;
        Ok(Self { bytes, permit })
    }
}

/// Receives a text; a byte order mark does not count against the limit.
async fn receive_text(app: &App, headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let received = receive(app, headers, body, Expected::payload(limit.saturating_add(MARK_BYTES))).await;
    received.map_err(|refusal| match refusal {
        Refusal::BodyTooLarge { .. } => Refusal::BodyTooLarge { limit },
        other => other,
    })
}

/// Receives the whole body, and authenticates the sender again at its end: a body may take minutes, and its key may be
/// revoked meanwhile.
async fn receive(app: &App, headers: &HeaderMap, body: Body, expected: Expected<'_>) -> Result<Bytes, Refusal> {
    let tenancy = app.engine.tenancy();
    let sender = access::identity(tenancy, headers)?;
    let whole = read(headers, body, expected).await?;
    if access::identity(tenancy, headers)? == sender {
        Ok(whole)
    } else {
        Err(Refusal::Unauthenticated)
    }
}

/// Reads the whole body, if it is complete, at most `limit` bytes long and arrives in time.
async fn read(headers: &HeaderMap, mut body: Body, expected: Expected<'_>) -> Result<Bytes, Refusal> {
    refuse_encoding(headers)?;
    let whole = collect(headers, &mut body, expected).await;
    if matches!(whole, Err(Refusal::BodyTooLarge { .. })) {
        refused_unread(headers, body).await;
    }
    whole
}

/// Drains a refused body, so that the client is likely to read the refusal.
async fn refused_unread(headers: &HeaderMap, body: Body) {
    // A client that asked first (`Expect`) has not sent anything yet, and reads the refusal at once.
    if !headers.contains_key(header::EXPECT) {
        let _ = timeout(DRAIN_TIME, drain(body)).await;
    }
}

/// The length of the body, if the client announced one.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn collect(headers: &HeaderMap, body: &mut Body, expected: Expected<'_>) -> Result<Bytes, Refusal> {
    let Expected {
        limit,
        patience,
        mut room,
    } = expected;
    if announced(headers).is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(Refusal::BodyTooLarge { limit });
    }
    let mut deadline = Instant::now() + patience.time;
    let mut whole = BytesMut::with_capacity(FIRST_BUFFER_BYTES.min(limit));
    let mut pace = Pace::new(patience);
    while let Some(data) = next_data(body, deadline).await? {
        pace.keeps(data.len())?;
        if data.len() > limit - whole.len() {
            return Err(Refusal::BodyTooLarge { limit });
        }
        if let Some(room) = &mut room {
            let waited_at = Instant::now();
            room.reach(whole.len() + data.len()).await?;
            // The client did not cause this wait.
            deadline += waited_at.elapsed();
            pace.since += waited_at.elapsed();
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// The next chunk of the body; `None` at its end.
async fn next_data(body: &mut Body, deadline: Instant) -> Result<Option<Bytes>, Refusal> {
    loop {
        let pause = timeout(MAX_PAUSE, body.frame());
        let frame = timeout_at(deadline, pause)
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(Refusal::BodyTooSlow)?;
        match frame
            .transpose()
            .map_err(|_| Refusal::BodyCutOff)?
            .map(Frame::into_data)
        {
            None => return Ok(None),
            Some(Ok(data)) => return Ok(Some(data)),
            // Trailers are ignored.
            Some(Err(_)) => {}
        }
    }
}

/// Measures the rate of a body, interval by interval: a body that starts fast must not become slow.
struct Pace {
    patience: Patience,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(patience: Patience) -> Self {
        Self {
            patience,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Counts received bytes.
    ///
    /// # Errors
    /// If they arrived too slowly.
    fn keeps(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes as u64;
        let elapsed = self.since.elapsed();
        if elapsed < self.patience.interval {
            return Ok(());
        }
        let enough = self.bytes >= self.patience.bytes_per_second * elapsed.as_secs();
        *self = Self::new(self.patience);
        if enough { Ok(()) } else { Err(Refusal::BodyTooSlow) }
    }
}

async fn drain(mut body: Body) {
    let mut left = MAX_DRAINED_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Refuses compressed bodies: the host does not decompress, and would store the compressed bytes.
fn refuse_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let encoding = String::from_utf8_lossy(value.as_bytes());
        if !encoding.eq_ignore_ascii_case("identity") {
            return Err(Refusal::UnsupportedEncoding {
                encoding: encoding.into_owned(),
            });
        }
    }
    Ok(())
}

/// Parses the body as a payload, verbatim except for a byte order mark; an empty body is `null`.
fn parse_payload(bytes: &[u8], limit: usize) -> Result<Payload, Refusal> {
    let bytes = byte_order_mark::skip(bytes).map_err(|other| Refusal::NotJson {
        message: other.to_string(),
        line: 1,
        column: 1,
    })?;
    if bytes.is_empty() {
        return Ok(Payload::null());
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let (line, column) = position(&bytes[..error.valid_up_to()]);
        Refusal::NotJson {
            message: format!("it is not UTF-8 at line {line} column {column}"),
            line,
            column,
        }
    })?;
    Payload::parse(text, limit).map_err(|error| match error {
        PayloadError::TooLong { limit, .. } => Refusal::BodyTooLarge { limit },
        PayloadError::NotJson(message) => {
            let (line, column) = serde_json::from_str::<IgnoredAny>(text)
                .err()
                .map_or_else(|| position(bytes), |error| (error.line(), error.column()));
            Refusal::NotJson { message, line, column }
        }
    })
}

/// Line and column, from 1, of the byte after `before`.
fn position(before: &[u8]) -> (usize, usize) {
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    async fn read_text(text: &'static str, limit: usize) -> Result<Bytes, String> {
        read(&HeaderMap::new(), Body::from(text), Expected::payload(limit))
            .await
            .map_err(|refusal| refusal.to_string())
    }

    #[tokio::test]
    async fn a_body_of_the_limit_fits_and_one_byte_more_does_not() {
        assert_eq!(read_text("12345", 5).await.unwrap(), "12345");
        assert_eq!(
            read_text("123456", 5).await,
            Err("the body is larger than 5 bytes".into())
        );
        assert_eq!(read_text("", 0).await.unwrap(), "");
    }

    /// Reads a body of `pieces` chunks, each of which takes `seconds`.
    async fn read_slowly(patience: Patience, pieces: u32, bytes: usize, seconds: u64) -> Result<usize, String> {
        let pieces = futures::stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, std::io::Error>(vec![b'x'; bytes])
        });
        let expected = Expected {
            patience,
            ..Expected::payload(8 << 20)
        };
        let read = read(&HeaderMap::new(), Body::from_stream(pieces), expected).await;
        read.map(|whole| whole.len()).map_err(|refusal| refusal.kind().1.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_refused_and_a_slow_one_is_not() {
        for patience in [PAYLOAD, MODULE] {
            let rate = usize::try_from(patience.bytes_per_second).unwrap();
            let started_at = Instant::now();
            assert_eq!(read_slowly(patience, 600, 1, 1).await, Err("body-too-slow".into()));
            assert!(started_at.elapsed() < patience.interval + Duration::from_secs(1));
            assert_eq!(read_slowly(patience, 100, 10, 14).await, Err("body-too-slow".into()));
            assert_eq!(
                read_slowly(patience, 500, rate - 1, 1).await,
                Err("body-too-slow".into())
            );
            assert_eq!(read_slowly(patience, 50, rate, 1).await, Ok(50 * rate));
            assert_eq!(
                read_slowly(patience, 10, 1, 1).await,
                Ok(10),
                "a short body may be slow"
            );
        }
    }

    #[test]
    fn payloads_are_taken_verbatim() {
        for text in ["1.0", "{\"a\" : 1e2}", "123456789012345678901234567890"] {
            assert_eq!(parse_payload(text.as_bytes(), 100).unwrap().as_str(), text);
        }
        assert_eq!(parse_payload(b"", 100).unwrap(), Payload::null());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_payload_and_another_encoding_is_named() {
        for text in ["\"x\"", "{\"a\" : 1e2}"] {
            let marked = format!("\u{feff}{text}");
            assert_eq!(parse_payload(marked.as_bytes(), text.len()).unwrap().as_str(), text);
        }
        assert_eq!(parse_payload(b"\xef\xbb\xbf", 100).unwrap(), Payload::null());
        assert!(
            parse_payload("\"\u{feff}\"".as_bytes(), 100)
                .unwrap()
                .as_str()
                .contains('\u{feff}')
        );
        assert!(parse_payload("\u{feff}\u{feff}1".as_bytes(), 100).is_err());
        let refused = parse_payload(b"\xff\xfe1\x00", 100).unwrap_err().to_string();
        assert!(refused.contains("byte order mark of UTF-16"), "{refused}");
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_position() {
        let check = |bytes: &[u8], expected: (usize, usize)| match parse_payload(bytes, 100) {
            Err(Refusal::NotJson { line, column, .. }) => assert_eq!((line, column), expected),
            other => panic!("{other:?}"),
        };
        check(b"{\n  \"a\": x\n}", (2, 8));
        check(b"[1,", (1, 3));
        check(b"\"a\n\xff\"", (2, 1));
        check(b" ", (1, 1));
    }
}
