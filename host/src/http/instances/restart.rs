//! Restarts of instances.

use std::time::Duration;

use axum::{extract::State, response::Response};

use super::document::InstanceDocument;
use crate::{
    engine::{RestartAs, RestartRequest},
    http::{
        access::{May, Start},
        body::EmptyBody,
        error::Refusal,
        links::{Base, InstanceLinks},
        orchestrations::answer_to_start,
        params::{FromParams, Given, Params},
        path::InPath,
        problem::Problem,
        state::App,
        wait_limit::Client,
    },
    model::InstanceId,
};

/// Parameters of a restart.
#[derive(Debug)]
pub(crate) struct RestartParams {
    restart_as: RestartAs,
    wait: Option<Duration>,
}

impl FromParams for RestartParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        let restart_as = match (given.flag("newId")?, given.parsed("instanceId")?) {
            (false, None) => RestartAs::SameId,
            (true, None) => RestartAs::NewId(None),
            (false, Some(id)) => RestartAs::NewId(Some(id)),
            (true, Some(_)) => {
                return Err(Refusal::InvalidParameter {
                    name: "newId".into(),
                    message: "cannot be combined with \"instanceId\"".into(),
                });
            }
        };
        Ok(Self {
            restart_as,
            wait: given.wait()?,
        })
    }
}

/// Run an instance again.
///
/// The orchestration starts with the same input (after continue-as-new, that of the last execution), on the current
/// version of its module. Under the same id, the new instance replaces the old one, which must have ended; under a new
/// id, the old one stays as it is. The new instance has no parent.
#[utoipa::path(
    post, path = "/v1/instances/{id}/restart", tag = "instances", operation_id = "restartInstance",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("newId" = Option<bool>, Query, description = "Start the new instance under a generated id"),
        ("instanceId" = Option<String>, Query, description = "Start the new instance under this id"),
        ("wait" = Option<String>, Query, description = "Respond with the status if the new instance ends within this time (at most 60s)", example = "20s"),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key gets the answer of the first one"),
    ),
    responses(
        (status = 202, description = "Accepted", body = InstanceLinks,
            headers(("location" = String, description = "Where its status is"), ("retry-after" = u32, description = "When to ask, in seconds"))),
        (status = 200, description = "With `wait`: the new instance has ended", body = InstanceDocument),
        (status = 400, description = "`invalid-input` (with `path`): the input does not fit the current version; `invalid-parameter`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-instance`, `unknown-function`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`instance-not-ended`: under the same id; `already-exists`: an instance with the new id has not ended", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn restart(
    State(app): State<App>,
    May { caller, .. }: May<Start>,
    base: Base,
    client: Client,
    InPath(id): InPath<InstanceId>,
    Params(RestartParams { restart_as, wait }): Params<RestartParams>,
    body: EmptyBody,
) -> Result<Response, Refusal> {
    let request = RestartRequest {
        tenant: caller.tenant,
        id: id.clone(),
        restart_as: restart_as.clone(),
        idempotency: body.idempotency,
        watch: wait.is_some(),
    };
    let started = app.engine.restart(request).await;
    let started = started.map_err(|error| Refusal::of_restart(error, id, restart_as))?;
    answer_to_start(&app, caller, &base, &client, started, wait).await
}
