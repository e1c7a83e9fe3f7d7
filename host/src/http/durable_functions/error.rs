//! Errors in the form of this API: an object with `Message`, a bare JSON string, or no body; never plain text, because
//! clients parse every body as JSON.

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::{http::error::Refusal, store};

/// The type of every body of this API.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Why a request was refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// As `/v1` would refuse it; [`adapt`] gives it another form.
    Host(Refusal),
    /// Without a body.
    Status(StatusCode),
    /// With a text, as a bare JSON string.
    Text(StatusCode, String),
    /// With an error object: the type of the error, and a text.
    Object(StatusCode, &'static str, String),
}

impl Refused {
    /// An argument that this API refuses.
    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self::Object(StatusCode::BAD_REQUEST, "invalid-argument", message.into())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Host(refusal)
    }
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        Self::Host(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Host(refusal) => refusal.into_response(),
            Self::Status(status) => status.into_response(),
            Self::Text(status, text) => json(status, &text),
            Self::Object(status, kind, message) => json(status, &ErrorObject::new(kind, &message)),
        }
    }
}

/// An error as clients of Durable Functions read it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorObject<'a> {
    message: &'a str,
    exception_message: &'a str,
    exception_type: &'a str,
    stack_trace: &'a str,
}

impl<'a> ErrorObject<'a> {
    fn new(kind: &'a str, message: &'a str) -> Self {
        Self {
            message,
            exception_message: message,
            exception_type: kind,
            stack_trace: "",
        }
    }
}

/// A response with a small document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    let body = serde_json::to_vec(document).expect("the documents of this API can be written as JSON");
    (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    status.into_response()
}

/// Gives a response the form of this API: a refusal of the host gets another body, and JSON names its character set.
pub(super) fn adapt(mut response: Response) -> Response {
    if let Some(refusal) = response.extensions_mut().remove::<Arc<Refusal>>() {
        let (mut parts, _) = response.into_parts();
        let (own, body) = form(&refusal).into_response().into_parts();
        parts.status = own.status;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.extend(own.headers);
        return Response::from_parts(parts, Body::new(body));
    }
    let kind = response.headers_mut().get_mut(header::CONTENT_TYPE);
    if let Some(kind) = kind.filter(|kind| *kind == "application/json") {
        *kind = JSON;
    }
    response
}

/// The form of a refusal. Statuses are those of `/v1` except where clients of Durable Functions expect another one.
fn form(refusal: &Refusal) -> Refused {
    let (status, code, _) = refusal.kind();
    match refusal {
        Refusal::Unauthenticated | Refusal::UnknownInstance { .. } => Refused::Status(status),
        Refusal::InstanceNotEnded { .. } => Refused::Text(StatusCode::PRECONDITION_FAILED, refusal.to_string()),
        Refusal::UnknownFunction { .. } => Refused::Object(StatusCode::BAD_REQUEST, code, with_near(refusal)),
        _ => Refused::Object(status, code, refusal.to_string()),
    }
}

/// The text of a refusal, with the names that the client may have meant.
fn with_near(refusal: &Refusal) -> String {
    match refusal {
        Refusal::UnknownFunction { near, .. } if !near.is_empty() => {
            let near: Vec<_> = near.iter().map(|name| format!("{:?}", name.as_str())).collect();
            format!("{refusal}; similar names: {}", near.join(", "))
        }
        _ => refusal.to_string(),
    }
}
