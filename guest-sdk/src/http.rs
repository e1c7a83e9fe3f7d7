//! A small HTTP client for activities, over `wasi:http`.
//!
//! Requests leave the sandbox only as far as the operator allows it (`serve --allow`). A plain activity sends with
//! [`send`](Request::send); an `async` one with [`send_async`](Request::send_async), several at a time if it likes.
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
//! An orchestration has no HTTP: it calls an activity. Natively, in tests, requests are answered by
//! [`testing::with_http`](crate::testing::with_http).
//!
//! # Failures
//! * `HttpError`: the request could not be made or answered; its details name the reason, and the header if one was
//!   refused. Not worth a retry when the request itself is wrong or the operator's policy refuses it.
//! * `HttpTimeout`: no whole answer within [`timeout`](Request::timeout).
//! * `HttpBodyTooLarge`: the answer is longer than [`max_body_bytes`](Request::max_body_bytes), or all answers of the
//!   attempt together are longer than the host allows.
//! * `HttpStatus`: from [`Response::ok`], with status and beginning of the body as details.

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

/// The types of the failures that this module makes.
pub mod failure_types {
    /// The request could not be made or answered.
    pub const ERROR: &str = "HttpError";
    /// No whole answer in time.
    pub const TIMEOUT: &str = "HttpTimeout";
    /// The answer is too long.
    pub const BODY_TOO_LARGE: &str = "HttpBodyTooLarge";
    /// The answer says that the request did not succeed.
    pub const STATUS: &str = "HttpStatus";
}

/// Longest body of an answer when the request does not say otherwise, in bytes: enough for documents, and little
/// beside the memory cap of an activity.
const DEFAULT_MAX_BODY_BYTES: u64 = 16 << 20;

/// What is asked of the server.
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

/// A request in the making. Mistakes in it are reported when it is sent.
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

/// A GET request.
pub fn get(url: impl Into<String>) -> Request {
    request(Method::Get, url)
}

/// A POST request.
pub fn post(url: impl Into<String>) -> Request {
    request(Method::Post, url)
}

/// A PUT request.
pub fn put(url: impl Into<String>) -> Request {
    request(Method::Put, url)
}

/// A DELETE request.
pub fn delete(url: impl Into<String>) -> Request {
    request(Method::Delete, url)
}

/// A request of any method.
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
    /// `content-length` follows from the body; a value that contradicts it is refused when the request is sent. So are
    /// headers that belong to the connection (`connection`, `keep-alive`, `transfer-encoding`, `upgrade`, `host`, …),
    /// names that are not valid, and values with control characters. The failure says which header and why.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a parameter to the URL's query, escaped.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        url::add_query(&mut self.url, name, &value.to_string());
        self
    }

    /// Sends a value as JSON.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match to_json(value) {
            Ok(body) => self.body = body.into_bytes(),
            Err(error) => self.mistake = Some(wrong(format!("the body cannot be written as JSON: {error}"))),
        }
        self.header("content-type", "application/json")
    }

    /// Sends bytes or text as they are.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Longest time until the whole answer is there. Without it, the attempt's deadline is the limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Longest body of the answer that is accepted, in bytes. 16 MiB unless set.
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// The method, for tests that answer requests.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The URL with its query, for tests that answer requests.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first header of that name, for tests that answer requests.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body, for tests that answer requests.
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Sends the request and reads the whole answer. An answer of any status is a success; see [`Response::ok`].
    ///
    /// # Errors
    /// `HttpError`, `HttpTimeout` or `HttpBodyTooLarge`.
    pub fn send(self) -> Result<Response> {
        block_on(self.send_async())
    }

    /// As [`send`](Self::send), for `async` activities.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_async(self) -> Result<Response> {
        let (timeout, max_body_bytes) = (self.timeout, self.max_body_bytes);
        within(timeout, async {
            let mut incoming = self.exchange().await?;
            let mut body = Vec::new();
            while let Some(chunk) = incoming.chunk_async().await? {
                if (body.len() + chunk.len()) as u64 > max_body_bytes {
                    let message = format!("the answer is longer than {max_body_bytes} bytes");
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

    /// Sends the request and hands out the answer as soon as its head is there, to read the body bit by bit. The
    /// time limit ends with the head; the size limit does not apply.
    ///
    /// # Errors
    /// `HttpError` or `HttpTimeout`.
    pub fn open(self) -> Result<Incoming> {
        block_on(self.open_async())
    }

    /// As [`open`](Self::open), for `async` activities.
    ///
    /// # Errors
    /// As [`open`](Self::open).
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
            format!("no answer within {limit:?}"),
        )),
    }
}

/// A mistake in the request: another attempt would make it again.
fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(failure_types::ERROR, message).non_retryable()
}
