//! Starts an orchestration: `POST /orchestrators/{functionName}[/{instanceId}]`.

use std::time::Duration;

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};
use http::{HeaderValue, StatusCode, header};

use super::{
    Call,
    document::{Shown, StatusDocument},
    error::{Refused, json},
    links::Links,
    query::Query,
};
use crate::{
    engine::api::StartRequest,
    http::{
        access::Caller,
        body::PayloadBody,
        document::Verbatim,
        error::Refusal,
        orchestrations::{REPLAYED, REPLAYED_VALUE, StartedInstance, start_and_wait},
        params::MAX_WAIT,
    },
    model::{Action, FromStored as _, FunctionName, InstanceId, InstanceStatus},
};

/// How long a client should wait before it asks for the status, in seconds, as in the original.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("10");

/// The beginning of the ids of entities, which orchestrations cannot have.
pub(super) const ENTITY_MARK: char = '@';

pub(super) async fn start(
    call: &Call,
    function: &str,
    instance: Option<&str>,
    request: Request,
) -> Result<Response, Refused> {
    let caller = call.allow(Action::Start)?;
    let function = FunctionName::from_stored(function)
        .map_err(|error| Refused::argument(format!("the name of the orchestrator {error}")))?;
    let instance_id = instance.map(new_id).transpose()?;
    let wait = wait(&call.query)?;
    let body = PayloadBody::from_request(request, &call.app).await?;
    let request = StartRequest {
        instance_id,
        idempotency: body.idempotency,
        watch: wait.is_some(),
        ..StartRequest::new(caller.tenant, function, body.payload)
    };
    let started = start_and_wait(&call.app, caller, &call.client, request, wait.unwrap_or_default()).await?;
    answer(call, caller, started)
}

/// The id of a new instance.
fn new_id(text: &str) -> Result<InstanceId, Refused> {
    if text.starts_with(ENTITY_MARK) {
        return Err(Refused::argument("the instance id must not begin with '@'"));
    }
    text.parse()
        .map_err(|error| Refused::argument(format!("the instance id {error}")))
}

/// How long the request waits for the end of the instance, at most a minute.
pub(super) fn wait(query: &Query) -> Result<Option<Duration>, Refused> {
    let Some(timeout) = query.seconds("timeout") else {
        return Ok(None);
    };
    if query
        .seconds("pollingInterval")
        .is_some_and(|interval| interval > timeout)
    {
        return Err(Refused::argument("pollingInterval must not be longer than timeout"));
    }
    Ok(Some(timeout.min(MAX_WAIT)))
}

/// The output of an instance that completed in time, the status of one that ended otherwise, or the links of one that
/// still runs.
pub(super) fn answer(call: &Call, caller: Caller, started: StartedInstance) -> Result<Response, Refused> {
    let StartedInstance { id, repeated, ended } = started;
    let room = || {
        call.app
            .answers
            .room_for_change(caller.tenant, call.app.instance_bytes())
    };
    let mut response = match ended {
        None => accepted(call, caller, &id)?,
        Some(mut details) => match details.outcome.take() {
            Some(Ok(output)) if details.summary.status == InstanceStatus::Completed => {
                room().json(StatusCode::OK, &Verbatim(output))?
            }
            outcome => {
                details.outcome = outcome;
                room().json(StatusCode::OK, &StatusDocument::new(details, Shown::default()))?
            }
        },
    };
    if repeated {
        response.headers_mut().insert(REPLAYED, REPLAYED_VALUE);
    }
    Ok(response)
}

fn accepted(call: &Call, caller: Caller, id: &InstanceId) -> Result<Response, Refusal> {
    let mut urls = Links::new(call, caller).of(id.as_str());
    if call.query.flag("returnInternalServerErrorOnFailure") == Some(true) {
        urls.status_query_get_uri += "&returnInternalServerErrorOnFailure=true";
    }
    let location = HeaderValue::from_str(&urls.status_query_get_uri)
        .map_err(|_| Refusal::Internal("a link contains characters that cannot go into a header".into()))?;
    let mut response = json(StatusCode::ACCEPTED, &urls);
    let headers = [(header::LOCATION, location), (header::RETRY_AFTER, RETRY_AFTER)];
    response.headers_mut().extend(headers);
    Ok(response)
}
