//! The state of an entity, as operators replace and delete it: without its code, so also of one that is stuck.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, State},
    response::Response,
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::Serialize;
use utoipa::ToSchema;

use super::{EntityDetails, entity, outcome, unknown};
use crate::{
    engine::SetStateRequest,
    http::{
        access::{Caller, Control, May},
        body::{EmptyBody, PayloadBody},
        document::Verbatim,
        error::Refusal,
        params::{NoParams, Params},
        path::{EntityKey, EntityName, InPath},
        positions::{Position, PositionKind},
        problem::Problem,
        state::App,
        wait_limit::Client,
    },
    model::{EntityId, Failure, InstanceNumber, Payload, Replaces, StateChange},
    store::IdempotencyKey,
};

/// How long a request waits until its change is applied.
const WAIT: Duration = Duration::from_secs(20);

/// A state that was set or deleted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StateSet {
    /// How often the state has changed.
    version: u64,
}

/// What a change may replace, from the headers `If-Match` and `If-None-Match`, one of which is required: otherwise a
/// client that does not think of operations at the same time would undo them.
#[derive(Debug)]
pub(crate) enum Precondition {
    /// There must be a state.
    Any,
    /// There must be none.
    None,
    /// The state must have this entity tag.
    Tag(String),
}

impl FromRequestParts<App> for Precondition {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        let if_match = one(&parts.headers, header::IF_MATCH.as_str())?;
        let if_none_match = one(&parts.headers, header::IF_NONE_MATCH.as_str())?;
        match (if_match, if_none_match) {
            (Some("*"), None) => Ok(Self::Any),
            (Some(tag), None) => Ok(Self::Tag(tag.to_owned())),
            (None, Some("*")) => Ok(Self::None),
            (None, None) => Err(Refusal::PreconditionRequired),
            (Some(_), Some(_)) | (None, Some(_)) => Err(Refusal::InvalidPrecondition),
        }
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut given = headers.get_all(name).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| Refusal::InvalidPrecondition)?;
            Ok(Some(text.trim()))
        }
        (Some(_), Some(_)) => Err(Refusal::InvalidPrecondition),
    }
}

impl Precondition {
    /// What the caller's change may replace. An entity tag that the tenant did not get is the tag of no state.
    ///
    /// # Errors
    /// If it is not the text of an entity tag.
    fn replaces(&self, app: &App, caller: Caller) -> Result<Replaces, Refusal> {
        match self {
            Self::Any => Ok(Replaces::Anything),
            Self::None => Ok(Replaces::Nothing),
            Self::Tag(tag) => {
                let text = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                // The host gives out no tags with quotes in them; a list of tags has some.
                let text = text.filter(|text| !text.contains('"'));
                let text = text.ok_or(Refusal::InvalidPrecondition)?;
                let state = app.positions.open(caller.tenant, text);
                let StateVersion { instance, version } = state.unwrap_or(StateVersion::OF_NOTHING);
                Ok(Replaces::Version { instance, version })
            }
        }
    }
}

/// A version of a state. The number of the instance is part of it, because an entity that was deleted begins again with
/// its first version.
struct StateVersion {
    instance: InstanceNumber,
    version: u64,
}

impl StateVersion {
    /// The version of no state: instances are numbered from 1.
    const OF_NOTHING: Self = Self {
        instance: InstanceNumber(0),
        version: 0,
    };
}

impl Position for StateVersion {
    const KIND: PositionKind = PositionKind::EntityState;

    fn numbers(&self) -> Vec<u64> {
        vec![self.instance.0, self.version]
    }

    fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let [instance, version] = *numbers else { return None };
        Some(Self {
            instance: InstanceNumber(instance),
            version,
        })
    }
}

/// The entity tag of a state, for the caller.
pub(super) fn tag_of(found: &EntityDetails, app: &App, caller: Caller) -> String {
    let version = StateVersion {
        instance: found.number,
        version: found.entity.version,
    };
    format!("\"{}\"", app.seal(caller, &version))
}

/// Replace the state of an entity.
///
/// For operators. The state is replaced without the entity's code, which may be unable to read the old one: an entity
/// that is stuck goes on with its new state. Operations that wait are applied to it afterwards. An entity that a critical
/// section has locked keeps its state, unless it is stuck.
#[utoipa::path(
    put, path = "/v1/entities/{name}/{key}/state", tag = "entities", operation_id = "setEntityState",
    params(
        ("name" = String, Path, description = "The entity's name; letter case does not matter"),
        ("key" = String, Path, description = "The entity's key"),
        ("If-Match" = Option<String>, Header, description = "Replace only this version: the header `ETag` of the entity; `*` for any. This or `If-None-Match` is required"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if the entity has no state; the entity is created if it does not exist"),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key changes nothing again, and gets the same outcome"),
    ),
    request_body(content = Verbatim, content_type = "application/json", description = "The new state"),
    responses(
        (status = 200, description = "The state was replaced", body = StateSet),
        (status = 202, description = "Stored, but not applied within 20 seconds; the precondition is checked when it is"),
        (status = 400, description = "`not-json`, `invalid-body`: the state is `null`, `invalid-precondition`, `invalid-path`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-entity`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`entity-locked`", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "`entity-changed`: the state is not the one to replace", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`quota-exceeded`: the state is larger than `maxEntityState`; `body-too-large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`precondition-required`", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[expect(clippy::too_many_arguments, reason = "each is an extractor")]
pub(crate) async fn put(
    State(app): State<App>,
    may: May<Control>,
    client: Client,
    InPath(name): InPath<EntityName>,
    InPath(key): InPath<EntityKey>,
    Params(NoParams): Params<NoParams>,
    precondition: Precondition,
    body: PayloadBody,
) -> Result<Response, Refusal> {
    let entity = entity(name, key)?;
    // An empty body is `null` as well.
    if body.payload.as_str().trim() == "null" {
        return Err(Refusal::invalid_body(
            "the state must not be null; use DELETE to delete it",
        ));
    }
    let change = Change {
        state: Some(body.payload),
        replaces: precondition.replaces(&app, may.caller)?,
        idempotency: body.idempotency,
    };
    change.apply(&app, may, &client, entity).await
}

/// Delete the state of an entity.
///
/// For operators. The state is deleted without the entity's code, as by a replacement. Operations that wait are applied to
/// no state; without any, the entity ends.
#[utoipa::path(
    delete, path = "/v1/entities/{name}/{key}/state", tag = "entities", operation_id = "deleteEntityState",
    params(
        ("name" = String, Path, description = "The entity's name; letter case does not matter"),
        ("key" = String, Path, description = "The entity's key"),
        ("If-Match" = String, Header, description = "Delete only this version: the header `ETag` of the entity; `*` for any"),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key changes nothing again, and gets the same outcome"),
    ),
    responses(
        (status = 200, description = "The state was deleted", body = StateSet),
        (status = 202, description = "Stored, but not applied within 20 seconds; the precondition is checked when it is"),
        (status = 400, description = "`invalid-precondition`, `invalid-path`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-entity`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`entity-locked`", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "`entity-changed`: the state is not the one to delete", body = Problem, content_type = "application/problem+json"),
        (status = 428, description = "`precondition-required`", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[expect(clippy::too_many_arguments, reason = "each is an extractor")]
pub(crate) async fn delete(
    State(app): State<App>,
    may: May<Control>,
    client: Client,
    InPath(name): InPath<EntityName>,
    InPath(key): InPath<EntityKey>,
    Params(NoParams): Params<NoParams>,
    precondition: Precondition,
    body: EmptyBody,
) -> Result<Response, Refusal> {
    let replaces = precondition.replaces(&app, may.caller)?;
    if replaces == Replaces::Nothing {
        return Err(Refusal::InvalidPrecondition);
    }
    let change = Change {
        state: None,
        replaces,
        idempotency: body.idempotency,
    };
    change.apply(&app, may, &client, entity(name, key)?).await
}

/// A change of a state.
pub(super) struct Change {
    /// The new state; `None` deletes it.
    pub(super) state: Option<Payload>,
    pub(super) replaces: Replaces,
    pub(super) idempotency: Option<IdempotencyKey>,
}

impl Change {
    /// Applies the change and answers with its outcome.
    async fn apply(self, app: &App, may: May<Control>, client: &Client, entity: EntityId) -> Result<Response, Refusal> {
        let tenant = may.caller.tenant;
        if self.replaces != Replaces::Nothing {
            let found = app.store(may.caller).entity(&entity.instance_id()).await?;
            found.filter(EntityDetails::exists).ok_or_else(|| unknown(&entity))?;
        }
        let outcome = self.outcome(app, may, client, entity).await?;
        let room = app.answers.room_for_change(tenant, app.instance_bytes());
        match outcome {
            Some(version) => {
                let version = version.as_str().parse();
                let version = version.map_err(|_| Refusal::Internal("a version is not a number".into()))?;
                room.json(StatusCode::OK, &StateSet { version })
            }
            None => {
                let mut response = Response::default();
                *response.status_mut() = StatusCode::ACCEPTED;
                Ok(response)
            }
        }
    }

    /// Applies the change. Returns the new version; `None` if the change was not applied in time.
    pub(super) async fn outcome(
        self,
        app: &App,
        may: May<Control>,
        client: &Client,
        entity: EntityId,
    ) -> Result<Option<Payload>, Refusal> {
        let tenant = may.caller.tenant;
        let id = entity.to_string();
        let request = SetStateRequest {
            tenant,
            entity,
            state: self.state,
            replaces: self.replaces,
            key: may.key,
            idempotency: self.idempotency,
        };
        let answer = app.engine.set_entity_state(request).await;
        let answer = answer.map_err(Refusal::of_operation)?;
        match outcome(app, tenant, client, answer, WAIT).await {
            None => Ok(None),
            Some(Ok(version)) => Ok(Some(version)),
            Some(Err(failure)) => Err(refused(failure, id)),
        }
    }
}

/// Why the owner did not change the state.
fn refused(failure: Failure, id: String) -> Refusal {
    match failure.error_type.as_str() {
        StateChange::CHANGED => Refusal::EntityChanged {
            id,
            message: failure.message,
        },
        StateChange::LOCKED => Refusal::EntityLocked {
            id,
            message: failure.message,
        },
        other => Refusal::Internal(format!("a change of a state failed with {other}: {}", failure.message)),
    }
}
