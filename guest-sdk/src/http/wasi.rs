//! The transport of the sandbox, over `wasi:http`.

use std::time::Duration;

use futures::future::join;
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields as WasiFields, IncomingBody, IncomingResponse, Method as WasiMethod, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::{InputStream, StreamError};

use super::body::Incoming;
use super::headers::{self, Fields};
use super::response::{Head, header_text};
use super::url::Url;
use super::{Method, Request, failure_types, wrong};
use crate::block_on::ready;
use crate::failure::{Failure, Result};
use crate::time::whole_millis;

/// The maximum size of one read, in bytes: one page of the guest's memory.
const CHUNK_BYTES: u64 = 64 << 10;

/// Sends a request and waits for the head of the response.
pub(crate) async fn exchange(request: Request, url: Url, fields: Fields) -> Result<Incoming> {
    let options = options(&request);
    let body = request.body.clone();
    let outgoing = outgoing(&request, url, &fields)?;
    // Calling `body` would send a chunked body, even an empty one.
    let outgoing_body = match body.is_empty() {
        true => None,
        false => Some(
            outgoing
                .body()
                .map_err(|()| wrong("the request has no body to write to"))?,
        ),
    };
    let response = outgoing_handler::handle(outgoing, options).map_err(of_code)?;

    // Sends and receives concurrently, because a server may respond before it has read the whole body. If it then stops
    // reading, its response is more useful than the write error, which is ignored.
    let receive = async {
        ready(response.subscribe()).await;
        match response.get() {
            Some(Ok(result)) => result.map_err(of_code),
            _ => Err(Failure::new(failure_types::ERROR, "the response was taken twice")),
        }
    };
    let send = async {
        match outgoing_body {
            Some(outgoing_body) => write(outgoing_body, &body).await,
            None => Ok(()),
        }
    };
    let (_, response) = join(send, receive).await;
    let response = response?;
    Ok(Incoming::new(head(&response), Body::of(response)?))
}

/// Completes after that duration.
pub(crate) async fn sleep(duration: Duration) {
    ready(monotonic_clock::subscribe_duration(
        whole_millis(duration).saturating_mul(1_000_000),
    ))
    .await;
}

fn outgoing(request: &Request, url: Url, headers: &Fields) -> Result<OutgoingRequest> {
    let fields = WasiFields::new();
    // One by one, because the host does not report which field of a list it refuses.
    for (name, value) in headers {
        fields.append(name, value).map_err(|error| {
            let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            let why = format!(
                "the host does not accept it ({error}); the request has {} headers with {bytes} bytes",
                headers.len()
            );
            headers::refusal(name, &why)
        })?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let scheme = if url.is_https { Scheme::Https } else { Scheme::Http };
    outgoing
        .set_method(&method(request.method))
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(&url.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&url.path_with_query)))
        .map_err(|()| wrong(format!("`{}` is not a URL that can be requested", request.url)))?;
    Ok(outgoing)
}

fn method(method: Method) -> WasiMethod {
    match method {
        Method::Get => WasiMethod::Get,
        Method::Head => WasiMethod::Head,
        Method::Post => WasiMethod::Post,
        Method::Put => WasiMethod::Put,
        Method::Patch => WasiMethod::Patch,
        Method::Delete => WasiMethod::Delete,
        Method::Options => WasiMethod::Options,
    }
}

/// Passes the timeout to the host as well, so that it does not keep a connection for a guest that gave up. A host may
/// not support it; this is not an error, because the SDK's own timer ends the request.
fn options(request: &Request) -> Option<RequestOptions> {
    let nanos = whole_millis(request.timeout?).saturating_mul(1_000_000);
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(Some(nanos));
    let _ = options.set_first_byte_timeout(Some(nanos));
    let _ = options.set_between_bytes_timeout(Some(nanos));
    Some(options)
}

async fn write(body: OutgoingBody, bytes: &[u8]) -> Result<()> {
    let stream = body.write().map_err(|()| wrong("the request's body was taken twice"))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        ready(stream.subscribe()).await;
        let room = usize::try_from(stream.check_write().map_err(of_stream)?).unwrap_or(usize::MAX);
        let (now, later) = rest.split_at(room.min(rest.len()));
        stream.write(now).map_err(of_stream)?;
        rest = later;
    }
    stream.flush().map_err(of_stream)?;
    ready(stream.subscribe()).await;
    drop(stream);
    OutgoingBody::finish(body, None).map_err(of_code)
}

fn head(response: &IncomingResponse) -> Head {
    let headers = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, header_text(value)))
        .collect();
    Head {
        status: response.status(),
        headers,
    }
}

/// The body of a response. The stream is declared first, because it must be dropped before the resources it came from.
pub(crate) struct Body {
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

impl Body {
    fn of(response: IncomingResponse) -> Result<Self> {
        let body = response
            .consume()
            .map_err(|()| wrong("the response's body was taken twice"))?;
        let stream = body
            .stream()
            .map_err(|()| wrong("the response's body was taken twice"))?;
        Ok(Self {
            stream,
            _body: body,
            _response: response,
        })
    }

    /// Reads the next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            match self.stream.read(CHUNK_BYTES) {
                Ok(bytes) if bytes.is_empty() => ready(self.stream.subscribe()).await,
                Ok(bytes) => return Ok(Some(bytes)),
                Err(StreamError::Closed) => return Ok(None),
                Err(error) => return Err(of_stream(error)),
            }
        }
    }
}

fn of_stream(error: StreamError) -> Failure {
    let StreamError::LastOperationFailed(error) = error else {
        return Failure::new(failure_types::ERROR, "the connection was closed");
    };
    if let Some(code) = http_error_code(&error) {
        return of_code(code);
    }
    // Wasmtime 48 does not expose the error code of a body, but the text of the error is that of the code.
    let words = error.to_debug_string();
    match words.strip_prefix("HTTP response body size exceeds limit") {
        Some(limit) => too_large(limit.trim_start_matches(": ")),
        None => Failure::new(failure_types::ERROR, words),
    }
}

fn too_large(limit: &str) -> Failure {
    let message = format!("the responses of this attempt are longer than its limit ({limit})");
    Failure::new(failure_types::BODY_TOO_LARGE, message).non_retryable()
}

fn of_code(code: ErrorCode) -> Failure {
    let reason = format!("{code:?}");
    let name = reason.split(['(', ' ', '{']).next().unwrap_or_default();
    let name = name.strip_prefix("ErrorCode::").unwrap_or(name);
    let details = serde_json::json!({ "reason": name });
    match code {
        ErrorCode::ConnectionTimeout | ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            Failure::new(failure_types::TIMEOUT, format!("no response in time ({name})"))
        }
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            wrong("the request is refused: no rule allows this destination").details(&details)
        }
        ErrorCode::HttpResponseBodySize(Some(limit)) => too_large(&format!("{limit} bytes")),
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
            wrong(format!("the request is not valid ({name})")).details(&details)
        }
        _ => Failure::new(failure_types::ERROR, format!("no response ({reason})")).details(&details),
    }
}
