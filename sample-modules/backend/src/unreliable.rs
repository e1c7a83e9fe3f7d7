//! A service that fails the first calls of each key, then works, to demonstrate retries.

use std::path::Path as Folder;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{ApiError, Json, Path};
use crate::journal::Journal;
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    (
        "POST",
        "/unreliable/{key}",
        "503 for the first calls of this key, then 200; or 422 for good",
    ),
    ("GET", "/unreliable/{key}", "how often this key was called"),
];

/// The number of calls by key.
pub(crate) struct Unreliable(Journal<u32>);

impl Unreliable {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self(Journal::open(folder, "unreliable")?))
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new().route("/unreliable/{key}", post(call).get(calls))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mood {
    /// The number of calls that fail before one succeeds.
    failures: u32,
    /// Fail with 422, which no retry can fix.
    #[serde(default)]
    permanent: bool,
}

async fn call(
    State(world): State<Arc<World>>,
    Path(key): Path<String>,
    Json(mood): Json<Mood>,
) -> Result<Json<Value>, ApiError> {
    let call = world.unreliable.0.change(&key, |calls| {
        let call = calls.get(&key).copied().unwrap_or(0) + 1;
        (Some(call), call)
    })?;
    if call > mood.failures {
        return Ok(Json(json!({ "key": key, "call": call })));
    }
    Err(match mood.permanent {
        true => ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "unprocessable",
            format!("call {call} makes no sense"),
        ),
        false => ApiError::unavailable("unreliable", format!("call {call} of \"{key}\" failed, try again")),
    })
}

async fn calls(State(world): State<Arc<World>>, Path(key): Path<String>) -> Json<Value> {
    Json(json!({ "key": key, "calls": world.unreliable.0.get(&key).unwrap_or(0) }))
}
