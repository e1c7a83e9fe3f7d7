//! Starts orchestrations.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

use super::{
    access::{Caller, May, Start},
    body::PayloadBody,
    document::Verbatim,
    error::Refusal,
    instances::{document::InstanceDocument, wait_for_end},
    links::{Base, InstanceLinks, RETRY_AFTER_SECONDS},
    params::{FromParams, Given, Params},
    path::InPath,
    problem::Problem,
    state::App,
    wait_limit::Client,
};
use crate::{
    engine::{Waiter, api::StartRequest},
    model::{FunctionName, InstanceId},
    store::InstanceDetails,
};

/// Set on a response if its `Idempotency-Key` identifies the request as a repetition.
pub(crate) const REPLAYED: &str = "idempotent-replayed";

/// The value of [`REPLAYED`].
pub(crate) const REPLAYED_VALUE: HeaderValue = HeaderValue::from_static("true");

/// Parameters of a start.
#[derive(Debug)]
pub(crate) struct StartParams {
    instance_id: Option<InstanceId>,
    wait: Option<Duration>,
}

impl FromParams for StartParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            instance_id: given.parsed("instanceId")?,
            wait: given.wait()?,
        })
    }
}

/// Start an orchestration.
///
/// The response means that the instance is stored and will run. An ended instance with the same id is replaced.
#[utoipa::path(
    post, path = "/v1/orchestrations/{function}", tag = "orchestrations", operation_id = "startOrchestration",
    params(
        ("function" = String, Path, description = "The orchestration's name"),
        ("instanceId" = Option<String>, Query, description = "The id of the new instance; generated if absent"),
        ("wait" = Option<String>, Query, description = "Respond with the status if the instance ends within this time (at most 60s)", example = "20s"),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key gets the answer of the first one"),
    ),
    request_body(content = Verbatim, content_type = "application/json", description = "The input; an empty body is `null`"),
    responses(
        (status = 202, description = "Accepted", body = InstanceLinks,
            headers(("location" = String, description = "Where its status is"), ("retry-after" = u32, description = "When to ask, in seconds"))),
        (status = 200, description = "With `wait`: the instance has ended", body = InstanceDocument),
        (status = 400, description = "`invalid-input` (with `path`), `not-json`, `invalid-path`, `invalid-parameter`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-function`, with names `near` it", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`already-exists`: the instance has not ended", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn start(
    State(app): State<App>,
    May { caller, .. }: May<Start>,
    base: Base,
    client: Client,
    InPath(function): InPath<FunctionName>,
    Params(params): Params<StartParams>,
    body: PayloadBody,
) -> Result<Response, Refusal> {
    let request = StartRequest {
        tenant: caller.tenant,
        function,
        input: body.payload,
        instance_id: params.instance_id,
        idempotency: body.idempotency,
        watch: params.wait.is_some(),
    };
    let started = start_and_wait(&app, caller, &client, request, params.wait.unwrap_or_default()).await?;
    let mut response = match started.ended {
        Some(details) => {
            let room = app.answers.room_for_change(caller.tenant, app.instance_bytes());
            room.json(StatusCode::OK, &InstanceDocument::from(details))?
        }
        None => accepted(&base, &started.id)?,
    };
    if started.repeated {
        response.headers_mut().insert(REPLAYED, REPLAYED_VALUE);
    }
    Ok(response)
}

/// An instance that was started.
#[derive(Debug)]
pub(crate) struct StartedInstance {
    /// Its id.
    pub(crate) id: InstanceId,
    /// Whether the request repeats an earlier one with the same idempotency key, which started the instance.
    pub(crate) repeated: bool,
    /// The instance, if it ended in time.
    pub(crate) ended: Option<InstanceDetails>,
}

/// Starts an orchestration and waits for its end, for at most `wait`.
pub(crate) async fn start_and_wait(
    app: &App,
    caller: Caller,
    client: &Client,
    request: StartRequest,
    wait: Duration,
) -> Result<StartedInstance, Refusal> {
    let wanted = request.instance_id.clone();
    let started = app.engine.start(request).await;
    let started = started.map_err(|error| Refusal::of_start(error, wanted.as_ref()))?;
    let id = started.instance_id;
    let ended = match started.end {
        Some(end) => end_of(app, caller, client, &id, end, wait).await?,
        None if wait.is_zero() => None,
        None => match wait_for_end(app, caller, client, &id, wait).await {
            Ok(()) => app.store(caller).instance(&id).await?,
            // The instance has started nevertheless.
            Err(Refusal::Unauthenticated | Refusal::TenantDisabled) => None,
            Err(refusal) => return Err(refusal),
        },
    };
    Ok(StartedInstance {
        id,
        repeated: started.repeated,
        ended: ended.filter(|details| details.summary.status.has_ended()),
    })
}

/// The final status of the started instance; `None` if it did not end in time, the host begins to shut down, the key of
/// the request is revoked, or there is no room for another wait.
async fn end_of(
    app: &App,
    caller: Caller,
    client: &Client,
    id: &InstanceId,
    end: Waiter,
    wait: Duration,
) -> Result<Option<InstanceDetails>, Refusal> {
    let Some(waiting) = app.waits.begin(caller.tenant, client) else {
        return Ok(None);
    };
    let ended = tokio::select! {
        biased;
        ended = tokio::time::timeout(wait, end.end()) => ended,
        () = waiting.must_end() => return Ok(None),
        _ = client.credentials.revoked(app.engine.tenancy()) => return Ok(None),
        () = app.stopping.cancelled() => return Ok(None),
    };
    match ended {
        Ok(Some(details)) => Ok(Some(Arc::unwrap_or_clone(details))),
        // Its owner could not answer, but the store can.
        Ok(None) => Ok(app.store(caller).instance(id).await?),
        Err(_) => Ok(None),
    }
}

/// The response of an accepted start, with the address of the status.
fn accepted(base: &Base, id: &InstanceId) -> Result<Response, Refusal> {
    let links = InstanceLinks::new(base, id);
    let location = HeaderValue::from_str(&links.status_query_get_uri)
        .map_err(|_| Refusal::Internal("a link contains characters that cannot go into a header".into()))?;
    let headers = [(header::LOCATION, location), (header::RETRY_AFTER, RETRY_AFTER_SECONDS)];
    Ok((StatusCode::ACCEPTED, headers, Json(links)).into_response())
}
