//! Asks an instance to cancel itself.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::control::{ControlParams, MAX_REASON_BYTES};
use crate::{
    engine::api::Message,
    http::{
        access::{Control, May},
        body::PayloadBody,
        error::Refusal,
        params::Params,
        path::InPath,
        problem::Problem,
        state::App,
    },
    model::{InstanceId, Payload},
};

/// The body of the request; it may be empty.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Cancellation)]
pub(crate) struct CancelDocument {
    /// The reason, at most 4096 bytes; it is recorded, and the code of the instance sees it.
    #[serde(default)]
    reason: Option<String>,
}

/// Ask an instance to cancel itself.
///
/// Its code sees the request where it waits for it, may clean up, and ends as it likes: `Canceled` if it fails with
/// `windlass.cancelled`. Code that does not look at the request goes on. A request stays; of several, the first counts. A
/// suspended or stuck instance sees it once it is resumed; one whose start is in the future ends at once, without
/// running. Sub-orchestrations are not cancelled with it.
#[utoipa::path(
    post, path = "/v1/instances/{id}/cancel", tag = "instances", operation_id = "cancelInstance",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("reason" = Option<String>, Query, description = "The reason, if the body has none"),
    ),
    request_body(content = Option<CancelDocument>, content_type = "application/json", description = "The reason; may be empty"),
    responses(
        (status = 202, description = "Stored; the instance sees it soon"),
        (status = 400, description = "`invalid-body`, `invalid-parameter`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-instance`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`is-entity`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`instance-ended`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(id): InPath<InstanceId>,
    Params(params): Params<ControlParams>,
    body: PayloadBody,
) -> Result<StatusCode, Refusal> {
    let reason = reason_in(&body.payload)?.unwrap_or(params.reason);
    let sent = app
        .engine
        .send(caller.tenant, &id, Message::Cancel { reason }, body.idempotency);
    sent.await.map_err(|error| Refusal::of_message(error, id))?;
    Ok(StatusCode::ACCEPTED)
}

/// The reason in the body, if it has one.
fn reason_in(body: &Payload) -> Result<Option<String>, Refusal> {
    let text = body.as_str().trim_ascii();
    if text == "null" {
        return Ok(None);
    }
    // serde would accept an array and read it by the order of the fields.
    if !text.starts_with('{') {
        return Err(Refusal::invalid_body("it must be a JSON object"));
    }
    let document: CancelDocument =
        serde_json::from_str(text).map_err(|error| Refusal::invalid_body(error.to_string()))?;
    match document.reason {
        Some(reason) if reason.len() > MAX_REASON_BYTES => Err(Refusal::invalid_body(format!(
            "the reason is at most {MAX_REASON_BYTES} bytes long"
        ))),
        reason => Ok(reason),
    }
}
