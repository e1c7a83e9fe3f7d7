//! Moves of instances to the current version of their module.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    engine::MoveRequest,
    http::{
        access::{Control, May},
        body::EmptyBody,
        error::Refusal,
        params::{FromParams, Given, Params},
        path::InPath,
        problem::Problem,
        state::App,
    },
    model::InstanceId,
};

/// Parameters of a move.
#[derive(Debug)]
pub(crate) struct MoveParams {
    dry_run: bool,
}

impl FromParams for MoveParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            dry_run: given.flag("dryRun")?,
        })
    }
}

/// What became of a move.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Move)]
#[serde(rename_all = "camelCase")]
pub struct MoveDocument {
    /// The instance's id.
    pub instance_id: String,
    /// The digest of the module version on which the instance ran.
    pub from_digest: String,
    /// The digest of the current version.
    pub to_digest: String,
    /// Whether the instance changed its version: false for one that has the current version, and with `dryRun`.
    pub moved: bool,
}

/// Move an instance to the current version of its module.
///
/// An instance runs on the module version on which its execution started. This replays its history with the current
/// version of its function's module. If that repeats all recorded decisions, the instance goes on with it; otherwise it
/// stays, and the answer says where they differ. A suspended instance stays suspended; a stuck one runs again. With
/// `dryRun=true`, nothing changes. Repeating the request is safe.
#[utoipa::path(
    post, path = "/v1/instances/{id}/move", tag = "instances", operation_id = "moveInstance",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("dryRun" = Option<bool>, Query, description = "Only find out whether the history fits"),
    ),
    responses(
        (status = 200, description = "The history fits, and the instance was moved unless `dryRun` is set", body = MoveDocument),
        (status = 404, description = "`unknown-instance`, `unknown-function`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`history-misfit`, `is-entity`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`instance-ended`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`instance-busy`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn move_to_current(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(id): InPath<InstanceId>,
    Params(MoveParams { dry_run }): Params<MoveParams>,
    _: EmptyBody,
) -> Result<Json<MoveDocument>, Refusal> {
    let request = MoveRequest {
        tenant: caller.tenant,
        id: id.clone(),
        dry_run,
    };
    let moved = app.engine.move_instance(request).await;
    let moved = moved.map_err(|error| Refusal::of_move(error, id.clone()))?;
    Ok(Json(MoveDocument {
        instance_id: id.to_string(),
        from_digest: moved.from.to_string(),
        to_digest: moved.to.to_string(),
        moved: moved.moved,
    }))
}
