//! Lists of instances, and the purge of many.

use std::collections::BTreeMap;

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Purged, filter};
use crate::{
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
    model::{InstanceId, InstanceStatus},
    store::{InstanceSummary, ListFilter},
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
    cursor: Option<String>,
    limit: u32,
}

impl FromParams for ListParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            filter: filter::read(given)?,
            parent: given.stored("parentInstanceId")?,
            cursor: given.text("cursor"),
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
        ("lastUpdatedTimeFrom" = Option<String>, Query, description = "Changed at or after this time"),
        ("lastUpdatedTimeTo" = Option<String>, Query, description = "Last changed at or before this time"),
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
    let from = app.position(caller, "cursor", params.cursor.as_deref())?;
    let (from, limit) = (from.as_ref(), params.limit);
    let page = match params.parent {
        None => store.list(&params.filter, from, limit).await?,
        Some(parent) => store
            .list_children(&parent, params.filter, from, limit)
            .await?
            .ok_or(Refusal::UnknownInstance { id: parent })?,
    };
    let list = InstanceList {
        instances: page.instances.into_iter().map(Into::into).collect(),
        next_cursor: page.next.map(|cursor| app.seal(caller, &cursor)),
    };
    room.json(StatusCode::OK, &list)
}

/// Parameters of a purge.
#[derive(Debug)]
pub(crate) struct PurgeParams {
    filter: ListFilter,
    recursive: bool,
    cursor: Option<String>,
    dry_run: bool,
}

impl FromParams for PurgeParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        // An instance does not change after it has ended.
        let ended_before = given.time("endedBefore")?;
        let mut filter = filter::selecting(given, ended_before)?;
        let statuses = &mut filter.statuses;
        if let Some(live) = statuses.iter().find(|status| !status.has_ended()) {
            return Err(Refusal::InvalidParameter {
                name: "runtimeStatus".into(),
                message: format!("contains a state that is not an ended one: {live}"),
            });
        }
        if statuses.is_empty() {
            statuses.extend(InstanceStatus::ALL.into_iter().filter(|status| status.has_ended()));
        }
        Ok(Self {
            filter,
            recursive: given.flag("recursive")?,
            cursor: given.text("cursor"),
            dry_run: given.flag("dryRun")?,
        })
    }
}

/// Remove instances that have ended.
///
/// An instance must match all filters; without any, `all=true` is required. With `recursive`, their sub-orchestrations
/// are removed too, at every level, regardless of when and how these ended. An instance stays if any instance below it
/// has not ended. One request removes a bounded number: repeat it with `nextCursor` until there is none. With `dryRun`,
/// nothing is removed, and the instances that match are counted.
#[utoipa::path(
    delete, path = "/v1/instances", tag = "instances", operation_id = "purgeInstances",
    params(
        ("endedBefore" = Option<String>, Query, description = "Ended before this time"),
        ("runtimeStatus" = Option<String>, Query, description = "Ended statuses, separated by commas; all if absent", example = "Completed"),
        ("name" = Option<String>, Query, description = "The orchestration function"),
        ("instanceIdPrefix" = Option<String>, Query, description = "A prefix of the id"),
        ("createdTimeFrom" = Option<String>, Query, description = "Created at or after this time"),
        ("createdTimeTo" = Option<String>, Query, description = "Created at or before this time"),
        ("lastUpdatedTimeFrom" = Option<String>, Query, description = "Ended at or after this time"),
        ("lastUpdatedTimeTo" = Option<String>, Query, description = "Ended at or before this time"),
        ("tag" = Option<Vec<String>>, Query, description = "A tag that the instance has, `key:value`; may be given several times, then all must match"),
        ("all" = Option<bool>, Query, description = "Select all instances that have ended; required if there is no filter"),
        ("recursive" = Option<bool>, Query, description = "Also remove their sub-orchestrations, at every level"),
        ("dryRun" = Option<bool>, Query, description = "Remove nothing, and count the instances that match"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous request"),
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
        filter,
        recursive,
        cursor,
        dry_run,
    } = params;
    let cursor = app.position(caller, "cursor", cursor.as_deref())?;
    // For the pages of the list that it reads.
    let _room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    if dry_run {
        let counted = app.engine.count(caller.tenant, &filter, cursor).await?;
        return Ok(Json(Purged {
            instances_deleted: 0,
            instances_left: None,
            instances_matched: Some(counted.instances),
            next_cursor: counted.next.map(|cursor| app.seal(caller, &cursor)),
        }));
    }
    let purged = app.engine.purge_many(caller.tenant, &filter, recursive, cursor).await?;
    Ok(Json(Purged {
        instances_deleted: purged.purged,
        instances_left: recursive.then_some(purged.left),
        instances_matched: None,
        next_cursor: purged.next.map(|cursor| app.seal(caller, &cursor)),
    }))
}
