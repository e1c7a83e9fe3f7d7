//! Entities: `/entities[/{entityName}[/{entityKey}]]`.

use std::time::Duration;

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{
    Call,
    error::{Refused, empty, json},
};
use crate::{
    engine::{OperateRequest, StartTime},
    http::{
        answers::PAGE_BYTES,
        body::PayloadBody,
        document::{Verbatim, time, verbatim},
        error::Refusal,
    },
    model::{Action, EntityId, FromStored as _, InstanceId, Payload, entity::entity_name},
    store::{EntityDetails, EntityFilter},
};

/// The header with which a client continues, in answers and requests.
const TOKEN: HeaderName = HeaderName::from_static("x-ms-continuation-token");

/// Default number of entities on a page.
const DEFAULT_PAGE: u32 = 100;

/// Maximum number of entities on a page, whatever the request asks for.
const MAX_PAGE: u32 = 1_000;

/// The spelling of the empty key in a path.
const EMPTY_KEY: &str = "$";

/// An entity in a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntityDocument {
    entity_id: EntityIdDocument,
    last_operation_time: String,
    /// `null` unless the states were asked for.
    state: Verbatim,
}

#[derive(Serialize)]
struct EntityIdDocument {
    name: String,
    key: String,
}

pub(super) async fn list(call: &Call, name: Option<&str>) -> Result<Response, Refused> {
    let caller = call.allow(Action::Browse)?;
    let after = match call
        .headers
        .get(TOKEN)
        .map(|token| token.to_str().unwrap_or("?").trim())
    {
        // The empty token of a last page.
        Some("") => return Ok(json(StatusCode::OK, &[(); 0])),
        Some(token) => Some(
            InstanceId::from_stored(token)
                .map_err(|_| Refused::argument("the continuation token is not one of an earlier page"))?,
        ),
        None => None,
    };
    let name = name.map(entity_name).transpose();
    let filter = EntityFilter {
        name: name.map_err(|error| Refused::argument(format!("the entity name {error}")))?,
        updated_from: call.query.time("lastOperationTimeFrom"),
        // The end is exclusive in the store, and inclusive for clients.
        updated_to: call
            .query
            .time("lastOperationTimeTo")
            .map(|to| to.after(Duration::from_millis(1))),
    };
    let limit = call.query.count("top").map_or(DEFAULT_PAGE, |top| top.min(MAX_PAGE));
    let with_state = call.query.flag("fetchState") == Some(true);
    let room = call.app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let page = call.app.store(caller).entities(&filter, after.as_ref(), limit).await?;
    let documents: Vec<_> = page
        .entities
        .into_iter()
        .filter(|found| found.entity.state.is_some())
        .filter_map(|found| {
            let id = EntityId::of(&found.id)?;
            Some(EntityDocument {
                entity_id: EntityIdDocument {
                    name: id.name().to_string(),
                    key: id.key().to_owned(),
                },
                last_operation_time: time(found.updated_at),
                state: verbatim(found.entity.state.filter(|_| with_state)),
            })
        })
        .collect();
    let mut response = room.json(StatusCode::OK, &documents)?;
    if let Some(next) = page.next {
        let token = HeaderValue::from_bytes(next.as_str().as_bytes())
            .map_err(|_| Refusal::Internal("a token contains characters that cannot go into a header".into()))?;
        response.headers_mut().insert(TOKEN, token);
    }
    Ok(response)
}

/// The state; 404 without one.
pub(super) async fn get(call: &Call, name: &str, key: &str) -> Result<Response, Refused> {
    let caller = call.allow(Action::Read)?;
    let entity = entity(name, key)?;
    let room = call.app.answers.room(caller.tenant, call.app.instance_bytes()).await?;
    let found = call.app.store(caller).entity(&entity.instance_id()).await?;
    match found.and_then(|EntityDetails { entity, .. }| entity.state) {
        Some(state) => Ok(room.json(StatusCode::OK, &Verbatim(state))?),
        None => Err(Refused::Status(StatusCode::NOT_FOUND)),
    }
}

/// Signals the operation of the parameter `op`. A body that is not declared as JSON is a text.
pub(super) async fn signal(call: &Call, name: &str, key: &str, mut request: Request) -> Result<Response, Refused> {
    let caller = call.allow(Action::Signal)?;
    let entity = entity(name, key)?;
    let is_json = call
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_none_or(|kind| {
            kind.split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .eq_ignore_ascii_case("application/json")
        });
    if !is_json {
        let (parts, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, call.app.options.payload_bytes)
            .await
            .map_err(|_| Refused::argument("the body is too large or was cut off"))?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| Refused::argument("the body is not UTF-8"))?;
        let body = if text.is_empty() {
            String::new()
        } else {
            Payload::of(&text).to_string()
        };
        request = Request::from_parts(parts, body.into());
        request.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let body = PayloadBody::from_request(request, &call.app).await?;
    let operation = call.query.text("op").unwrap_or_default().to_owned();
    operate(
        call,
        OperateRequest {
            tenant: caller.tenant,
            entity,
            operation,
            input: body.payload,
            when: StartTime::Now,
            is_call: false,
            idempotency: body.idempotency,
        },
    )
    .await
}

/// Signals the operation `delete`.
pub(super) async fn delete(call: &Call, name: &str, key: &str) -> Result<Response, Refused> {
    let caller = call.allow(Action::Signal)?;
    operate(
        call,
        OperateRequest {
            tenant: caller.tenant,
            entity: entity(name, key)?,
            operation: "delete".into(),
            input: Payload::null(),
            when: StartTime::Now,
            is_call: false,
            idempotency: None,
        },
    )
    .await
}

fn entity(name: &str, key: &str) -> Result<EntityId, Refused> {
    let key = if key == EMPTY_KEY { "" } else { key };
    EntityId::new(name, key).map_err(|error| Refused::argument(error.to_string()))
}

async fn operate(call: &Call, request: OperateRequest) -> Result<Response, Refused> {
    let sent = call.app.engine.operate(request).await;
    sent.map_err(|error| match Refusal::of_operation(error) {
        // The original answers 400 for entities that are not registered.
        unknown @ (Refusal::UnknownEntity { .. } | Refusal::UnknownOperation { .. }) => {
            Refused::argument(unknown.to_string())
        }
        other => other.into(),
    })?;
    Ok(empty(StatusCode::ACCEPTED))
}
