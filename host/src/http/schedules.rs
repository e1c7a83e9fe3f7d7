//! Schedules: orchestrations that the host starts at regular times.

mod document;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use self::document::{ScheduleDocument, ScheduleRequest, note};
use super::{
    access::{Browse, May, Read, Start},
    answers::PAGE_BYTES,
    body::{EmptyBody, JsonBody},
    error::Refusal,
    links::{Base, InstanceLinks},
    page::{PageParams, cursor},
    params::{FromParams, Given, NoParams, Params},
    path::InPath,
    problem::Problem,
    state::App,
};
use crate::{
    engine::PutSchedule,
    model::{Overlap, ScheduleName},
};

/// A page of schedules.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScheduleList {
    /// The schedules, by name.
    schedules: Vec<ScheduleDocument>,
    /// If there are more: the `cursor` of the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Parameters of a creation.
#[derive(Debug)]
pub(crate) struct PutParams {
    if_absent: bool,
}

impl FromParams for PutParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            if_absent: given.flag("ifAbsent")?,
        })
    }
}

/// Create a schedule, or replace its definition.
///
/// What became of earlier times is kept when a definition is replaced, and the new one selects times from now on. A
/// definition that is the same changes nothing.
#[utoipa::path(
    put, path = "/v1/schedules/{schedule}", tag = "schedules", operation_id = "putSchedule",
    params(
        ("schedule" = String, Path, description = "The schedule's name"),
        ("ifAbsent" = Option<bool>, Query, description = "With `true`, a schedule of this name is not replaced: the request is refused"),
    ),
    request_body = ScheduleRequest,
    responses(
        (status = 201, description = "Created", body = ScheduleDocument),
        (status = 200, description = "Replaced, or the same as before", body = ScheduleDocument),
        (status = 400, description = "`invalid-schedule` (with `parameter`), `invalid-input` (with `path`), `invalid-body`, `invalid-path`, …", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`quota-exceeded`: the tenant has as many schedules as it may have", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-function`, with names `near` it", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`schedule-exists`, with `ifAbsent`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn put(
    State(app): State<App>,
    May { caller, .. }: May<Start>,
    InPath(name): InPath<ScheduleName>,
    Params(PutParams { if_absent }): Params<PutParams>,
    JsonBody(request): JsonBody<ScheduleRequest>,
) -> Result<Response, Refusal> {
    let (schedule, pause) = request.read(app.options.payload_bytes)?;
    let put = PutSchedule {
        tenant: caller.tenant,
        name,
        schedule,
        pause,
        must_be_new: if_absent,
    };
    let (row, is_new) = app.engine.put_schedule(put).await?;
    let room = app.answers.room_for_change(caller.tenant, app.instance_bytes());
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    room.json(status, &ScheduleDocument::full(&row, app.engine.now()))
}

/// List schedules, by name.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "schedules", operation_id = "listSchedules",
    params(
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of schedules on the page (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "A page", body = ScheduleList),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    May { caller, .. }: May<Browse>,
    Params(page): Params<PageParams>,
) -> Result<Response, Refusal> {
    let after = page.after().map(|after| {
        after.parse::<ScheduleName>().map_err(|_| Refusal::InvalidParameter {
            name: "cursor".into(),
            message: "is not a cursor from an earlier page".into(),
        })
    });
    let after = after.transpose()?;
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let found = app.store(caller).schedules(after.as_ref(), page.limit).await?;
    let now = app.engine.now();
    let list = ScheduleList {
        schedules: found
            .schedules
            .iter()
            .map(|row| ScheduleDocument::in_list(row, now))
            .collect(),
        next_cursor: found.next.map(cursor),
    };
    room.json(StatusCode::OK, &list)
}

/// Get a schedule: its definition, the next five times, and what became of the last ten.
#[utoipa::path(
    get, path = "/v1/schedules/{schedule}", tag = "schedules", operation_id = "getSchedule",
    params(("schedule" = String, Path, description = "The schedule's name")),
    responses(
        (status = 200, description = "The schedule", body = ScheduleDocument),
        (status = 400, description = "`invalid-path`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-schedule`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    May { caller, .. }: May<Read>,
    InPath(name): InPath<ScheduleName>,
    Params(NoParams): Params<NoParams>,
) -> Result<Response, Refusal> {
    let room = app.answers.room(caller.tenant, app.instance_bytes()).await?;
    let found = app.store(caller).schedule(&name).await?;
    let row = found.ok_or_else(|| Refusal::UnknownSchedule { name: name.to_string() })?;
    room.json(StatusCode::OK, &ScheduleDocument::full(&row, app.engine.now()))
}

/// Delete a schedule. Instances that it has started go on.
#[utoipa::path(
    delete, path = "/v1/schedules/{schedule}", tag = "schedules", operation_id = "deleteSchedule",
    params(("schedule" = String, Path, description = "The schedule's name")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "`unknown-schedule`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    May { caller, .. }: May<Start>,
    InPath(name): InPath<ScheduleName>,
    Params(NoParams): Params<NoParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<StatusCode, Refusal> {
    app.engine.delete_schedule(caller.tenant, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Parameters of a pause.
#[derive(Debug)]
pub(crate) struct PauseParams {
    note: String,
}

impl FromParams for PauseParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            note: given.with("note", note)?.unwrap_or_default(),
        })
    }
}

/// Pause a schedule.
///
/// It starts nothing until it is resumed. What comes due meanwhile is started then, if its catch-up window has not passed.
#[utoipa::path(
    post, path = "/v1/schedules/{schedule}/pause", tag = "schedules", operation_id = "pauseSchedule",
    params(
        ("schedule" = String, Path, description = "The schedule's name"),
        ("note" = Option<String>, Query, description = "A note for people, at most 500 bytes"),
    ),
    responses(
        (status = 200, description = "Paused", body = ScheduleDocument),
        (status = 404, description = "`unknown-schedule`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn pause(
    State(app): State<App>,
    May { caller, .. }: May<Start>,
    InPath(name): InPath<ScheduleName>,
    Params(PauseParams { note }): Params<PauseParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<Response, Refusal> {
    let row = app.engine.pause_schedule(caller.tenant, &name, &note).await?;
    let room = app.answers.room_for_change(caller.tenant, app.instance_bytes());
    room.json(StatusCode::OK, &ScheduleDocument::full(&row, app.engine.now()))
}

/// Resume a paused schedule.
#[utoipa::path(
    post, path = "/v1/schedules/{schedule}/resume", tag = "schedules", operation_id = "resumeSchedule",
    params(("schedule" = String, Path, description = "The schedule's name")),
    responses(
        (status = 200, description = "Resumed", body = ScheduleDocument),
        (status = 404, description = "`unknown-schedule`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn resume(
    State(app): State<App>,
    May { caller, .. }: May<Start>,
    InPath(name): InPath<ScheduleName>,
    Params(NoParams): Params<NoParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<Response, Refusal> {
    let row = app.engine.resume_schedule(caller.tenant, &name).await?;
    let room = app.answers.room_for_change(caller.tenant, app.instance_bytes());
    room.json(StatusCode::OK, &ScheduleDocument::full(&row, app.engine.now()))
}

/// Parameters of a start by hand.
#[derive(Debug)]
pub(crate) struct TriggerParams {
    overlap: Option<Overlap>,
}

impl FromParams for TriggerParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            overlap: given.parsed("overlap")?,
        })
    }
}

/// Start an instance of a schedule now, even if it is paused.
#[utoipa::path(
    post, path = "/v1/schedules/{schedule}/trigger", tag = "schedules", operation_id = "triggerSchedule",
    params(
        ("schedule" = String, Path, description = "The schedule's name"),
        ("overlap" = Option<String>, Query, description = "Instead of the schedule's policy: `allow`, `terminate`, `cancel`, or `skip` (the request is refused while the last instance has not ended)"),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key starts nothing again, and gets the id of the first instance"),
    ),
    responses(
        (status = 202, description = "Started", body = InstanceLinks,
            headers(("location" = String, description = "Where its status is"), ("retry-after" = u32, description = "When to ask, in seconds"))),
        (status = 404, description = "`unknown-schedule`, `unknown-function`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`schedule-overlaps`: the last instance has not ended", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn trigger(
    State(app): State<App>,
    May { caller, .. }: May<Start>,
    base: Base,
    InPath(name): InPath<ScheduleName>,
    Params(TriggerParams { overlap }): Params<TriggerParams>,
    EmptyBody { idempotency }: EmptyBody,
) -> Result<Response, Refusal> {
    let triggered = app.engine.trigger_schedule(caller.tenant, &name, overlap, idempotency);
    let id = triggered.await?;
    super::orchestrations::accepted(&base, &id)
}
