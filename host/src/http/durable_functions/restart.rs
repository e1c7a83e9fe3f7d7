//! Runs an orchestration again with the same input: `POST /instances/{instanceId}/restart`.

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};

use super::{Call, error::Refused, start};
use crate::{
    engine::{RestartAs, RestartError, RestartRequest},
    http::{body::EmptyBody, error::Refusal, orchestrations::wait_for_started},
    model::{Action, FromStored as _, InstanceId},
};

/// The answer is that of a start.
pub(super) async fn restart(call: &Call, id: &str, request: Request) -> Result<Response, Refused> {
    let caller = call.allow(Action::Control)?;
    let body = EmptyBody::from_request(request, &call.app).await?;
    // Unlike everywhere else, the original answers 400 and not 404.
    let unknown = || Refused::argument(format!("there is no instance {id:?}"));
    let id = InstanceId::from_stored(id).map_err(|_| unknown())?;
    let wait = start::wait(&call.query)?;
    let restart_as = match call.query.flag("restartWithNewInstanceId") {
        Some(false) => RestartAs::SameId,
        _ => RestartAs::NewId(None),
    };
    let request = RestartRequest {
        tenant: caller.tenant,
        id: id.clone(),
        restart_as: restart_as.clone(),
        idempotency: body.idempotency,
        watch: wait.is_some(),
    };
    let started = call.app.engine.restart(request).await;
    let started = started.map_err(|error| match error {
        RestartError::Unknown => unknown(),
        RestartError::NotEnded(status) => Refusal::AlreadyExists {
            id: id.to_string(),
            status,
        }
        .into(),
        error => Refusal::of_restart(error, id.clone(), restart_as).into(),
    })?;
    let started = wait_for_started(&call.app, caller, &call.client, started, wait.unwrap_or_default()).await?;
    start::answer(call, caller, started)
}
