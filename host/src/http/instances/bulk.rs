//! Control of many instances that a filter selects.

use std::str::FromStr;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{control::reason, filter};
use crate::{
    engine::{BulkRequest, ControlAction},
    http::{
        access::{Control, May},
        answers::PAGE_BYTES,
        body::EmptyBody,
        error::Refusal,
        params::{FromParams, Given, Params},
        path::InPath,
        problem::Problem,
        state::App,
    },
    model::InstanceStatus,
    store::ListFilter,
};

/// Parameters of an operation on many instances.
#[derive(Debug)]
pub(crate) struct BulkParams {
    filter: ListFilter,
    reason: String,
    cursor: Option<String>,
    dry_run: bool,
}

impl FromParams for BulkParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            filter: filter::selecting(given, None)?,
            reason: reason(given)?,
            cursor: given.text("cursor"),
            dry_run: given.flag("dryRun")?,
        })
    }
}

impl FromStr for ControlAction {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "terminate" => Ok(Self::Terminate),
            "cancel" => Ok(Self::Cancel),
            "suspend" => Ok(Self::Suspend),
            "resume" => Ok(Self::Resume),
            "rewind" => Ok(Self::Rewind),
            _ => Err("must be terminate, cancel, suspend, resume or rewind"),
        }
    }
}

/// How many instances a request has reached.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Bulk)]
pub struct BulkDocument {
    /// The number of instances that got the message, or with `dryRun` would have got it.
    pub instances: u64,
    /// If there may be more: the `cursor` of the next request with the same parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Terminate, cancel, suspend, resume or rewind many instances.
///
/// The action is `terminate`, `cancel`, `suspend` (pending and running instances), `resume` (suspended and stuck ones) or `rewind`
/// (failed ones, except those that cannot be rewound again). An instance must match all filters; without any, `all=true` is required. One request reaches at most 1000 instances,
/// newest first: repeat it with `nextCursor` until there is none. Instances that are created meanwhile are not reached.
/// After a failure, the same request does the rest. With `dryRun`, nothing is changed, and the instances are counted.
#[utoipa::path(
    post, path = "/v1/bulk/{action}", tag = "instances", operation_id = "controlInstances",
    params(
        ("action" = String, Path, description = "`terminate`, `cancel`, `suspend`, `resume` or `rewind`"),
        ("runtimeStatus" = Option<String>, Query, description = "Statuses, separated by commas; all in which the action changes something if absent", example = "Running,Pending"),
        ("name" = Option<String>, Query, description = "The orchestration function"),
        ("instanceIdPrefix" = Option<String>, Query, description = "A prefix of the id"),
        ("createdTimeFrom" = Option<String>, Query, description = "Created at or after this time"),
        ("createdTimeTo" = Option<String>, Query, description = "Created at or before this time"),
        ("lastUpdatedTimeFrom" = Option<String>, Query, description = "Changed at or after this time"),
        ("lastUpdatedTimeTo" = Option<String>, Query, description = "Last changed at or before this time"),
        ("tag" = Option<Vec<String>>, Query, description = "A tag that the instance has, `key:value`; may be given several times, then all must match"),
        ("all" = Option<bool>, Query, description = "Select all instances; required if there is no filter"),
        ("reason" = Option<String>, Query, description = "The reason; it is recorded"),
        ("dryRun" = Option<bool>, Query, description = "Change nothing, and count the instances"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous request"),
    ),
    responses(
        (status = 200, description = "Stored; it takes effect soon", body = BulkDocument),
        (status = 400, description = "`invalid-parameter`, `invalid-path`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn control(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(action): InPath<ControlAction>,
    Params(params): Params<BulkParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<Json<BulkDocument>, Refusal> {
    let BulkParams {
        filter,
        reason,
        cursor,
        dry_run,
    } = params;
    let mut statuses = filter.statuses.iter();
    if let Some(status) = statuses.find(|status| !action.changes().contains(status)) {
        let changes = action.changes().iter().copied().map(InstanceStatus::name);
        let changes = changes.collect::<Vec<_>>().join(", ");
        return Err(Refusal::InvalidParameter {
            name: "runtimeStatus".into(),
            message: format!("contains {status}, in which this changes nothing; it may contain {changes}"),
        });
    }
    let request = BulkRequest {
        tenant: caller.tenant,
        action,
        reason,
        filter,
        from: app.position(caller, "cursor", cursor.as_deref())?,
        dry_run,
    };
    // For the pages of the list that it reads.
    let _room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let done = app.engine.control_many(request).await?;
    Ok(Json(BulkDocument {
        instances: done.instances,
        next_cursor: done.next.map(|cursor| app.seal(caller, &cursor)),
    }))
}
