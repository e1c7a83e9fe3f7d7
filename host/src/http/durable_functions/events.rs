//! Raises an external event: `POST /instances/{instanceId}/raiseEvent/{eventName}`.

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};
use http::{HeaderMap, StatusCode, header};

use super::{
    Call,
    error::{Refused, empty},
};
use crate::{
    engine::api::Message,
    http::{body::PayloadBody, error::Refusal},
    model::{Action, Event, EventName, InstanceId},
};

/// What is wrong is looked for in the order of the original: the instance first, then the content type, then the body.
pub(super) async fn raise(call: &Call, id: InstanceId, name: &str, request: Request) -> Result<Response, Refused> {
    let caller = call.allow(Action::Signal)?;
    let body = match PayloadBody::from_request(request, &call.app).await {
        Err(refusal @ Refusal::NotJson { .. }) => Err(refusal),
        body => Ok(body?),
    };
    let instance = call.app.store(caller).addressee(&id).await?;
    let status = instance.ok_or(Refused::Status(StatusCode::NOT_FOUND))?.status;
    if status.has_ended() {
        return Err(Refusal::InstanceEnded { id, status }.into());
    }
    let name: EventName = name
        .parse()
        .map_err(|error| Refused::argument(format!("the name of the event {error}")))?;
    if !is_json(&call.headers) {
        return Err(Refused::argument(
            "the content type of an event must be application/json",
        ));
    }
    let body = body?;
    let event = Event {
        name,
        payload: body.payload,
    };
    let sent = call
        .app
        .engine
        .send(caller.tenant, &id, Message::Event(event), body.idempotency);
    sent.await.map_err(|error| Refusal::of_message(error, id))?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// Whether the content type is JSON, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
