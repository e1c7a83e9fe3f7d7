//! Long operations: started, then polled until they end.

use std::path::Path as Folder;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{ApiError, Json, Path};
use crate::journal::Journal;
use crate::once::{IdempotencyKey, Once};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    ("POST", "/operations", "starts a slow operation"),
    ("GET", "/operations/{id}", "its status; each call counts as a poll"),
];

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationRequest {
    /// What to do, for example `render-report`. Returned in the result.
    kind: String,
    /// Pending until polled this often …
    #[serde(default)]
    polls: u32,
    /// … and until this many seconds have passed.
    #[serde(default)]
    seconds: f64,
    /// How the operation ends.
    #[serde(default)]
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    #[default]
    Done,
    Failed,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    operation_id: String,
    started_at_ms: u64,
}

pub(crate) struct Operations {
    started: Once<OperationRequest, Operation>,
    /// By operation id.
    polls: Journal<u32>,
}

impl Operations {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self {
            started: Once::open(folder, "operations")?,
            polls: Journal::open(folder, "operation-polls")?,
        })
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.started.clear()?;
        self.polls.clear()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/operations", post(start))
        .route("/operations/{id}", get(status))
}

async fn start(
    State(world): State<Arc<World>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<OperationRequest>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Value>), ApiError> {
    if !(0.0..=86_400.0).contains(&request.seconds) {
        return Err(ApiError::bad_request(
            "bad_seconds",
            "seconds must be between 0 and 86400",
        ));
    }
    let operation = world.operations.started.answer(key, request, |_, before| {
        Ok(Operation {
            operation_id: format!("op-{:05}", before.len() + 1),
            started_at_ms: now_ms(),
        })
    })?;
    let id = operation.answer.operation_id;
    let status_url = format!("/operations/{id}");
    let body = Json(json!({ "operationId": id, "status": "pending", "statusUrl": status_url }));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, status_url)], body))
}

async fn status(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let operation = world
        .operations
        .started
        .all()
        .into_iter()
        .find(|done| done.answer.operation_id == id);
    let operation = operation.ok_or_else(|| ApiError::not_found(format!("there is no operation \"{id}\"")))?;
    let polls = world.operations.polls.change(&id, |polls| {
        let polls = polls.get(&id).copied().unwrap_or(0) + 1;
        (Some(polls), polls)
    })?;

    let elapsed_ms = now_ms().saturating_sub(operation.answer.started_at_ms);
    let request = operation.request;
    let mut body = json!({ "operationId": id, "status": "pending", "polls": polls });
    if polls > request.polls && elapsed_ms as f64 >= request.seconds * 1000.0 {
        match request.outcome {
            Outcome::Done => {
                body["status"] = "done".into();
                body["result"] = json!({ "kind": request.kind, "artifact": format!("{}/{id}", request.kind) });
            }
            Outcome::Failed => {
                body["status"] = "failed".into();
                body["error"] =
                    json!({ "code": "operation_failed", "message": format!("{} did not work out", request.kind) });
            }
        }
    }
    Ok(Json(body))
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as u64)
}
