//! The OpenAPI document: what is generated from the handlers, under a title.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use utoipa::OpenApi;

use super::problem::Problem;

/// What the handlers do not say themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Windlass",
        description = "Durable workflows in WebAssembly: upload modules, start orchestrations, follow and steer them. \
                       Payloads are JSON texts that are stored and returned verbatim. Every error is a problem document \
                       (RFC 9457) with a stable `code`.",
    ),
    components(schemas(Problem)),
    tags(
        (name = "modules", description = "Components and the functions they offer"),
        (name = "orchestrations", description = "Starting instances"),
        (name = "instances", description = "Following, steering and removing instances"),
        (name = "administration", description = "Tenants and API keys, for the role `admin`"),
        (name = "host", description = "The host itself"),
    )
)]
pub(crate) struct Document;

/// The document as text, written once.
static TEXT: LazyLock<String> = LazyLock::new(|| {
    super::openapi()
        .to_pretty_json()
        .expect("the document can be written as JSON")
});

/// This description of the API.
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "host",
    responses((status = 200, description = "An OpenAPI 3.1 document", content_type = "application/json")),
)]
pub(crate) async fn get() -> Response {
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        TEXT.as_str(),
    )
        .into_response()
}
