//! Control messages to an instance: terminate, suspend, resume.

use axum::extract::State;
use http::StatusCode;

use crate::{
    engine::api::Message,
    http::{
        access::{Caller, Control, May},
        body::EmptyBody,
        error::Refusal,
        params::{FromParams, Given, Params},
        path::InPath,
        problem::Problem,
        state::App,
    },
    model::InstanceId,
};

/// Maximum length of a reason, in bytes. It is stored in the history and shown in lists.
pub(crate) const MAX_REASON_BYTES: usize = 4 * 1024;

/// Parameters of a control message.
#[derive(Debug)]
pub(crate) struct ControlParams {
    pub(super) reason: String,
}

impl FromParams for ControlParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self { reason: reason(given)? })
    }
}

/// Reads the reason of a control message; empty if absent.
pub(super) fn reason(given: &mut Given) -> Result<String, Refusal> {
    let reason = given.with("reason", |text| match text.len() {
        0..=MAX_REASON_BYTES => Ok(text.to_owned()),
        _ => Err(format!("is at most {MAX_REASON_BYTES} bytes long")),
    })?;
    Ok(reason.unwrap_or_default())
}

/// End an instance without running it again.
///
/// Its sub-orchestrations and running activities end too. This works even if its module or its history is broken.
#[utoipa::path(
    post, path = "/v1/instances/{id}/terminate", tag = "instances", operation_id = "terminateInstance",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("reason" = Option<String>, Query, description = "The reason; it is recorded, and becomes the output"),
    ),
    responses(
        (status = 202, description = "Stored; it takes effect soon"),
        (status = 404, description = "`unknown-instance`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`instance-ended`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn terminate(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(id): InPath<InstanceId>,
    Params(ControlParams { reason }): Params<ControlParams>,
    body: EmptyBody,
) -> Result<StatusCode, Refusal> {
    send(&app, caller, id, Message::Terminate { reason }, body).await
}

/// Suspend an instance.
///
/// It takes no turns; events, results and timers are kept. Suspending a suspended instance changes nothing.
#[utoipa::path(
    post, path = "/v1/instances/{id}/suspend", tag = "instances", operation_id = "suspendInstance",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("reason" = Option<String>, Query, description = "The reason; it is recorded"),
    ),
    responses(
        (status = 202, description = "Stored; it takes effect soon"),
        (status = 404, description = "`unknown-instance`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`instance-ended`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn suspend(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(id): InPath<InstanceId>,
    Params(ControlParams { reason }): Params<ControlParams>,
    body: EmptyBody,
) -> Result<StatusCode, Refusal> {
    send(&app, caller, id, Message::Suspend { reason }, body).await
}

/// Resume a suspended instance, or retry a stuck one.
#[utoipa::path(
    post, path = "/v1/instances/{id}/resume", tag = "instances", operation_id = "resumeInstance",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("reason" = Option<String>, Query, description = "The reason; it is recorded"),
    ),
    responses(
        (status = 202, description = "Stored; it takes effect soon"),
        (status = 404, description = "`unknown-instance`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`instance-ended`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn resume(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(id): InPath<InstanceId>,
    Params(ControlParams { reason }): Params<ControlParams>,
    body: EmptyBody,
) -> Result<StatusCode, Refusal> {
    send(&app, caller, id, Message::Resume { reason }, body).await
}

async fn send(
    app: &App,
    caller: Caller,
    id: InstanceId,
    message: Message,
    body: EmptyBody,
) -> Result<StatusCode, Refusal> {
    app.engine
        .send(caller.tenant, &id, message, body.idempotency)
        .await
        .map_err(|error| Refusal::of_message(error, id))?;
    Ok(StatusCode::ACCEPTED)
}
