//! The error log that workflows write to.

use std::path::Path as Folder;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ApiError, Json, Query};
use crate::once::{Answered, IdempotencyKey, Once};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    ("POST", "/errors", "appends to the error log"),
    ("GET", "/errors", "the error log, by ?source="),
];

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ErrorEntry {
    /// The subject of the entry: a workflow, an order, a file.
    source: String,
    error_type: String,
    message: String,
    #[serde(default)]
    details: Value,
}

pub(crate) struct ErrorLog(Once<ErrorEntry, ErrorEntry>);

impl ErrorLog {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self(Once::open(folder, "errors")?))
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new().route("/errors", post(append).get(list))
}

async fn append(
    State(world): State<Arc<World>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(entry): Json<ErrorEntry>,
) -> Result<Answered<ErrorEntry>, ApiError> {
    world.errors.0.answer(key, entry, |entry, _| Ok(entry.clone()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    source: Option<String>,
}

async fn list(State(world): State<Arc<World>>, Query(filter): Query<Filter>) -> Json<Vec<ErrorEntry>> {
    let mut entries = world.errors.0.answers();
    entries.retain(|entry| filter.source.as_ref().is_none_or(|source| *source == entry.source));
    Json(entries)
}
