//! A single instance: status and purge.

pub(crate) mod bulk;
pub(crate) mod cancel;
pub(crate) mod control;
pub(crate) mod document;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod moves;
pub(crate) mod restart;
pub(crate) mod rewind;
pub(crate) mod waiting;

use std::time::Duration;

use axum::{
    Json,
    extract::{OriginalUri, State},
    response::Response,
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::{
    document::InstanceDocument,
    history::{HistoryDocument, HistoryParams},
};
use super::{
    access::{Caller, Control, May, Read},
    answers::PAGE_BYTES,
    body::EmptyBody,
    error::Refusal,
    links::{Base, RETRY_AFTER_SECONDS},
    params::{FromParams, Given, Params},
    path::InPath,
    problem::Problem,
    state::App,
    wait_limit::Client,
};
use crate::{
    model::InstanceId,
    store::{FoundHistory, HistoryFilter, InstanceDetails},
};

/// Parameters of a status query.
#[derive(Debug)]
pub(crate) struct StatusParams {
    wait: Option<Duration>,
    history: HistoryParams,
    /// Whether to say what the instance waits for.
    waiting: bool,
}

impl FromParams for StatusParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            wait: given.wait()?,
            history: history::wanted(given)?,
            waiting: given.flag("waiting")?,
        })
    }
}

/// Get the status of an instance.
#[utoipa::path(
    get, path = "/v1/instances/{id}", tag = "instances", operation_id = "getInstance",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("wait" = Option<String>, Query, description = "Respond when the instance has ended, but after this time at the latest (at most 60s)", example = "20s"),
        ("waiting" = Option<bool>, Query, description = "Include what the instance waits for: activities, sub-orchestrations, timers, events, entities. Reads its history"),
        ("history" = Option<bool>, Query, description = "Include the turns of the current execution"),
        ("historyCursor" = Option<String>, Query, description = "With `history`: `historyCursor` of the previous page"),
        ("historyAfter" = Option<u32>, Query, description = "With `history`: only turns after this one, of the current execution"),
        ("historyLimit" = Option<u32>, Query, description = "With `history`: maximum number of turns (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "The instance has ended", body = InstanceDocument),
        (status = 202, description = "The instance has not ended", body = InstanceDocument,
            headers(("location" = String, description = "This address"), ("retry-after" = u32, description = "When to ask again, in seconds"))),
        (status = 400, description = "`invalid-path`, `invalid-parameter`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-instance`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`history-over`: the execution of `historyCursor` is over", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    May { caller, .. }: May<Read>,
    base: Base,
    client: Client,
    OriginalUri(uri): OriginalUri,
    InPath(id): InPath<InstanceId>,
    Params(params): Params<StatusParams>,
) -> Result<Response, Refusal> {
    let turns = params.history.filter(&app, caller)?;
    let wait = params.wait.unwrap_or_default();
    wait_for_end(&app, caller, &client, &id, wait).await?;
    let page = if turns.is_some() || params.waiting {
        PAGE_BYTES
    } else {
        0
    };
    let room = app.answers.room(caller.tenant, app.instance_bytes() + page).await?;
    let (details, history) = look(&app, caller, &id, turns).await?;
    let waiting = match params.waiting {
        true => app.engine.waiting_for(caller.tenant, &id).await?,
        false => None,
    };
    // The newer of the two states.
    let (details, waiting) = waiting.map_or((details, None), |(details, waiting)| (details, Some(waiting)));
    let ended = details.summary.status.has_ended();
    let held = app.engine.tenancy().hold(caller.tenant);
    let document = InstanceDocument::with_history(details, history)
        .waiting(waiting.filter(|_| !ended))
        .held(held);
    if ended {
        return room.json(StatusCode::OK, &document);
    }
    let mut response = room.json(StatusCode::ACCEPTED, &document)?;
    let mut location = base.instance(&id);
    if let Some(query) = uri.query() {
        location = format!("{location}?{query}");
    }
    let location = HeaderValue::from_str(&location)
        .map_err(|_| Refusal::Internal("an address contains characters that cannot go into a header".into()))?;
    let headers = [(header::LOCATION, location), (header::RETRY_AFTER, RETRY_AFTER_SECONDS)];
    response.headers_mut().extend(headers);
    Ok(response)
}

/// Returns when the instance has ended or does not exist, the time is up, the host begins to shut down, or there is no
/// room for another wait.
///
/// # Errors
/// If the store fails, or the key of the request is revoked.
pub(crate) async fn wait_for_end(
    app: &App,
    caller: Caller,
    client: &Client,
    id: &InstanceId,
    wait: Duration,
) -> Result<(), Refusal> {
    if wait.is_zero() {
        return Ok(());
    }
    // A request about an instance that has ended does not use up the room for waits.
    let summary = app.store(caller).summary(id).await?;
    if summary.is_none_or(|summary| summary.status.has_ended()) {
        return Ok(());
    }
    let Some(waiting) = app.waits.begin(caller.tenant, client) else {
        return Ok(());
    };
    tokio::select! {
        biased;
        () = app.stopping.cancelled() => {}
        () = waiting.must_end() => {}
        refusal = client.credentials.revoked(app.engine.tenancy()) => return Err(refusal),
        () = app.engine.wait_for_end(caller.tenant, id, wait) => {}
    }
    Ok(())
}

/// The instance and the requested turns, from one snapshot.
async fn look(
    app: &App,
    caller: Caller,
    id: &InstanceId,
    wanted: Option<HistoryFilter>,
) -> Result<(InstanceDetails, Option<HistoryDocument>), Refusal> {
    let (store, unknown) = (app.store(caller), || Refusal::UnknownInstance { id: id.clone() });
    let Some(wanted) = wanted else {
        return Ok((store.instance(id).await?.ok_or_else(unknown)?, None));
    };
    let (details, history) = store.instance_with_history(id, &wanted).await?.ok_or_else(unknown)?;
    match history {
        FoundHistory::Page(page) => Ok((details, Some(HistoryDocument::new(page, app, caller)))),
        FoundHistory::Over => Err(Refusal::HistoryOver { id: id.clone() }),
    }
}

/// The result of a purge.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Purged {
    /// The number of purged instances.
    pub instances_deleted: u64,
    /// For recursive purges of many: the number of instances kept because sub-orchestrations below have not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances_left: Option<u64>,
    /// With `dryRun`: the number of instances that match. Nothing was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances_matched: Option<u64>,
    /// For purges of many, if there may be more: the `cursor` of the next request with the same parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Parameters of the purge of one instance.
#[derive(Debug)]
pub(crate) struct PurgeParams {
    recursive: bool,
}

impl FromParams for PurgeParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            recursive: given.flag("recursive")?,
        })
    }
}

/// Remove an ended instance with its history and logs.
///
/// With `recursive`, all its sub-orchestrations are removed too, at every level, if all of them have ended. Children
/// are removed before their parents: after a failure in the middle, the same request removes the rest.
#[utoipa::path(
    delete, path = "/v1/instances/{id}", tag = "instances", operation_id = "purgeInstance",
    params(
        ("id" = String, Path, description = "The instance's id"),
        ("recursive" = Option<bool>, Query, description = "Also remove its sub-orchestrations, at every level"),
    ),
    responses(
        (status = 200, description = "Removed", body = Purged),
        (status = 404, description = "`unknown-instance`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`instance-not-ended`, `children-not-ended`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn purge(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(id): InPath<InstanceId>,
    Params(PurgeParams { recursive }): Params<PurgeParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<Json<Purged>, Refusal> {
    let purged = if recursive {
        app.engine.purge_tree(caller.tenant, &id).await
    } else {
        app.engine.purge(caller.tenant, &id).await.map(|()| 1)
    };
    Ok(Json(Purged {
        instances_deleted: purged.map_err(|error| Refusal::of_purge(error, id))?,
        instances_left: None,
        instances_matched: None,
        next_cursor: None,
    }))
}
