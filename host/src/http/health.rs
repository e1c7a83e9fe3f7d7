//! Whether the host lives and whether it can work.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{error::Refusal, problem::Problem, state::App};

/// A sign of life.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok` or `ready`.
    status: &'static str,
    /// The version of the host.
    version: &'static str,
}

/// Whether the process answers. Restart it when this fails.
#[utoipa::path(
    get, path = "/healthz", tag = "host",
    responses((status = 200, description = "The process answers", body = Health)),
)]
pub(crate) async fn alive() -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Whether recovery has finished and the store can be written. Send no work while this fails.
#[utoipa::path(
    get, path = "/readyz", tag = "host",
    responses(
        (status = 200, description = "Ready for work", body = Health),
        (status = 503, description = "Not ready", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<Json<Health>, Refusal> {
    if app.stopping.is_cancelled() {
        return Err(Refusal::ShuttingDown);
    }
    app.engine.ready().await.map_err(|error| Refusal::NotReady {
        reason: error.to_string(),
    })?;
    Ok(Json(Health {
        status: "ready",
        version: env!("CARGO_PKG_VERSION"),
    }))
}
