//! API keys: create, list and revoke.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    access::{Administer, May},
    answers::PAGE_BYTES,
    body::{EmptyBody, JsonBody},
    document::time,
    error::Refusal,
    page::{PageParams, cursor, json_bytes},
    params::{FromParams, Given, NoParams, Params, parse_time},
    path::{InPath, KeyId},
    problem::Problem,
    state::App,
};
use crate::{
    model::{Role, TenantId, TenantName},
    store::KeyRow,
    tenancy::{NewKey, Tenancy},
};

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Key)]
pub(crate) struct KeyDocument {
    /// Identifies the key in lists; it is the first part of the key.
    id: String,
    /// The name of its tenant.
    tenant: String,
    /// `client`, `operator`, `deployer` or `admin`.
    role: &'static str,
    /// A label for people.
    label: String,
    /// When it was created.
    created_time: String,
    /// When it expires, if ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_time: Option<String>,
    /// The whole key; only in the response to its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// A page of API keys.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyList {
    /// The keys, by id.
    keys: Vec<KeyDocument>,
    /// If there are more: the `cursor` of the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Request to create a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyRequest {
    /// The name of its tenant; `default` if absent. A key of the role `admin` belongs to no tenant.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantName>,
    /// `client`, `operator`, `deployer` or `admin`.
    #[schema(value_type = String, example = "client")]
    role: Role,
    /// A label for people.
    #[serde(default)]
    label: String,
    /// When it expires (RFC 3339); never if absent.
    expires_time: Option<String>,
}

/// The approximate size of a key without its label, in bytes.
const KEY_BYTES: usize = 256;

/// Parameters of a list of keys.
#[derive(Debug)]
pub(crate) struct KeysParams {
    tenant: Option<TenantName>,
    page: PageParams,
}

impl FromParams for KeysParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self {
            tenant: given.parsed("tenant")?,
            page: PageParams::read(given)?,
        })
    }
}

fn document(tenancy: &Tenancy, key: KeyRow) -> KeyDocument {
    let name = |tenant: TenantId| tenancy.tenant(tenant).map(|tenant| tenant.name.to_string());
    KeyDocument {
        tenant: name(key.tenant).unwrap_or_default(),
        id: key.id,
        role: key.role.name(),
        label: key.label,
        created_time: time(key.created_at),
        expires_time: key.expires_at.map(time),
        key: None,
    }
}

/// Create an API key.
///
/// The first one must have the role `admin`; from then on, every request needs a key.
#[utoipa::path(
    post, path = "/v1/keys", tag = "administration", operation_id = "createKey",
    request_body = KeyRequest,
    responses(
        (status = 201, description = "The whole key; it is not shown again", body = KeyDocument),
        (status = 400, description = "`invalid-body`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-tenant`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`first-key`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    _: May<Administer>,
    Params(NoParams): Params<NoParams>,
    JsonBody(request): JsonBody<KeyRequest>,
) -> Result<Response, Refusal> {
    let expires_at = request
        .expires_time
        .as_deref()
        .map(|text| parse_time(text).map_err(|problem| Refusal::invalid_body(format!("expiresTime {problem}"))));
    let default = || "default".parse().map_err(Refusal::Internal);
    let new = NewKey {
        tenant: request.tenant.map_or_else(default, Ok)?,
        role: request.role,
        label: request.label,
        expires_at: expires_at.transpose()?,
    };
    let tenancy = app.engine.tenancy();
    let (row, secret) = tenancy.create_key(new).await?;
    let document = KeyDocument {
        key: Some(secret.reveal().to_owned()),
        ..document(tenancy, row)
    };
    Ok((StatusCode::CREATED, Json(document)).into_response())
}

/// List keys, without their secrets.
#[utoipa::path(
    get, path = "/v1/keys", tag = "administration", operation_id = "listKeys",
    params(
        ("tenant" = Option<String>, Query, description = "Only keys of this tenant"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of items on the page (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "The keys", body = KeyList),
        (status = 404, description = "`unknown-tenant`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    May { caller, .. }: May<Administer>,
    Params(params): Params<KeysParams>,
) -> Result<Response, Refusal> {
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let tenancy = app.engine.tenancy();
    let of = params.tenant.map(|name| tenancy.named(name.as_str())).transpose()?;
    let keys = tenancy.keys(of.map(|tenant| tenant.id)).into_iter();
    let (keys, more) = params
        .page
        .fill(keys.filter(|key| params.page.is_after(&key.id)), |key| {
            KEY_BYTES + json_bytes(&key.label)
        });
    let list = KeyList {
        next_cursor: keys.last().filter(|_| more).map(|key| cursor(&key.id)),
        keys: keys.into_iter().map(|key| document(tenancy, key)).collect(),
    };
    room.json(StatusCode::OK, &list)
}

/// Revoke a key. It stops working immediately.
#[utoipa::path(
    delete, path = "/v1/keys/{key}", tag = "administration", operation_id = "revokeKey",
    params(("key" = String, Path, description = "The id of the key")),
    responses(
        (status = 204, description = "Revoked"),
        (status = 404, description = "`unknown-key`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`last-admin-key`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    _: May<Administer>,
    InPath(id): InPath<KeyId>,
    Params(NoParams): Params<NoParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<StatusCode, Refusal> {
    app.engine.tenancy().revoke_key(id.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}
