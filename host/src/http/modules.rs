//! Modules: upload, list, show and delete.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    access::{Deploy, May, ReadModules},
    answers::PAGE_BYTES,
    body::{EmptyBody, ModuleBody},
    document::{Verbatim, time},
    error::Refusal,
    instances::history::OptionsDocument,
    page::{PageParams, cursor},
    params::{NoParams, Params},
    path::{InPath, ModuleName},
    problem::Problem,
    state::App,
};
use crate::{
    engine::api::Origin,
    model::{EventDescription, FunctionDescription, ModuleDescription, OperationDescription},
    store::ModuleVersion,
};

/// The header that holds the signature of a module: 128 hexadecimal digits.
pub(crate) const SIGNATURE_HEADER: &str = "windlass-signature";

/// A module and its functions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Module)]
pub(crate) struct ModuleDocument {
    /// The name it was uploaded under.
    name: String,
    /// SHA-256 of its bytes: `sha256:` and 64 hexadecimal digits.
    digest: String,
    /// The kind of its functions: `orchestration`, `activity` or `entity`.
    kind: &'static str,
    /// The SDK that built it; may be empty.
    sdk: String,
    /// Its functions, in the order of the module.
    functions: Vec<FunctionDocument>,
    /// The length of the module, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// When it was uploaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    uploaded_time: Option<String>,
    /// The id of the API key that uploaded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    uploaded_by: Option<String>,
}

/// One function of a module.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Function)]
pub(crate) struct FunctionDocument {
    /// The name that callers use.
    name: String,
    /// One line for people; may be empty.
    doc: String,
    /// JSON Schema of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Verbatim, required = false)]
    input_schema: Option<Box<RawValue>>,
    /// JSON Schema of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Verbatim, required = false)]
    output_schema: Option<Box<RawValue>>,
    /// Activities only: the options of calls that set none.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_options: Option<OptionsDocument>,
    /// Orchestrations only: the events that it declares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    events: Vec<EventDocument>,
    /// Entities only: the operations that it declares. If there are none, it takes every operation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    operations: Vec<OperationDocument>,
}

/// An operation of an entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeclaredOperation)]
pub(crate) struct OperationDocument {
    /// The name of the operation.
    name: String,
    /// One line for people; may be empty.
    doc: String,
    /// JSON Schema of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Verbatim, required = false)]
    input_schema: Option<Box<RawValue>>,
    /// JSON Schema of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Verbatim, required = false)]
    output_schema: Option<Box<RawValue>>,
}

/// An event that an orchestration declares.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeclaredEvent)]
pub(crate) struct EventDocument {
    /// The name of the event, case-insensitive.
    name: String,
    /// JSON Schema of the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Verbatim>)]
    payload_schema: Option<Box<RawValue>>,
}

/// A schema as raw JSON. It was checked to be JSON when the module was uploaded.
fn raw(schema: Option<String>) -> Option<Box<RawValue>> {
    schema.and_then(|text| RawValue::from_string(text).ok())
}

impl From<EventDescription> for EventDocument {
    fn from(event: EventDescription) -> Self {
        Self {
            name: event.name.to_string(),
            payload_schema: raw(event.payload_schema),
        }
    }
}

impl From<FunctionDescription> for FunctionDocument {
    fn from(function: FunctionDescription) -> Self {
        Self {
            name: function.name.to_string(),
            doc: function.doc,
            input_schema: raw(function.input_schema),
            output_schema: raw(function.output_schema),
            default_options: function.default_options.map(Into::into),
            events: Vec::new(),
            operations: Vec::new(),
        }
    }
}

impl From<OperationDescription> for OperationDocument {
    fn from(operation: OperationDescription) -> Self {
        Self {
            name: operation.name,
            doc: operation.doc,
            input_schema: raw(operation.input_schema),
            output_schema: raw(operation.output_schema),
        }
    }
}

impl ModuleDocument {
    fn new(name: String, digest: String, description: ModuleDescription) -> Self {
        let ModuleDescription {
            kind,
            functions,
            sdk,
            events,
            entities,
        } = description;
        let mut operations: BTreeMap<String, Vec<OperationDocument>> = entities
            .into_iter()
            .map(|entity| {
                (
                    entity.name.to_lowercase(),
                    entity.operations.into_iter().map(Into::into).collect(),
                )
            })
            .collect();
        let mut functions: Vec<FunctionDocument> = functions.into_iter().map(Into::into).collect();
        for event in events {
            let declaring = functions
                .iter_mut()
                .find(|function| function.name == event.function.as_str());
            declaring
                .into_iter()
                .for_each(|function| function.events.push(event.clone().into()));
        }
        for function in &mut functions {
            function.operations = operations.remove(&function.name).unwrap_or_default();
        }
        Self {
            name,
            digest,
            kind: kind.name(),
            sdk,
            functions,
            size: None,
            uploaded_time: None,
            uploaded_by: None,
        }
    }
}

impl From<ModuleVersion> for ModuleDocument {
    fn from(version: ModuleVersion) -> Self {
        Self {
            size: Some(version.size),
            uploaded_time: Some(time(version.uploaded_at)),
            uploaded_by: version.uploaded_by,
            ..Self::new(version.name, version.digest.to_string(), version.description)
        }
    }
}

/// A page of the modules of a tenant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModuleList {
    /// The modules, by name.
    modules: Vec<ModuleDocument>,
    /// If there are more: the `cursor` of the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Upload a module.
///
/// The body is the component itself. Instances that run on an earlier version of the module finish on that version.
#[utoipa::path(
    put, path = "/v1/modules/{module}", tag = "modules", operation_id = "putModule",
    params(
        ("module" = String, Path, description = "The name of the module: letters, digits, `.`, `_`, `-`"),
        ("windlass-signature" = Option<String>, Header, description = "Ed25519 signature of the body, 128 hexadecimal digits"),
    ),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "A Wasm component"),
    responses(
        (status = 201, description = "It is now the current version of the module", body = ModuleDocument),
        (status = 200, description = "It already was the current version", body = ModuleDocument),
        (status = 400, description = "`invalid-path`, `body-cut-off`, …", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`signature-missing`, `signature-wrong` or `quota-exceeded`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`function-taken`: another module offers one of its functions", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "`body-too-slow`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It is not a valid module for this host; `code` says why", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too-many-uploads`: other uploads of the tenant are in progress", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `module-host-busy`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn put(
    State(app): State<App>,
    May { caller, key, .. }: May<Deploy>,
    InPath(name): InPath<ModuleName>,
    Params(NoParams): Params<NoParams>,
    headers: HeaderMap,
    ModuleBody { bytes, permit }: ModuleBody,
) -> Result<Response, Refusal> {
    let origin = Origin {
        key: key.as_deref(),
        signature: headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()),
    };
    let stored = app
        .engine
        .put_module(caller.tenant, name.as_str(), bytes, origin)
        .await?;
    drop(permit);
    let status = if stored.new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let document = ModuleDocument::new(name.to_string(), stored.digest.to_string(), stored.description);
    app.answers
        .room_for_change(caller.tenant, PAGE_BYTES)
        .json(status, &document)
}

/// List modules.
///
/// A page ends at some megabytes, so it may have fewer modules than `limit`. The last page is the one without
/// `nextCursor`.
#[utoipa::path(
    get, path = "/v1/modules", tag = "modules", operation_id = "listModules",
    params(
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of items on the page (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "The current versions of modules", body = ModuleList),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    May { caller, .. }: May<ReadModules>,
    Params(params): Params<PageParams>,
) -> Result<Response, Refusal> {
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let page = app.store(caller).modules(params.after(), params.limit).await?;
    let list = ModuleList {
        modules: page.modules.into_iter().map(Into::into).collect(),
        next_cursor: page.next.map(cursor),
    };
    room.json(StatusCode::OK, &list)
}

/// Get one module.
#[utoipa::path(
    get, path = "/v1/modules/{module}", tag = "modules", operation_id = "getModule",
    params(("module" = String, Path, description = "The name of the module")),
    responses(
        (status = 200, description = "The current version of the module", body = ModuleDocument),
        (status = 404, description = "`unknown-module`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    May { caller, .. }: May<ReadModules>,
    InPath(name): InPath<ModuleName>,
    Params(NoParams): Params<NoParams>,
) -> Result<Response, Refusal> {
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let module = app.store(caller).module(name.as_str()).await?;
    let module = module.ok_or_else(|| Refusal::UnknownModule { name: name.to_string() })?;
    room.json(StatusCode::OK, &ModuleDocument::from(module))
}

/// Remove a module's name and its functions.
///
/// Instances that run on it finish on it; new ones cannot start.
#[utoipa::path(
    delete, path = "/v1/modules/{module}", tag = "modules", operation_id = "deleteModule",
    params(("module" = String, Path, description = "The name of the module")),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "`unknown-module`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    May { caller, .. }: May<Deploy>,
    InPath(name): InPath<ModuleName>,
    Params(NoParams): Params<NoParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<StatusCode, Refusal> {
    let existed = app.engine.delete_module(caller.tenant, name.as_str()).await?;
    if existed {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Refusal::UnknownModule { name: name.to_string() })
    }
}
