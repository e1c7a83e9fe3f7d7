//! The OpenAPI document: generated from the handlers, plus a title and what applies to every operation.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{access::TENANT_HEADER, problem};
use problem::Problem;

/// The parts that are not generated from handlers.
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
        (name = "instances", description = "Following, controlling and removing instances"),
        (name = "schedules", description = "Starting instances at regular times"),
        (name = "completions", description = "Completing activity calls from outside"),
        (name = "entities", description = "Named states, and the operations that change them"),
        (name = "administration", description = "Tenants and API keys, for the role `admin`"),
        (name = "host", description = "The host itself"),
    )
)]
pub(crate) struct Document;

/// The document as text, serialized once.
static TEXT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string_pretty(&complete()).expect("a JSON value can be written"));

/// The complete document: generated from the handlers, plus what applies to all of them.
pub(super) fn complete() -> Value {
    let mut document = serde_json::to_value(super::openapi()).expect("the document can be written as JSON");
    widen_integers(&mut document);
    document["components"]["securitySchemes"]["apiKey"] = json!({
        "type": "http",
        "scheme": "bearer",
        "description": "An API key. A host without any keys accepts requests without one, from its own machine.",
    });
    let paths = document["paths"].as_object_mut().expect("the document has paths");
    for (path, item) in paths {
        for operation in item.as_object_mut().expect("a path holds operations").values_mut() {
            operation["responses"]["default"] = json!({
                "description": "Any other error; `code` says which",
                "content": { problem::MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
            });
            let is_open = path == "/v1/openapi.json" || path.starts_with("/v1/completions/");
            if path.starts_with("/v1/") && !is_open {
                needs_key(operation);
            }
        }
    }
    document
}

/// Adds the parameters of every operation on behalf of a tenant: a key, and for administrators the name of the tenant.
fn needs_key(operation: &mut Value) {
    operation["security"] = json!([{ "apiKey": [] }, {}]);
    let parameters = operation
        .as_object_mut()
        .expect("an operation is an object")
        .entry("parameters")
        .or_insert_with(|| json!([]));
    parameters.as_array_mut().expect("parameters are an array").push(json!({
        "name": TENANT_HEADER,
        "in": "header",
        "description": "The tenant to act for; only with a key of the role `admin`",
        "required": false,
        "schema": { "type": "string" },
    }));
}

/// Declares unsigned 32-bit integers as 64 bits wide: generated clients read `int32` as signed, and `maxAttempts` may
/// be 4,294,967,295.
fn widen_integers(part: &mut Value) {
    match part {
        Value::Object(members) => {
            let is_unsigned = members.get("minimum").and_then(Value::as_u64) == Some(0);
            if is_unsigned && members.get("format").is_some_and(|format| format == "int32") {
                members.insert("format".into(), "int64".into());
            }
            members.values_mut().for_each(widen_integers);
        }
        Value::Array(items) => items.iter_mut().for_each(widen_integers),
        _ => {}
    }
}

/// Get this description of the API.
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "host", operation_id = "getOpenApi",
    responses((status = 200, description = "An OpenAPI 3.1 document", content_type = "application/json")),
)]
pub(crate) async fn get() -> Response {
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        TEXT.as_str(),
    )
        .into_response()
}
