//! `application/problem+json` (RFC 9457), the form of every error.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The media type of [`Problem`].
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The page about this kind of error, relative to the host.
    #[schema(example = "/docs/errors/unknown-instance")]
    pub r#type: String,
    /// The kind of error, for people.
    #[schema(example = "Unknown instance")]
    pub title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// What happened, in one sentence.
    #[schema(example = "there is no instance \"order-7\"")]
    pub detail: String,
    /// The kind of error, for programs. Stable.
    #[schema(example = "unknown-instance")]
    pub code: String,
    /// Additional members that depend on the code, such as `path`, `near` or `instanceStatus`.
    #[serde(flatten)]
    #[schema(additional_properties, value_type = Object)]
    pub members: Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem can be written as JSON");
        (
            status,
            [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))],
            body,
        )
            .into_response()
    }
}
