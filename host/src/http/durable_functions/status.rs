//! The status of one instance: `GET /instances/{instanceId}`.

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::{
    Call,
    document::{Shown, StatusDocument},
    error::Refused,
    history::{History, HistoryEvent},
};
use crate::{
    http::{access::Caller, answers::PAGE_BYTES, error::Refusal},
    model::{Action, InstanceId, InstanceStatus, TurnNumber},
    store::{FoundHistory, HistoryFilter, HistoryFrom, InstanceDetails},
};

/// How long a client should wait before it asks again, in seconds, as in the original.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// How many turns are read at once.
const TURNS_AT_ONCE: u32 = 1_000;

/// How many pages of turns are read for one answer.
const MAX_PAGES: u32 = 64;

pub(super) async fn get(call: &Call, id: InstanceId) -> Result<Response, Refused> {
    let caller = call.allow(Action::Read)?;
    let flag = |name, default| call.query.flag(name).unwrap_or(default);
    let shown = Shown {
        input: flag("showInput", true),
        results: flag("showHistoryOutput", false),
    };
    let with_history = flag("showHistory", false);
    let app = &call.app;
    let page = if with_history { PAGE_BYTES } else { 0 };
    let room = app.answers.room(caller.tenant, app.instance_bytes() + page).await?;
    let (details, events) = if with_history {
        with_events(call, caller, &id, shown).await?
    } else {
        let details = app.store(caller).instance(&id).await?;
        (details.ok_or(Refused::Status(StatusCode::NOT_FOUND))?, None)
    };
    let status = details.summary.status;
    let mut document = StatusDocument::new(details, shown);
    document.history_events = events.filter(|_| status != InstanceStatus::Pending);
    if status == InstanceStatus::Failed && flag("returnInternalServerErrorOnFailure", false) {
        return Ok(room.json(StatusCode::INTERNAL_SERVER_ERROR, &document)?);
    }
    if status.has_ended() {
        return Ok(room.json(StatusCode::OK, &document)?);
    }
    let location = format!("{}{}", call.base.as_str(), call.original.target);
    let location = HeaderValue::from_str(&location)
        .map_err(|_| Refusal::Internal("an address contains characters that cannot go into a header".into()))?;
    let mut response = room.json(StatusCode::ACCEPTED, &document)?;
    let headers = [(header::LOCATION, location), (header::RETRY_AFTER, RETRY_AFTER)];
    response.headers_mut().extend(headers);
    Ok(response)
}

/// The instance and the events of its current execution, read page by page. Turns that were added after the first page
/// was read do not count, so that status and history fit together.
async fn with_events(
    call: &Call,
    caller: Caller,
    id: &InstanceId,
    shown: Shown,
) -> Result<(InstanceDetails, Option<Vec<HistoryEvent>>), Refused> {
    let store = call.app.store(caller);
    let mut filter = HistoryFilter {
        from: HistoryFrom::Turn(TurnNumber::NONE),
        limit: TURNS_AT_ONCE,
    };
    let found = store.instance_with_history(id, &filter).await?;
    let (details, mut found) = found.ok_or(Refused::Status(StatusCode::NOT_FOUND))?;
    let last = details.summary.last_turn;
    let mut history = History::new(shown);
    for _ in 0..MAX_PAGES {
        let FoundHistory::Page(page) = found else {
            // The instance continued as new meanwhile, or another one has its id.
            break;
        };
        let reached = page.turns.last().map_or(last, |turn| turn.number);
        let rewinds = page.rewinds;
        let turns = page.turns.into_iter();
        let turns = turns.filter(|turn| turn.number <= last && !rewinds.supersede(turn.number));
        turns.for_each(|turn| history.add_turn(turn));
        let next = page.next.filter(|_| reached < last);
        let Some(next) = next else {
            return Ok((details, Some(history.into_events())));
        };
        if history.is_full() {
            break;
        }
        filter.from = HistoryFrom::Cursor(next);
        match store.instance_with_history(id, &filter).await? {
            Some((_, more)) => found = more,
            None => break,
        }
    }
    history.cut();
    Ok((details, Some(history.into_events())))
}
