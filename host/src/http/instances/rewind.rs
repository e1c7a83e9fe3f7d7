//! Rewinds of failed instances.

use axum::extract::State;
use http::StatusCode;

use super::control::ControlParams;
use crate::{
    engine::RewindRequest,
    http::{
        access::{Control, May},
        body::EmptyBody,
        error::Refusal,
        params::Params,
        path::InPath,
        problem::Problem,
        state::App,
    },
    model::InstanceId,
};

/// Let a failed instance go on.
///
/// What failed runs again: activities, sub-orchestrations (which are rewound themselves) and operations of entities.
/// What succeeded is kept. The instance is running again when this is answered, and may fail again. Counts as a start.
#[utoipa::path(
    post, path = "/v1/instances/{id}/rewind", tag = "instances", operation_id = "rewindInstance",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("reason" = Option<String>, Query, description = "The reason; it is recorded in the history"),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key gets the answer of the first one"),
    ),
    responses(
        (status = 202, description = "The instance is running again"),
        (status = 404, description = "`unknown-instance`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`instance-not-failed`, `too-many-rewinds`, `is-entity`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`quota-exceeded`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn rewind(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(id): InPath<InstanceId>,
    Params(ControlParams { reason }): Params<ControlParams>,
    body: EmptyBody,
) -> Result<StatusCode, Refusal> {
    let request = RewindRequest {
        tenant: caller.tenant,
        id: id.clone(),
        reason,
        idempotency: body.idempotency,
    };
    let rewound = app.engine.rewind(request).await;
    rewound.map_err(|error| Refusal::of_rewind(error, id))?;
    Ok(StatusCode::ACCEPTED)
}
