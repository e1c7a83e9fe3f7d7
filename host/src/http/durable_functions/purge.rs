//! Removes instances that have ended: `DELETE /instances/{instanceId}` and `DELETE /instances`.

use std::time::Duration;

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};
use http::StatusCode;

use super::{
    Call,
    error::{Refused, json},
    query::Statuses,
};
use crate::{
    http::{body::EmptyBody, error::Refusal, idempotency, instances::Purged},
    model::{Action, InstanceId, InstanceStatus},
    store::ListFilter,
};

/// Removes one instance, without its sub-orchestrations.
pub(super) async fn one(call: &Call, id: InstanceId, request: Request) -> Result<Response, Refused> {
    let caller = call.allow(Action::Control)?;
    EmptyBody::from_request(request, &call.app).await?;
    let purged = call.app.engine.purge(caller.tenant, &id).await;
    purged.map_err(|error| Refusal::of_purge(error, id))?;
    Ok(answer(1))
}

/// Removes all instances that were created within a time and have one of some statuses.
pub(super) async fn many(call: &Call, request: Request) -> Result<Response, Refused> {
    let caller = call.allow(Action::Control)?;
    EmptyBody::from_request(request, &call.app).await?;
    let bad = |message: &str| Refused::Text(StatusCode::BAD_REQUEST, message.into());
    let from = call.query.time("createdTimeFrom");
    let from =
        from.ok_or_else(|| bad("createdTimeFrom is required, and must be a time such as 2026-01-31T12:00:00Z"))?;
    let to = call.query.time("createdTimeTo").unwrap_or_else(idempotency::now);
    let statuses = match call.query.statuses() {
        Statuses::Any => InstanceStatus::ALL.into(),
        Statuses::These(statuses) => statuses,
        // The original would remove the instances of all statuses.
        Statuses::Unknown => return Err(bad("runtimeStatus names no status; nothing was removed")),
    };
    let filter = ListFilter {
        statuses: statuses.into_iter().filter(|status| status.has_ended()).collect(),
        created_from: Some(from),
        // Both ends are included.
        created_to: Some(to.after(Duration::from_millis(1))),
        ..ListFilter::default()
    };
    // Without statuses, the filter would select all of them.
    if filter.statuses.is_empty() || filter.created_from >= filter.created_to {
        return Err(Refused::Status(StatusCode::NOT_FOUND));
    }
    let (mut purged, mut cursor) = (0, None);
    // Clients of the original do not know of cursors.
    loop {
        let piece = call.app.engine.purge_many(caller.tenant, &filter, false, cursor).await;
        let piece = piece.map_err(Refusal::from)?;
        purged += piece.purged;
        cursor = piece.next;
        if cursor.is_none() {
            break;
        }
    }
    match purged {
        0 => Err(Refused::Status(StatusCode::NOT_FOUND)),
        purged => Ok(answer(purged)),
    }
}

fn answer(instances_deleted: u64) -> Response {
    let purged = Purged {
        instances_deleted,
        ..Purged::default()
    };
    json(StatusCode::OK, &purged)
}
