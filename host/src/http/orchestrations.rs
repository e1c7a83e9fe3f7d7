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
    params::{FromParams, Given, Params, parse_duration, parse_time},
    path::InPath,
    problem::Problem,
    state::App,
    wait_limit::Client,
};
use crate::{
    engine::{
        Waiter,
        api::{StartAnswer, StartRequest, StartTime},
    },
    model::{FunctionName, InstanceId, Tags, Timestamp},
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
    start: StartTime,
    tags: Tags,
    wait: Option<Duration>,
}

impl FromParams for StartParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            instance_id: given.parsed("instanceId")?,
            start: start_time(given, "startAt", "startAfter")?,
            tags: given.tags()?,
            wait: given.wait()?,
        })
    }
}

/// The longest delay of a start: 100 years. Times of RFC 3339 end with the year 9999.
const MAX_START_DELAY: Duration = Duration::from_secs(36_525 * 24 * 60 * 60);

/// Reads a time or a delay, from the parameters with these names.
pub(super) fn start_time(
    given: &mut Given,
    at_name: &'static str,
    after_name: &'static str,
) -> Result<StartTime, Refusal> {
    let at = given.with(at_name, |text| match parse_time(text)? {
        at if at > Timestamp::LAST_WRITABLE => Err("must not be after the year 9999".into()),
        at => Ok(at),
    })?;
    let after = given.with(after_name, |text| match parse_duration(text)? {
        delay if delay > MAX_START_DELAY => Err("is at most 36525d".into()),
        delay => Ok(delay),
    })?;
    match (at, after) {
        (None, None) => Ok(StartTime::Now),
        (Some(at), None) => Ok(StartTime::At(at)),
        (None, Some(delay)) => Ok(StartTime::After(delay)),
        (Some(_), Some(_)) => Err(Refusal::InvalidParameter {
            name: after_name.into(),
            message: format!("cannot be combined with {at_name:?}"),
        }),
    }
}

/// Start an orchestration.
///
/// The response means that the instance is stored and will run. An ended instance with the same id is replaced.
///
/// With `startAt` or `startAfter`, it stays `Pending` until that time, on the module version that is current now. Until
/// then it can be suspended and terminated, and events that are raised for it wait.
#[utoipa::path(
    post, path = "/v1/orchestrations/{function}", tag = "orchestrations", operation_id = "startOrchestration",
    params(
        ("function" = String, Path, description = "The orchestration's name"),
        ("instanceId" = Option<String>, Query, description = "The id of the new instance; generated if absent"),
        ("startAt" = Option<String>, Query, description = "Run nothing before this time (RFC 3339); a time in the past means now", example = "2026-01-31T12:00:00Z"),
        ("startAfter" = Option<String>, Query, description = "Instead of `startAt`: run nothing until this time has passed", example = "90m"),
        ("tag" = Option<Vec<String>>, Query, description = "A tag, `key:value`; may be given up to 16 times", example = json!(["customer:ada"])),
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
    let wanted = params.instance_id.clone();
    let request = StartRequest {
        instance_id: params.instance_id,
        start: params.start,
        tags: params.tags,
        idempotency: body.idempotency,
        watch: params.wait.is_some(),
        ..StartRequest::new(caller.tenant, function, body.payload)
    };
    let started = app.engine.start(request).await;
    let started = started.map_err(|error| Refusal::of_start(error, wanted.as_ref()))?;
    answer_to_start(&app, caller, &base, &client, started, params.wait).await
}

/// The answer to a start: the links of the instance, or with `wait` its status if it ends in time.
pub(super) async fn answer_to_start(
    app: &App,
    caller: Caller,
    base: &Base,
    client: &Client,
    started: StartAnswer,
    wait: Option<Duration>,
) -> Result<Response, Refusal> {
    let started = wait_for_started(app, caller, client, started, wait.unwrap_or_default()).await?;
    let mut response = match started.ended {
        Some(details) => {
            let room = app.answers.room_for_change(caller.tenant, app.instance_bytes());
            room.json(StatusCode::OK, &InstanceDocument::from(details))?
        }
        None => accepted(base, &started.id)?,
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
    wait_for_started(app, caller, client, started, wait).await
}

/// Waits for the end of an instance that was started, for at most `wait`.
pub(crate) async fn wait_for_started(
    app: &App,
    caller: Caller,
    client: &Client,
    started: StartAnswer,
    wait: Duration,
) -> Result<StartedInstance, Refusal> {
    let id = started.instance_id;
    let ended = match started.end {
        Some(end) => {
            let ended = end_of(app, caller, client, &id, end, wait).await?;
            ended.map(|details| details.with_tags(started.tags))
        }
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
pub(super) fn accepted(base: &Base, id: &InstanceId) -> Result<Response, Refusal> {
    let links = InstanceLinks::new(base, id);
    let location = HeaderValue::from_str(&links.status_query_get_uri)
        .map_err(|_| Refusal::Internal("a link contains characters that cannot go into a header".into()))?;
    let headers = [(header::LOCATION, location), (header::RETRY_AFTER, RETRY_AFTER_SECONDS)];
    Ok((StatusCode::ACCEPTED, headers, Json(links)).into_response())
}
