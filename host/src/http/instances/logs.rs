//! The log of an instance: lines written by its orchestration and its activities.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        access::{Browse, May},
        answers::PAGE_BYTES,
        document::time,
        error::Refusal,
        params::{FromParams, Given, Params},
        path::InPath,
        problem::Problem,
        state::App,
    },
    model::{InstanceId, LogLevel},
    store::{LogFilter, LogRow},
};

/// Default number of lines in one response.
const DEFAULT_LINES: u32 = 1_000;

/// Maximum number of lines in one response.
const MAX_LINES: u32 = 10_000;

/// Parameters of a log query.
#[derive(Debug)]
pub(crate) struct LogParams {
    at_least: LogLevel,
    after: Option<String>,
    limit: u32,
}

impl FromParams for LogParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            at_least: given.with("level", level)?.unwrap_or(LogLevel::Trace),
            after: given.text("after"),
            limit: given.limit("limit", DEFAULT_LINES, MAX_LINES)?,
        })
    }
}

fn level(text: &str) -> Result<LogLevel, String> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Ok(LogLevel::Trace),
        "debug" => Ok(LogLevel::Debug),
        "info" => Ok(LogLevel::Info),
        "warn" => Ok(LogLevel::Warn),
        "error" => Ok(LogLevel::Error),
        _ => Err(format!("must be trace, debug, info, warn or error, not {text:?}")),
    }
}

fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

/// Lines of a log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogPage {
    /// The lines, in the order in which they were stored.
    lines: Vec<LogLineDocument>,
    /// The `after` of the next request; absent if there were no lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One line of a log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LogLine)]
pub(crate) struct LogLineDocument {
    /// When it was written.
    time: String,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    level: &'static str,
    /// The text of the line.
    message: String,
    /// The execution that wrote it.
    execution: u32,
    /// The id of the activity call that wrote it; absent for the orchestration itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<u32>,
    /// The number of the attempt that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

impl From<LogRow> for LogLineDocument {
    fn from(LogRow { seq: _, line }: LogRow) -> Self {
        Self {
            time: time(line.at),
            level: level_name(line.level),
            message: line.message,
            execution: line.execution.0,
            task: line.task.map(|task| task.0),
            attempt: line.attempt,
        }
    }
}

/// Get the log of an instance.
///
/// A page ends at 4 MiB, so it may have fewer lines than `limit`. The log ends with the page that has no lines.
#[utoipa::path(
    get, path = "/v1/instances/{id}/logs", tag = "instances", operation_id = "getInstanceLogs",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("level" = Option<String>, Query, description = "Lines of this level or a more severe one: trace, debug, info, warn, error"),
        ("after" = Option<String>, Query, description = "`next` of an earlier page: the lines after it"),
        ("limit" = Option<u32>, Query, description = "Maximum number of lines (1 to 10000, default 1000)"),
    ),
    responses(
        (status = 200, description = "Lines in order", body = LogPage),
        (status = 400, description = "`invalid-parameter`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-instance`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    May { caller, .. }: May<Browse>,
    InPath(id): InPath<InstanceId>,
    Params(LogParams { at_least, after, limit }): Params<LogParams>,
) -> Result<Response, Refusal> {
    let filter = LogFilter {
        at_least,
        after: app.position(caller, "after", after.as_deref())?,
        limit,
    };
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let rows = app
        .store(caller)
        .logs(&id, &filter)
        .await?
        .ok_or(Refusal::UnknownInstance { id })?;
    let next = rows.last().map(|row| app.seal(caller, &row.seq));
    let page = LogPage {
        lines: rows.into_iter().map(Into::into).collect(),
        next,
    };
    room.json(StatusCode::OK, &page)
}
