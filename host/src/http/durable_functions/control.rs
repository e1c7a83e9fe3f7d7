//! Terminates, suspends and resumes an instance: `POST /instances/{instanceId}/terminate` and so on.

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};
use http::StatusCode;

use super::{
    Call,
    error::{Refused, empty},
};
use crate::{
    engine::api::Message,
    http::{body::EmptyBody, error::Refusal, instances::control::MAX_REASON_BYTES},
    model::{Action, InstanceId},
};

pub(super) async fn terminate(call: &Call, id: InstanceId, request: Request) -> Result<Response, Refused> {
    send(call, id, request, |reason| Message::Terminate { reason }).await
}

pub(super) async fn suspend(call: &Call, id: InstanceId, request: Request) -> Result<Response, Refused> {
    send(call, id, request, |reason| Message::Suspend { reason }).await
}

pub(super) async fn resume(call: &Call, id: InstanceId, request: Request) -> Result<Response, Refused> {
    send(call, id, request, |reason| Message::Resume { reason }).await
}

async fn send(
    call: &Call,
    id: InstanceId,
    request: Request,
    message: impl FnOnce(String) -> Message,
) -> Result<Response, Refused> {
    let caller = call.allow(Action::Control)?;
    let reason = reason(call)?;
    let body = EmptyBody::from_request(request, &call.app).await?;
    let sent = call
        .app
        .engine
        .send(caller.tenant, &id, message(reason), body.idempotency);
    sent.await.map_err(|error| Refusal::of_message(error, id))?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// The reason of a request; empty if it gives none.
pub(super) fn reason(call: &Call) -> Result<String, Refused> {
    let reason = call.query.text("reason").unwrap_or_default();
    if reason.len() > MAX_REASON_BYTES {
        let message = format!("the reason is longer than {MAX_REASON_BYTES} bytes");
        return Err(Refused::argument(message));
    }
    Ok(reason.to_owned())
}
