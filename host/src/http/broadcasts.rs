//! Broadcasts: events for all instances that a filter selects.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    access::{Control, May},
    answers::PAGE_BYTES,
    body::{EmptyBody, PayloadBody},
    document::{Verbatim, time},
    error::Refusal,
    instances::filter,
    links::Base,
    page::{PageParams, cursor},
    params::{FromParams, Given, NoParams, Params},
    path::InPath,
    problem::Problem,
    state::App,
};
use crate::{
    engine::{BroadcastError, BroadcastRequest, LIVE},
    model::{Event, EventName, InstanceId, InstanceStatus},
    store::{BroadcastEnd, BroadcastSummary, ListFilter},
};

/// Parameters of a broadcast.
#[derive(Debug)]
pub(crate) struct BroadcastParams {
    event: EventName,
    filter: ListFilter,
    cursor: Option<String>,
    dry_run: bool,
}

impl FromParams for BroadcastParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        let invalid = |name: &str, message: String| Refusal::InvalidParameter {
            name: name.into(),
            message,
        };
        let event = given.parsed("event")?;
        let params = Self {
            event: event.ok_or_else(|| invalid("event", "is required: the name of the event".into()))?,
            filter: filter::selecting(given, None)?,
            cursor: given.text("cursor"),
            dry_run: given.flag("dryRun")?,
        };
        if params.cursor.is_some() && !params.dry_run {
            let message = "is only for dryRun: the host itself raises all events";
            return Err(invalid("cursor", message.into()));
        }
        if let Some(status) = params.filter.statuses.iter().find(|status| !LIVE.contains(status)) {
            let live = LIVE.map(InstanceStatus::name).join(", ");
            let message = format!("contains {status}, in which an instance gets no event; it may contain {live}");
            return Err(invalid("runtimeStatus", message));
        }
        Ok(params)
    }
}

/// A broadcast, and how far it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Broadcast)]
pub struct BroadcastDocument {
    /// Its id: the `Idempotency-Key` of the request, or generated.
    pub id: String,
    /// The name of the event.
    pub event: String,
    /// `Running`, `Finished`, `Cancelled`, or `Unreadable`: its row in the database is damaged, so it raises no more
    /// events.
    #[schema(example = "Running")]
    pub status: String,
    /// How many instances matched so far: `raised` and `skipped` together.
    pub matched: u64,
    /// How many instances have got the event.
    pub raised: u64,
    /// How many instances matched, but did not get the event: they ended in between, too much waits for them, or the
    /// event does not match what their orchestration declares.
    pub skipped: u64,
    /// When it was accepted.
    pub created_time: String,
    /// When it was finished or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_time: Option<String>,
    /// Why it is `Unreadable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A page of broadcasts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BroadcastList {
    /// The broadcasts, by id.
    broadcasts: Vec<BroadcastDocument>,
    /// If there may be more: the `cursor` of the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// The result of a dry run.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BroadcastDryRun)]
pub struct DryRunDocument {
    /// The number of instances that would get the event.
    pub instances: u64,
    /// If there may be more: the `cursor` of the next request with the same parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl From<BroadcastSummary> for BroadcastDocument {
    fn from(broadcast: BroadcastSummary) -> Self {
        let (finished_at, status, problem) = match broadcast.ended {
            None => (None, "Running", None),
            Some((at, BroadcastEnd::Finished)) => (Some(at), "Finished", None),
            Some((at, BroadcastEnd::Cancelled)) => (Some(at), "Cancelled", None),
            Some((at, BroadcastEnd::Unreadable(problem))) => (Some(at), "Unreadable", Some(problem)),
        };
        Self {
            id: broadcast.id,
            event: broadcast.event,
            status: status.into(),
            matched: broadcast.raised + broadcast.skipped,
            raised: broadcast.raised,
            skipped: broadcast.skipped,
            created_time: time(broadcast.created_at),
            finished_time: finished_at.map(time),
            problem,
        }
    }
}

/// Raise an event for many instances.
///
/// Each instance that exists when the broadcast is accepted, has not ended, and matches all filters when the broadcast
/// reaches it gets the event exactly once. The host does this by itself, also after a crash; `GET` shows how far it is.
/// Without any filter, `all=true` is required. A repeated request with the same `Idempotency-Key` returns the broadcast
/// of the first, for seven days after its end. With `dryRun`, nothing is raised, and the instances are counted.
#[utoipa::path(
    post, path = "/v1/broadcasts", tag = "instances", operation_id = "broadcastEvent",
    params(
        ("event" = String, Query, description = "The event's name"),
        ("runtimeStatus" = Option<String>, Query, description = "Statuses, separated by commas: `Pending`, `Running`, `Suspended`, `Stuck`; all four if absent", example = "Running,Pending"),
        ("name" = Option<String>, Query, description = "The orchestration function"),
        ("instanceIdPrefix" = Option<String>, Query, description = "A prefix of the id"),
        ("createdTimeFrom" = Option<String>, Query, description = "Created at or after this time"),
        ("createdTimeTo" = Option<String>, Query, description = "Created at or before this time"),
        ("lastUpdatedTimeFrom" = Option<String>, Query, description = "Changed at or after this time"),
        ("lastUpdatedTimeTo" = Option<String>, Query, description = "Last changed at or before this time"),
        ("tag" = Option<Vec<String>>, Query, description = "A tag that the instance has, `key:value`; may be given several times, then all must match"),
        ("all" = Option<bool>, Query, description = "Select all instances; required if there is no filter"),
        ("dryRun" = Option<bool>, Query, description = "Raise nothing, and count the instances"),
        ("cursor" = Option<String>, Query, description = "With `dryRun`: `nextCursor` of the previous request"),
        ("Idempotency-Key" = Option<String>, Header, description = "The id of the broadcast; a repeated request with the same key has no further effect"),
    ),
    request_body(content = Verbatim, content_type = "application/json", description = "The payload; an empty body is `null`"),
    responses(
        (status = 200, description = "With `dryRun`: the number of instances", body = DryRunDocument),
        (status = 202, description = "Stored; the events will be raised", body = BroadcastDocument,
            headers(("location" = String, description = "The address of the broadcast"))),
        (status = 400, description = "`invalid-parameter`, `not-json`, …", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too-many-broadcasts`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    base: Base,
    Params(params): Params<BroadcastParams>,
    body: PayloadBody,
) -> Result<Response, Refusal> {
    let BroadcastParams {
        event,
        mut filter,
        cursor,
        dry_run,
    } = params;
    if dry_run {
        if filter.statuses.is_empty() {
            filter.statuses = LIVE.to_vec();
        }
        let cursor = app.position(caller, "cursor", cursor.as_deref())?;
        // For the pages of the list that it reads.
        let _room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
        let counted = app.engine.count(caller.tenant, &filter, cursor).await?;
        let document = DryRunDocument {
            instances: counted.instances,
            next_cursor: counted.next.map(|cursor| app.seal(caller, &cursor)),
        };
        return Ok(Json(document).into_response());
    }
    let id = body.idempotency.as_ref().map(|key| key.key.parse::<InstanceId>());
    if let Some(Err(error)) = id {
        let message = format!("is the id of the broadcast in its address, and {error}");
        return Err(Refusal::InvalidBroadcastId { message });
    }
    let request = BroadcastRequest {
        tenant: caller.tenant,
        event: Event {
            name: event,
            payload: body.payload,
        },
        filter,
        idempotency: body.idempotency,
    };
    let answer = app.engine.broadcast(request).await.map_err(Refusal::of_broadcast)?;
    let document = BroadcastDocument::from(answer.broadcast);
    let location = HeaderValue::from_str(&base.broadcast(&document.id))
        .map_err(|_| Refusal::Internal("an address contains characters that cannot go into a header".into()))?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(document)).into_response())
}

/// Get the progress of a broadcast.
///
/// A finished broadcast can be asked for during seven days.
#[utoipa::path(
    get, path = "/v1/broadcasts/{id}", tag = "instances", operation_id = "getBroadcast",
    params(("id" = String, Path, description = "The broadcast's id")),
    responses(
        (status = 200, description = "The broadcast", body = BroadcastDocument),
        (status = 404, description = "`unknown-broadcast`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(id): InPath<InstanceId>,
    Params(NoParams): Params<NoParams>,
) -> Result<Json<BroadcastDocument>, Refusal> {
    let found = app.store(caller).broadcast_summary(id.as_str()).await?;
    let broadcast = found.ok_or_else(|| Refusal::UnknownBroadcast { id: id.to_string() })?;
    Ok(Json(broadcast.into()))
}

/// List broadcasts, by id.
///
/// Those that have ended are listed for seven days.
#[utoipa::path(
    get, path = "/v1/broadcasts", tag = "instances", operation_id = "listBroadcasts",
    params(
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of broadcasts on the page (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "A page", body = BroadcastList),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    Params(page): Params<PageParams>,
) -> Result<Response, Refusal> {
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let found = app.store(caller).broadcasts(page.after(), page.limit).await?;
    let list = BroadcastList {
        broadcasts: found.broadcasts.into_iter().map(Into::into).collect(),
        next_cursor: found.next.map(cursor),
    };
    room.json(StatusCode::OK, &list)
}

/// Cancel a broadcast.
///
/// The events that it has raised stay raised; it raises no more. A repeated request has no further effect.
#[utoipa::path(
    post, path = "/v1/broadcasts/{id}/cancel", tag = "instances", operation_id = "cancelBroadcast",
    params(("id" = String, Path, description = "The broadcast's id")),
    responses(
        (status = 200, description = "It is cancelled", body = BroadcastDocument),
        (status = 404, description = "`unknown-broadcast`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`broadcast-ended`: it had ended before", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(id): InPath<InstanceId>,
    Params(NoParams): Params<NoParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<Json<BroadcastDocument>, Refusal> {
    match app.engine.cancel_broadcast(caller.tenant, id.as_str()).await? {
        None => Err(Refusal::UnknownBroadcast { id: id.to_string() }),
        Some((_, false)) => Err(Refusal::BroadcastEnded { id: id.to_string() }),
        Some((broadcast, true)) => Ok(Json(broadcast.into())),
    }
}

impl Refusal {
    /// Why a broadcast was refused.
    fn of_broadcast(error: BroadcastError) -> Self {
        match error {
            BroadcastError::KeyReused => Self::IdempotencyKeyReused,
            BroadcastError::TooMany(limit) => Self::TooManyBroadcasts { limit },
            // The tenant's keys are gone as well.
            BroadcastError::TenantGone => Self::Unauthenticated,
            BroadcastError::Quota(exceeded) => Self::QuotaExceeded(exceeded),
            BroadcastError::Store(error) => error.into(),
        }
    }
}
