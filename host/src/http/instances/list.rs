//! Lists of instances, and the purge of many.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Purged;
use crate::{
    engine::api::PurgeFilter,
    http::{
        access::{Browse, Control, May},
        answers::PAGE_BYTES,
        body::EmptyBody,
        document::{Verbatim, tags, time, verbatim},
        error::Refusal,
        params::{FromParams, Given, Params},
        problem::Problem,
        state::App,
    },
    model::{InstanceId, InstanceStatus, Timestamp},
    store::{Cursor, InstanceSummary, ListFilter},
};

/// Default number of instances on a page.
const DEFAULT_PAGE: u32 = 100;

/// Maximum number of instances on a page.
const MAX_PAGE: u32 = 1_000;

/// Parameters of a list.
#[derive(Debug)]
pub(crate) struct ListParams {
    filter: ListFilter,
    parent: Option<InstanceId>,
    cursor: Option<Cursor>,
    limit: u32,
}

impl FromParams for ListParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        let filter = ListFilter {
            statuses: given.statuses("runtimeStatus")?,
            function: given.stored("name")?,
            id_prefix: given.text("instanceIdPrefix"),
            created_from: given.time("createdTimeFrom")?,
            // The end is exclusive in the store, and inclusive for clients, as in Durable Functions.
            created_to: given
                .time("createdTimeTo")?
                .map(|to| to.after(Duration::from_millis(1))),
            tags: given.filter_tags()?,
            parent: None,
            orphans_of: None,
        };
        Ok(Self {
            filter,
            parent: given.stored("parentInstanceId")?,
            cursor: given.parsed("cursor")?,
            limit: given.limit("limit", DEFAULT_PAGE, MAX_PAGE)?,
        })
    }
}

/// A page of instances.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstanceList {
    /// The instances, newest first.
    instances: Vec<ListedInstance>,
    /// If there may be more: the `cursor` of the next request with the same filters. A page that has it may be short or
    /// empty, because the size of a page and the number of instances examined for it are limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// An instance in a list: its status without input and output.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedInstance {
    /// The name of the orchestration function.
    name: String,
    /// The instance's id.
    instance_id: String,
    /// The status, as in `Instance`.
    runtime_status: &'static str,
    /// The custom status that the orchestration has set.
    custom_status: Verbatim,
    /// When it was created.
    created_time: String,
    /// When it last changed.
    last_updated_time: String,
    /// While it is `Pending`: when its first turn will run, if that is delayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_at: Option<String>,
    /// The id of the parent instance, if it is a sub-orchestration.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_instance_id: Option<String>,
    /// The tags that it was given at its start.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    tags: BTreeMap<String, String>,
}

impl From<InstanceSummary> for ListedInstance {
    fn from(row: InstanceSummary) -> Self {
        Self {
            name: row.function.to_string(),
            instance_id: row.id.to_string(),
            runtime_status: row.status.name(),
            custom_status: verbatim(row.custom_status),
            created_time: time(row.created_at),
            last_updated_time: time(row.updated_at),
            start_at: row.start_at.map(time),
            parent_instance_id: row.parent_id.map(|id| id.to_string()),
            tags: tags(&row.tags),
        }
    }
}

/// List instances, newest first.
///
/// An instance must match all filters. Paging neither repeats nor misses an instance that does not change. The last
/// page is the one without `nextCursor`; earlier pages may be short or empty, because the size of a page (4 MiB) and the
/// number of instances examined for it are limited.
#[utoipa::path(
    get, path = "/v1/instances", tag = "instances", operation_id = "listInstances",
    params(
        ("runtimeStatus" = Option<String>, Query, description = "Statuses, separated by commas", example = "Running,Pending"),
        ("name" = Option<String>, Query, description = "The orchestration function"),
        ("instanceIdPrefix" = Option<String>, Query, description = "A prefix of the id"),
        ("createdTimeFrom" = Option<String>, Query, description = "Created at or after this time"),
        ("createdTimeTo" = Option<String>, Query, description = "Created at or before this time"),
        ("tag" = Option<Vec<String>>, Query, description = "A tag that the instance has, `key:value`; may be given several times, then all must match", example = json!(["customer:ada"])),
        ("parentInstanceId" = Option<String>, Query, description = "Sub-orchestrations of this instance, even if it was purged"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of instances on the page (1 to 1000, default 100)"),
    ),
    responses(
        (status = 200, description = "A page", body = InstanceList),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-instance`: the parent", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    May { caller, .. }: May<Browse>,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let store = app.store(caller);
    let (from, limit) = (params.cursor.as_ref(), params.limit);
    let page = match params.parent {
        None => store.list(&params.filter, from, limit).await?,
        Some(parent) => store
            .list_children(&parent, params.filter, from, limit)
            .await?
            .ok_or(Refusal::UnknownInstance { id: parent })?,
    };
    let list = InstanceList {
        instances: page.instances.into_iter().map(Into::into).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    };
    room.json(StatusCode::OK, &list)
}

/// Parameters of a purge.
#[derive(Debug)]
pub(crate) struct PurgeParams {
    ended_before: Timestamp,
    statuses: Vec<InstanceStatus>,
    recursive: bool,
}

impl FromParams for PurgeParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        let missing = || Refusal::InvalidParameter {
            name: "endedBefore".into(),
            message: "is required: only instances that ended before it are removed".into(),
        };
        let ended_before = given.time("endedBefore")?.ok_or_else(missing)?;
        let mut statuses = given.statuses("runtimeStatus")?;
        if statuses.is_empty() {
            statuses.extend(InstanceStatus::ALL.into_iter().filter(|status| status.has_ended()));
        }
        if let Some(live) = statuses.iter().find(|status| !status.has_ended()) {
            return Err(Refusal::InvalidParameter {
                name: "runtimeStatus".into(),
                message: format!("contains a state that is not an ended one: {live}"),
            });
        }
        Ok(Self {
            ended_before,
            statuses,
            recursive: given.flag("recursive")?,
        })
    }
}

/// Remove instances that have ended.
///
/// With `recursive`, their sub-orchestrations are removed too, at every level, regardless of when and how these ended.
/// An instance stays if any instance below it has not ended.
#[utoipa::path(
    delete, path = "/v1/instances", tag = "instances", operation_id = "purgeInstances",
    params(
        ("endedBefore" = String, Query, description = "Only instances that ended before this time"),
        ("runtimeStatus" = Option<String>, Query, description = "Ended statuses, separated by commas; all if absent", example = "Completed"),
        ("recursive" = Option<bool>, Query, description = "Also remove their sub-orchestrations, at every level"),
    ),
    responses(
        (status = 200, description = "The number of removed instances", body = Purged),
        (status = 400, description = "`invalid-parameter`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn purge_many(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    Params(params): Params<PurgeParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<Json<Purged>, Refusal> {
    let PurgeParams {
        ended_before,
        statuses,
        recursive,
    } = params;
    let filter = PurgeFilter {
        statuses,
        ended_before,
        created: Timestamp(0)..Timestamp::MAX,
    };
    let (instances_deleted, left) = app.engine.purge_many(caller.tenant, filter, recursive).await?;
    Ok(Json(Purged {
        instances_deleted,
        instances_left: recursive.then_some(left),
    }))
}
