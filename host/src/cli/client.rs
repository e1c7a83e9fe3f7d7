//! Speaks HTTP to a host and tells apart: an answer, a refusal, nobody there.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{self, HeaderMap, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::trouble::Trouble;
use crate::http::{PROBLEM_MEDIA_TYPE, Problem, TENANT_HEADER, segment};

/// How long a connection may take; the host is near.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long an answer may take that waits for nothing.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A host, by its address.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Call {
    request: RequestBuilder,
    url: String,
}

/// An answer that is no refusal.
#[derive(Debug)]
pub(super) struct Answer {
    body: Bytes,
}

impl Client {
    pub(super) fn new(url: &str, key: Option<&str>, tenant: Option<&str>) -> Result<Self, Trouble> {
        let base = Url::parse(url).map_err(|error| Trouble::Usage(format!("{url:?} is not an address: {error}")))?;
        if base.scheme() != "http" {
            return Err(Trouble::Usage(format!("{url:?} must begin with http://")));
        }
        // A proxy of the environment is for the outside world, not for a host on this machine.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIME)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(identity(key, tenant)?)
            .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Trouble::failed(format!("cannot make a client: {error}")))?;
        Ok(Self { http, base })
    }

    /// A request to the resource whose path has these segments.
    pub(super) fn call(&self, method: Method, segments: &[&str]) -> Call {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        let path: String = segments.iter().flat_map(|text| ["/".into(), segment(text)]).collect();
        url.set_path(&format!("{base}/v1{path}"));
        Call {
            request: self.http.request(method, url).timeout(ANSWER_TIME),
            url: self.base.to_string(),
        }
    }

    pub(super) fn get(&self, segments: &[&str]) -> Call {
        self.call(Method::GET, segments)
    }
}

impl Call {
    pub(super) fn query(self, name: &str, value: impl ToString) -> Self {
        self.with(|request| request.query(&[(name, value.to_string())]))
    }

    pub(super) fn query_if(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(super) fn header_if(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(|request| request.header(name, value)),
            None => self,
        }
    }

    pub(super) fn json(self, text: Option<String>) -> Self {
        match text {
            Some(text) => self.with(|request| request.header(header::CONTENT_TYPE, "application/json").body(text)),
            None => self,
        }
    }

    pub(super) fn body(self, length: u64, body: reqwest::Body) -> Self {
        self.with(|request| {
            request
                .header(header::CONTENT_TYPE, "application/wasm")
                .header(header::CONTENT_LENGTH, length)
                .body(body)
        })
    }

    /// Lets the answer take that much longer than usual.
    pub(super) fn patience(self, more: Duration) -> Self {
        self.with(|request| request.timeout(ANSWER_TIME + more))
    }

    fn with(self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        Self {
            request: change(self.request),
            ..self
        }
    }

    /// Sends the request.
    pub(super) async fn send(self) -> Result<Answer, Trouble> {
        let Self { request, url } = self;
        let lost = |error: &reqwest::Error| lost(&url, error);
        let response = request.send().await.map_err(|error| lost(&error))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let body = response.bytes().await.map_err(|error| lost(&error))?;
        Ok(Answer { body })
    }
}

impl Answer {
    /// The body as JSON that is passed on as it is.
    pub(super) fn raw(&self) -> Result<&RawValue, Trouble> {
        serde_json::from_slice(&self.body).map_err(|error| unreadable(&error))
    }

    /// The body as a value.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_slice(&self.body).map_err(|error| unreadable(&error))
    }
}

/// The headers that say who asks, and for whom.
fn identity(key: Option<&str>, tenant: Option<&str>) -> Result<HeaderMap, Trouble> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let value = HeaderValue::try_from(format!("Bearer {}", key.trim()));
        let mut value = value.map_err(|_| Trouble::Usage("the API key holds characters that it cannot".into()))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Some(tenant) = tenant {
        let value = HeaderValue::try_from(tenant);
        let value = value.map_err(|_| Trouble::Usage(format!("{tenant:?} is no name of a tenant")))?;
        headers.insert(TENANT_HEADER, value);
    }
    Ok(headers)
}

fn unreadable(error: &serde_json::Error) -> Trouble {
    Trouble::failed(format!("the answer cannot be read ({error}); is this a Windlass host?"))
}

/// Why there is no answer.
fn lost(url: &str, error: &reqwest::Error) -> Trouble {
    if error.is_builder() {
        return Trouble::Usage(innermost(error));
    }
    if error.is_timeout() && !error.is_connect() {
        return Trouble::TimedOut("the host did not answer in time".into());
    }
    Trouble::Unreachable {
        url: url.to_owned(),
        cause: innermost(error),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

async fn refusal(response: Response) -> Trouble {
    let status = response.status();
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let is_problem = kind.starts_with(PROBLEM_MEDIA_TYPE);
    let problem = match response.bytes().await {
        Ok(body) if is_problem => serde_json::from_slice::<Problem>(&body).ok(),
        _ => None,
    };
    problem.map_or_else(
        || Trouble::failed(format!("the host answered {status}")),
        |problem| Trouble::Refused(Box::new(problem)),
    )
}
