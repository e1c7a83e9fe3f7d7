//! A small HTTP client for activities, over `wasi:http`.
//!
//! Requests leave the sandbox only if the operator allows their destination (`serve --allow`). A plain activity uses
//! [`send`](Request::send), an `async` one [`send_async`](Request::send_async), which can run several requests
//! concurrently.
//!
//! ```
//! use windlass_sdk::http;
//! use windlass_sdk::prelude::*;
//!
//! #[payload]
//! struct Receipt { number: String }
//!
//! #[activity]
//! fn charge(ctx: Activity, cents: u64) -> Result<Receipt> {
//!     http::post("http://payments.example/charges")
//!         .header("idempotency-key", ctx.idempotency_key())
//!         .json(&serde_json::json!({ "cents": cents }))
//!         .timeout(secs(10))
//!         .send()?
//!         .ok()?
//!         .json()
//! }
//!
//! #[activity]
//! async fn compare_prices(shops: Vec<String>) -> Result<Vec<String>> {
//!     let requests = shops.iter().map(|shop| http::get(format!("{shop}/price")).send_async());
//!     try_join_all(requests).await?.into_iter().map(|response| response.text()).collect()
//! }
//! ```
//!
//! Orchestrations cannot use HTTP; they call activities instead. In native tests,
//! [`testing::with_http`](crate::testing::with_http) handles the requests.
//!
//! # Failures
//! * `HttpError`: the request could not be sent, or no valid response arrived. The details have the reason, and the name
//!   of a rejected header. It is not retried if the request is invalid or the operator does not allow its destination.
//! * `HttpTimeout`: the response was not complete within [`timeout`](Request::timeout).
//! * `HttpBodyTooLarge`: the body is longer than [`max_body_bytes`](Request::max_body_bytes), or all responses of the
//!   attempt together are longer than the host allows.
//! * `HttpStatus`: from [`Response::ok`], with the status and the beginning of the body as details.

mod body;
mod headers;
mod response;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod scripted;
mod url;
#[cfg(target_arch = "wasm32")]
mod wasi;

#[cfg(not(target_arch = "wasm32"))]
use scripted as transport;
#[cfg(target_arch = "wasm32")]
use wasi as transport;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use serde::Serialize;

use crate::block_on::block_on;
use crate::failure::{Failure, Result};
use crate::payload::to_json;

pub use body::Incoming;
pub use response::Response;
use url::Url;

/// The types of the failures of this module.
pub mod failure_types {
    /// The request could not be sent, or no valid response arrived.
    pub const ERROR: &str = "HttpError";
    /// The response was not complete in time.
    pub const TIMEOUT: &str = "HttpTimeout";
    /// The body of the response is too long.
    pub const BODY_TOO_LARGE: &str = "HttpBodyTooLarge";
    /// The status of the response is not 200 to 299.
    pub const STATUS: &str = "HttpStatus";
}

/// The default maximum size of a response body, in bytes: enough for documents, and small compared to the memory limit
/// of an activity.
const DEFAULT_MAX_BODY_BYTES: u64 = 16 << 20;

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named by HTTP")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// A request builder. Mistakes, such as an invalid header, are reported when the request is sent.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
    max_body_bytes: u64,
    mistake: Option<Failure>,
}

/// Builds a GET request.
pub fn get(url: impl Into<String>) -> Request {
    request(Method::Get, url)
}

/// Builds a POST request.
pub fn post(url: impl Into<String>) -> Request {
    request(Method::Post, url)
}

/// Builds a PUT request.
pub fn put(url: impl Into<String>) -> Request {
    request(Method::Put, url)
}

/// Builds a DELETE request.
pub fn delete(url: impl Into<String>) -> Request {
    request(Method::Delete, url)
}

/// Builds a request with any method.
pub fn request(method: Method, url: impl Into<String>) -> Request {
    Request {
        method,
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: None,
        max_body_bytes: DEFAULT_MAX_BODY_BYTES,
        mistake: None,
    }
}

impl Request {
    /// Adds a header.
    ///
    /// `content-length` follows from the body; sending fails if a different value is set. It also fails for headers that
    /// belong to the connection (`connection`, `keep-alive`, `transfer-encoding`, `upgrade`, `host`, …), for invalid
    /// names, and for values with control characters. The failure names the header and the reason.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a parameter to the URL's query, percent-encoded.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        url::add_query(&mut self.url, name, &value.to_string());
        self
    }

    /// Sets the body to a value as JSON, and the header `content-type`.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match to_json(value) {
            Ok(body) => self.body = body.into_bytes(),
            Err(error) => self.mistake = Some(wrong(format!("the body cannot be written as JSON: {error}"))),
        }
        self.header("content-type", "application/json")
    }

    /// Sets the body to bytes or text.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the longest time until the response is complete. If unset, only the deadline of the attempt applies.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the maximum size of the response body, in bytes. 16 MiB unless set.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// The method, for tests that handle requests.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The URL with its query, for tests that handle requests.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first header of that name, for tests that handle requests.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body, for tests that handle requests.
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Sends the request and reads the whole response. A response with any status is a success; see [`Response::ok`].
    ///
    /// # Errors
    /// `HttpError`, `HttpTimeout` or `HttpBodyTooLarge`.
    pub fn send(self) -> Result<Response> {
        block_on(self.send_async())
    }

    /// Like [`send`](Self::send), for `async` activities.
    ///
    /// # Errors
    /// Like [`send`](Self::send).
    pub async fn send_async(self) -> Result<Response> {
        let (timeout, max_body_bytes) = (self.timeout, self.max_body_bytes);
        within(timeout, async {
            let mut incoming = self.exchange().await?;
            let mut body = Vec::new();
            while let Some(chunk) = incoming.chunk_async().await? {
                if (body.len() + chunk.len()) as u64 > max_body_bytes {
                    let message = format!("the response is longer than {max_body_bytes} bytes");
                    return Err(Failure::new(failure_types::BODY_TOO_LARGE, message).non_retryable());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Response {
                head: incoming.into_head(),
                body,
            })
        })
        .await
    }

    /// Sends the request and returns the response as soon as its head has arrived, so that the body can be streamed. The
    /// timeout applies to the head only; the size limit does not apply.
    ///
    /// # Errors
    /// `HttpError` or `HttpTimeout`.
    pub fn open(self) -> Result<Incoming> {
        block_on(self.open_async())
    }

    /// Like [`open`](Self::open), for `async` activities.
    ///
    /// # Errors
    /// Like [`open`](Self::open).
    pub async fn open_async(self) -> Result<Incoming> {
        within(self.timeout, self.exchange()).await
    }

    async fn exchange(self) -> Result<Incoming> {
        match self.mistake {
            Some(mistake) => Err(mistake),
            None => {
                let url = Url::parse(&self.url)?;
                let fields = headers::of(&self)?;
                transport::exchange(self, url, fields).await
            }
        }
    }
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(limit) = limit else { return work.await };
    match select(pin!(work), pin!(transport::sleep(limit))).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => Err(Failure::new(
            failure_types::TIMEOUT,
            format!("no response within {limit:?}"),
        )),
    }
}

/// A failure because of an invalid request, which another attempt would repeat.
fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(failure_types::ERROR, message).non_retryable()
}
