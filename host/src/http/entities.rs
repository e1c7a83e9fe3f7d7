//! Entities: their states, operations that clients send, and what operators do with them.

pub(crate) mod state;

use axum::{extract::State, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

use super::{
    access::{Browse, Caller, Control, May, Read, Signal},
    answers::PAGE_BYTES,
    body::{EmptyBody, PayloadBody},
    document::{FailureDocument, Verbatim, time, verbatim},
    error::Refusal,
    orchestrations::start_time,
    page::{PageParams, cursor},
    params::{FromParams, Given, NoParams, Params},
    path::{EntityKey, EntityName, InPath, OperationName},
    problem::Problem,
    state::App,
    wait_limit::Client,
};
use crate::{
    engine::{OperateAnswer, OperateRequest, StartTime},
    model::{
        EntityId, EntityIdError, InstanceId, InstanceStatus, Outcome, Payload, Replaces, TenantId, entity::entity_name,
    },
    store::{EntityDetails, EntityFilter},
};

/// An entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Entity)]
pub(crate) struct EntityDocument {
    /// The name, in lower case.
    name: String,
    /// The key.
    key: String,
    /// The state after the last step; `null` if it has none.
    state: Verbatim,
    /// Whether it has a state.
    exists: bool,
    /// How often the state has changed.
    version: u64,
    /// Stands for this version of this entity, for the header `If-Match`.
    etag: String,
    /// How many operations and other messages wait, up to 1000.
    waiting: u64,
    /// When its first operation was sent.
    created_time: String,
    /// When it last applied operations.
    last_operation_time: String,
    /// Who has locked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<LockDocument>,
    /// The last operation that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<FailedOperationDocument>,
    /// Why it applies no operations, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck: Option<String>,
}

/// The lock of an entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EntityLock)]
struct LockDocument {
    /// The orchestration instance in whose critical section the entity is.
    instance_id: String,
    /// Since when.
    since: String,
}

/// An operation that failed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FailedOperation)]
struct FailedOperationDocument {
    /// The operation.
    operation: String,
    /// When.
    time: String,
    /// Why.
    failure: FailureDocument,
}

impl EntityDocument {
    /// The entity, for the caller.
    fn new(details: EntityDetails, app: &App, caller: Caller) -> Self {
        let id = EntityId::of(&details.id);
        let etag = state::tag_of(&details, app, caller);
        let entity = details.entity;
        Self {
            name: id.as_ref().map(|id| id.name().to_string()).unwrap_or_default(),
            key: id.as_ref().map(|id| id.key().to_owned()).unwrap_or_default(),
            exists: entity.state.is_some(),
            state: verbatim(entity.state),
            version: entity.version,
            etag,
            waiting: details.waiting,
            created_time: time(details.created_at),
            last_operation_time: time(details.updated_at),
            lock: entity.lock.map(|lock| LockDocument {
                instance_id: lock.holder.to_string(),
                since: time(lock.since),
            }),
            last_failure: entity.last_failure.map(|failed| FailedOperationDocument {
                operation: failed.operation,
                time: time(failed.at),
                failure: failed.failure.into(),
            }),
            stuck: details.stuck.map(|stuck| stuck.message),
        }
    }
}

/// A page of entities.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntityList {
    /// The entities, by name and key.
    entities: Vec<EntityDocument>,
    /// If there may be more: the `cursor` of the next request with the same filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Parameters of a list.
#[derive(Debug)]
pub(crate) struct ListParams {
    filter: EntityFilter,
    page: PageParams,
}

impl FromParams for ListParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        let name = given.with("name", |text| entity_name(text).map_err(|error| error.to_string()))?;
        Ok(Self {
            filter: EntityFilter {
                name,
                updated_from: given.time("lastOperationTimeFrom")?,
                // The end is inclusive for clients, as in Durable Functions.
                updated_to: given
                    .time("lastOperationTimeTo")?
                    .map(|to| to.after(Duration::from_millis(1))),
            },
            page: PageParams::read(given)?,
        })
    }
}

/// List entities, by name and key.
#[utoipa::path(
    get, path = "/v1/entities", tag = "entities", operation_id = "listEntities",
    params(
        ("name" = Option<String>, Query, description = "The name; letter case does not matter"),
        ("lastOperationTimeFrom" = Option<String>, Query, description = "Applied operations at or after this time"),
        ("lastOperationTimeTo" = Option<String>, Query, description = "Applied operations at or before this time, and none since"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of entities on the page (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "A page", body = EntityList),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    May { caller, .. }: May<Browse>,
    Params(ListParams { filter, page }): Params<ListParams>,
) -> Result<Response, Refusal> {
    let after = page.after().map(|after| {
        let invalid = |_| Refusal::InvalidParameter {
            name: "cursor".into(),
            message: "is not a cursor from an earlier page".into(),
        };
        <InstanceId as crate::model::FromStored>::from_stored(after).map_err(invalid)
    });
    let after = after.transpose()?;
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let found = app.store(caller).entities(&filter, after.as_ref(), page.limit).await?;
    room.json(
        StatusCode::OK,
        &EntityList {
            entities: found
                .entities
                .into_iter()
                .map(|details| EntityDocument::new(details, &app, caller))
                .collect(),
            next_cursor: found.next.map(cursor),
        },
    )
}

/// Get an entity: its state after the last step, its lock and what waits.
#[utoipa::path(
    get, path = "/v1/entities/{name}/{key}", tag = "entities", operation_id = "getEntity",
    params(
        ("name" = String, Path, description = "The entity's name; letter case does not matter"),
        ("key" = String, Path, description = "The entity's key"),
    ),
    responses(
        (status = 200, description = "The entity", body = EntityDocument, headers(("ETag" = String, description = "The version of the state, for `If-Match`"))),
        (status = 400, description = "`invalid-path`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-entity`: no operation was sent, or it was deleted", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    May { caller, .. }: May<Read>,
    InPath(name): InPath<EntityName>,
    InPath(key): InPath<EntityKey>,
    Params(NoParams): Params<NoParams>,
) -> Result<Response, Refusal> {
    let entity = entity(name, key)?;
    let room = app.answers.room(caller.tenant, app.instance_bytes()).await?;
    let found = app.store(caller).entity(&entity.instance_id()).await?;
    let found = found.filter(EntityDetails::exists).ok_or_else(|| unknown(&entity))?;
    let document = EntityDocument::new(found, &app, caller);
    let mut response = room.json(StatusCode::OK, &document)?;
    let etag = HeaderValue::from_str(&document.etag).expect("it is ASCII");
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}

/// Parameters of a signal.
#[derive(Debug)]
pub(crate) struct SignalParams {
    when: StartTime,
}

impl FromParams for SignalParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            when: start_time(given, "at", "after")?,
        })
    }
}

/// Send a one-way operation to an entity.
///
/// The entity begins to exist with its first operation. Operations of one sender are applied in order; the state changes
/// soon after the answer.
#[utoipa::path(
    post, path = "/v1/entities/{name}/{key}/signals/{operation}", tag = "entities", operation_id = "signalEntity",
    params(
        ("name" = String, Path, description = "The entity's name; letter case does not matter"),
        ("key" = String, Path, description = "The entity's key"),
        ("operation" = String, Path, description = "The operation"),
        ("at" = Option<String>, Query, description = "Apply it at this time (RFC 3339); a time in the past means now", example = "2030-01-01T00:00:00Z"),
        ("after" = Option<String>, Query, description = "Instead of `at`: apply it when this time has passed", example = "90m"),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key has no further effect"),
    ),
    request_body(content = Verbatim, content_type = "application/json", description = "The input; an empty body is `null`"),
    responses(
        (status = 202, description = "Stored; it will be applied"),
        (status = 400, description = "`invalid-input`, `not-json`, `invalid-path`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-entity`, `unknown-operation`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn signal(
    State(app): State<App>,
    May { caller, .. }: May<Signal>,
    InPath(name): InPath<EntityName>,
    InPath(key): InPath<EntityKey>,
    InPath(OperationName(operation)): InPath<OperationName>,
    Params(SignalParams { when }): Params<SignalParams>,
    body: PayloadBody,
) -> Result<StatusCode, Refusal> {
    let request = OperateRequest {
        tenant: caller.tenant,
        entity: entity(name, key)?,
        operation,
        input: body.payload,
        when,
        is_call: false,
        idempotency: body.idempotency,
    };
    operate(&app, request).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The outcome of an operation: one of its members.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperationOutcome {
    /// The output.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Verbatim>,
    /// Why it failed; the entity is as before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureDocument>,
}

impl From<Outcome> for OperationOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(output) => Self {
                output: Some(Verbatim(output)),
                failure: None,
            },
            Err(failure) => Self {
                output: None,
                failure: Some(failure.into()),
            },
        }
    }
}

/// Parameters of a call.
#[derive(Debug)]
pub(crate) struct CallParams {
    wait: Option<Duration>,
}

impl FromParams for CallParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self { wait: given.wait()? })
    }
}

/// How long a call waits for its outcome unless the client says otherwise.
const DEFAULT_WAIT: Duration = Duration::from_secs(20);

/// Call an operation of an entity, and wait for its outcome.
#[utoipa::path(
    post, path = "/v1/entities/{name}/{key}/calls/{operation}", tag = "entities", operation_id = "callEntity",
    params(
        ("name" = String, Path, description = "The entity's name; letter case does not matter"),
        ("key" = String, Path, description = "The entity's key"),
        ("operation" = String, Path, description = "The operation"),
        ("wait" = Option<String>, Query, description = "Answer after this time even if the operation was not applied yet (at most 60s, default 20s)", example = "20s"),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key applies nothing again, and gets the same outcome"),
    ),
    request_body(content = Verbatim, content_type = "application/json", description = "The input; an empty body is `null`"),
    responses(
        (status = 200, description = "The operation was applied, or has failed", body = OperationOutcome),
        (status = 202, description = "Stored, but not applied in time"),
        (status = 400, description = "`invalid-input`, `not-json`, `invalid-path`, …", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-entity`, `unknown-operation`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`idempotency-key-reused`", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[expect(clippy::too_many_arguments, reason = "each is an extractor")]
pub(crate) async fn call(
    State(app): State<App>,
    May { caller, .. }: May<Signal>,
    client: Client,
    InPath(name): InPath<EntityName>,
    InPath(key): InPath<EntityKey>,
    InPath(OperationName(operation)): InPath<OperationName>,
    Params(CallParams { wait }): Params<CallParams>,
    body: PayloadBody,
) -> Result<Response, Refusal> {
    let request = OperateRequest {
        tenant: caller.tenant,
        entity: entity(name, key)?,
        operation,
        input: body.payload,
        when: StartTime::Now,
        is_call: true,
        idempotency: body.idempotency,
    };
    let answer = operate(&app, request).await?;
    let outcome = outcome(&app, caller.tenant, &client, answer, wait.unwrap_or(DEFAULT_WAIT)).await;
    let room = app.answers.room_for_change(caller.tenant, app.instance_bytes());
    match outcome {
        Some(outcome) => room.json(StatusCode::OK, &OperationOutcome::from(outcome)),
        None => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
    }
}

/// The outcome of a call; `None` if it did not come in time, the host begins to shut down, the key of the request is
/// revoked, or there is no room for another wait.
async fn outcome(
    app: &App,
    tenant: TenantId,
    client: &Client,
    answer: OperateAnswer,
    wait: Duration,
) -> Option<Outcome> {
    let waiter = answer.outcome?;
    let waiting = app.waits.begin(tenant, client)?;
    tokio::select! {
        biased;
        outcome = tokio::time::timeout(wait, waiter.outcome()) => outcome.ok().flatten(),
        () = waiting.must_end() => None,
        _ = client.credentials.revoked(app.engine.tenancy()) => None,
        () = app.stopping.cancelled() => None,
    }
}

/// Delete an entity: sends the operation `delete`.
///
/// An entity that cannot run the operation, because it is stuck or no module offers it any more, loses its state without
/// it. Operations that wait are then applied to no state.
#[utoipa::path(
    delete, path = "/v1/entities/{name}/{key}", tag = "entities", operation_id = "deleteEntity",
    params(
        ("name" = String, Path, description = "The entity's name; letter case does not matter"),
        ("key" = String, Path, description = "The entity's key"),
    ),
    responses(
        (status = 202, description = "Stored; it will be applied"),
        (status = 404, description = "`unknown-entity`, `unknown-operation`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`entity-locked`: no module offers the entity, and a critical section has locked it", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    may: May<Control>,
    client: Client,
    InPath(name): InPath<EntityName>,
    InPath(key): InPath<EntityKey>,
    Params(NoParams): Params<NoParams>,
    body: EmptyBody,
) -> Result<StatusCode, Refusal> {
    let entity = entity(name, key)?;
    let found = app.store(may.caller).entity(&entity.instance_id()).await?;
    let found = found.filter(EntityDetails::exists).ok_or_else(|| unknown(&entity))?;
    let is_sent = match found.status {
        InstanceStatus::Stuck => false,
        _ => {
            let request = OperateRequest {
                tenant: may.caller.tenant,
                entity: entity.clone(),
                operation: "delete".into(),
                input: Payload::null(),
                when: StartTime::Now,
                is_call: false,
                idempotency: body.idempotency.clone(),
            };
            match operate(&app, request).await {
                Ok(_) => true,
                Err(Refusal::UnknownEntity { .. }) => false,
                Err(refusal) => return Err(refusal),
            }
        }
    };
    if !is_sent {
        let change = state::Change {
            state: None,
            replaces: Replaces::Anything,
            idempotency: body.idempotency,
        };
        change.outcome(&app, may, &client, entity).await?;
    }
    Ok(StatusCode::ACCEPTED)
}

/// Release the lock of an entity, although its holder is still in the critical section.
///
/// For operators. The holder is not told; its next calls are applied like those of anybody else.
#[utoipa::path(
    post, path = "/v1/entities/{name}/{key}/unlock", tag = "entities", operation_id = "unlockEntity",
    params(
        ("name" = String, Path, description = "The entity's name; letter case does not matter"),
        ("key" = String, Path, description = "The entity's key"),
    ),
    responses(
        (status = 202, description = "Stored; it takes effect soon"),
        (status = 404, description = "`unknown-entity`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`entity-not-locked`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn unlock(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    InPath(name): InPath<EntityName>,
    InPath(key): InPath<EntityKey>,
    Params(NoParams): Params<NoParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<StatusCode, Refusal> {
    let entity = entity(name, key)?;
    let found = app.store(caller).entity(&entity.instance_id()).await?;
    let found = found.filter(EntityDetails::exists).ok_or_else(|| unknown(&entity))?;
    let lock = found
        .entity
        .lock
        .ok_or_else(|| Refusal::EntityNotLocked { id: entity.to_string() })?;
    match app.engine.unlock_entity(caller.tenant, &entity, lock.section).await? {
        true => Ok(StatusCode::ACCEPTED),
        false => Err(unknown(&entity)),
    }
}

fn entity(EntityName(name): EntityName, EntityKey(key): EntityKey) -> Result<EntityId, Refusal> {
    EntityId::new(&name, &key).map_err(|error| {
        let (what, error) = match error {
            EntityIdError::Name(error) => ("entity name", error),
            EntityIdError::Key(error) => ("entity key", error),
        };
        Refusal::InvalidPath {
            what,
            message: error.to_string(),
        }
    })
}

async fn operate(app: &App, request: OperateRequest) -> Result<OperateAnswer, Refusal> {
    app.engine.operate(request).await.map_err(Refusal::of_operation)
}

fn unknown(entity: &EntityId) -> Refusal {
    Refusal::UnknownEntity {
        message: format!("there is no entity {entity}"),
    }
}
