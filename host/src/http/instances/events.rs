//! Raises external events.

use axum::extract::State;
use http::StatusCode;

use crate::{
    engine::api::Message,
    http::{
        access::{May, Signal},
        body::PayloadBody,
        document::Verbatim,
        error::Refusal,
        params::{NoParams, Params},
        path::InPath,
        problem::Problem,
        state::App,
    },
    model::{Event, EventName, InstanceId},
};

/// Raise an event for an instance.
///
/// An event that the orchestration does not wait for yet is kept; several of one name are delivered in order, one per
/// wait. Names are case-insensitive. An event that the orchestration declares must match its schema.
#[utoipa::path(
    post, path = "/v1/instances/{id}/events/{name}", tag = "instances", operation_id = "raiseEvent",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("name" = String, Path, description = "The event's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key has no further effect"),
    ),
    request_body(content = Verbatim, content_type = "application/json", description = "The payload; an empty body is `null`"),
    responses(
        (status = 202, description = "Stored; it will be delivered"),
        (status = 400, description = "`invalid-event`, `not-json`, `invalid-path`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-instance`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`instance-ended`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn raise(
    State(app): State<App>,
    May { caller, .. }: May<Signal>,
    InPath(id): InPath<InstanceId>,
    InPath(name): InPath<EventName>,
    Params(NoParams): Params<NoParams>,
    body: PayloadBody,
) -> Result<StatusCode, Refusal> {
    let message = Message::Event(Event {
        name,
        payload: body.payload,
    });
    app.engine
        .send(caller.tenant, &id, message, body.idempotency)
        .await
        .map_err(|error| Refusal::of_message(error, id))?;
    Ok(StatusCode::ACCEPTED)
}
