//! The status of many instances: `GET /instances`.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    Call,
    document::{Shown, StatusDocument},
    error::{Refused, json},
    query::Statuses,
    start::ENTITY_MARK,
};
use crate::{
    http::{access::Caller, answers::PAGE_BYTES, error::Refusal},
    model::Action,
    store::{ANSWER_BYTES, Cursor, InstanceSummary, ListFilter},
};

/// The header with which a client continues, in answers and requests.
const TOKEN: HeaderName = HeaderName::from_static("x-ms-continuation-token");

/// Default number of instances on a page.
const DEFAULT_PAGE: u32 = 100;

/// Maximum number of instances on a page, whatever the request asks for.
const MAX_PAGE: u32 = 1_000;

/// The page ends when its documents have this many bytes: half as many as other pages, because they are in memory next
/// to the summaries.
const DOCUMENT_BYTES: usize = ANSWER_BYTES / 2;

/// Where a page begins, according to the token of the request.
enum From {
    Beginning,
    Place(Cursor),
    /// The token is the empty one of a last page.
    End,
}

pub(super) async fn list(call: &Call) -> Result<Response, Refused> {
    let caller = call.allow(Action::Browse)?;
    let from = match from(call, caller)? {
        From::Beginning => None,
        From::Place(cursor) => Some(cursor),
        From::End => return Ok(json(StatusCode::OK, &[(); 0])),
    };
    let statuses = match call.query.statuses() {
        Statuses::Any | Statuses::Unknown => Vec::new(),
        Statuses::These(statuses) if statuses.is_empty() => return Ok(json(StatusCode::OK, &[(); 0])),
        Statuses::These(statuses) => statuses,
    };
    let filter = ListFilter {
        statuses,
        id_prefix: call.query.text("instanceIdPrefix").map(str::to_owned),
        created_from: call.query.time("createdTimeFrom"),
        // The end is exclusive in the store, and inclusive for clients.
        created_to: call
            .query
            .time("createdTimeTo")
            .map(|to| to.after(Duration::from_millis(1))),
        ..ListFilter::default()
    };
    let limit = call.query.count("top").map_or(DEFAULT_PAGE, |top| top.min(MAX_PAGE));
    let shown = Shown {
        input: call.query.flag("showInput").unwrap_or(true),
        results: false,
    };
    let app = &call.app;
    let room = app
        .answers
        .room(caller.tenant, PAGE_BYTES + 2 * app.instance_bytes())
        .await?;
    let page = app.store(caller).list(&filter, from.as_ref(), limit).await?;
    let (documents, full_at) = documents(call, caller, page.instances, shown).await?;
    let mut response = room.json(StatusCode::OK, &documents)?;
    if let Some(next) = full_at.or(page.next) {
        let token = HeaderValue::from_str(&app.seal(caller, &next))
            .map_err(|_| Refusal::Internal("a token contains characters that cannot go into a header".into()))?;
        response.headers_mut().insert(TOKEN, token);
    }
    Ok(response)
}

fn from(call: &Call, caller: Caller) -> Result<From, Refused> {
    let Some(token) = call.headers.get(TOKEN) else {
        return Ok(From::Beginning);
    };
    let text = token.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(From::End);
    }
    let cursor = call.app.positions.open(caller.tenant, text);
    cursor
        .map(From::Place)
        .ok_or_else(|| Refused::argument("the continuation token is not one of an earlier page"))
}

/// The documents of the instances; and if they take too many bytes, those of the first ones and where the others begin.
/// An instance that was purged or replaced meanwhile is left out.
async fn documents(
    call: &Call,
    caller: Caller,
    instances: Vec<InstanceSummary>,
    shown: Shown,
) -> Result<(Vec<StatusDocument>, Option<Cursor>), Refused> {
    let store = call.app.store(caller);
    let (mut documents, mut bytes) = (Vec::new(), 0);
    let mut left = instances.into_iter().peekable();
    while let Some(summary) = left.next() {
        let number = summary.number;
        // Ids with this beginning belong to entities.
        if summary.id.as_str().starts_with(ENTITY_MARK) {
            continue;
        }
        let document = if shown.input || summary.status.has_ended() {
            let details = store.instance(&summary.id).await?;
            let Some(details) = details.filter(|details| details.summary.number == number) else {
                continue;
            };
            StatusDocument::new(details, shown)
        } else {
            StatusDocument::of_summary(summary)
        };
        bytes += document.bytes();
        documents.push(document);
        if bytes >= DOCUMENT_BYTES && left.peek().is_some() {
            return Ok((documents, Some(Cursor::below(number))));
        }
    }
    Ok((documents, None))
}
