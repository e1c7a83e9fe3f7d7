//! Settings and secrets of a tenant, which its activities can read.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    access::{Caller, Deploy, May},
    answers::PAGE_BYTES,
    body::{EmptyBody, JsonBody},
    document::time,
    error::Refusal,
    page::{PageParams, cursor, json_bytes},
    params::{NoParams, Params},
    path::{InPath, StoredSetting},
    problem::Problem,
    state::App,
};
use crate::{
    model::Secret,
    store::{SettingKind, SettingRow},
    tenancy::{NewSetting, SettingName},
};

/// A plain setting, or a secret without its value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Setting)]
pub(crate) struct SettingDocument {
    /// The name of the setting.
    name: String,
    /// Its value; only for plain settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// The modules that can read it.
    modules: Vec<String>,
    /// When it was set.
    updated_time: String,
}

/// A page of settings, or of secrets without their values.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SettingList {
    /// The settings, by name.
    settings: Vec<SettingDocument>,
    /// If there are more: the `cursor` of the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// The value of a setting, and the modules that can read it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SettingRequest {
    /// The value; at most 64 KiB.
    value: String,
    /// The names of the modules that can read it.
    modules: Vec<String>,
}

impl From<SettingRow> for SettingDocument {
    fn from(row: SettingRow) -> Self {
        let value = match row.kind {
            SettingKind::Plain => String::from_utf8(row.value).ok(),
            SettingKind::Secret => None,
        };
        Self {
            name: row.name,
            value,
            modules: row.modules,
            updated_time: time(row.updated_at),
        }
    }
}

impl SettingDocument {
    /// The approximate size of the document, in bytes.
    fn bytes(&self) -> usize {
        let modules = self.modules.iter().map(|module| module.len() + "\"\",".len());
        128 + self.name.len() + self.value.as_deref().map_or(0, json_bytes) + modules.sum::<usize>()
    }
}

async fn list(app: &App, caller: Caller, kind: SettingKind, params: &PageParams) -> Result<Response, Refusal> {
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let settings = app.engine.tenancy().settings(caller.tenant, kind).into_iter();
    let settings = settings.filter(|setting| params.is_after(&setting.name));
    let (settings, more) = params.fill(settings.map(SettingDocument::from), SettingDocument::bytes);
    let list = SettingList {
        next_cursor: settings.last().filter(|_| more).map(|setting| cursor(&setting.name)),
        settings,
    };
    room.json(StatusCode::OK, &list)
}

async fn put(
    app: &App,
    caller: Caller,
    kind: SettingKind,
    name: SettingName,
    request: SettingRequest,
) -> Result<StatusCode, Refusal> {
    let setting = NewSetting {
        kind,
        name,
        value: Secret::new(request.value),
        modules: request.modules,
    };
    app.engine.tenancy().put_setting(caller.tenant, setting).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(app: &App, caller: Caller, kind: SettingKind, name: SettingName) -> Result<StatusCode, Refusal> {
    app.engine
        .tenancy()
        .delete_setting(caller.tenant, kind, name.as_str())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List plain settings.
///
/// A page ends at some megabytes, so it may have fewer settings than `limit`. The last page is the one without
/// `nextCursor`.
#[utoipa::path(
    get, path = "/v1/config", tag = "modules", operation_id = "listConfig",
    params(
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of items on the page (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "The settings with their values", body = SettingList),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_config(
    State(app): State<App>,
    May { caller, .. }: May<Deploy>,
    Params(params): Params<PageParams>,
) -> Result<Response, Refusal> {
    list(&app, caller, SettingKind::Plain, &params).await
}

/// Set a plain setting. Attempts that start from now on see it.
#[utoipa::path(
    put, path = "/v1/config/{setting}", tag = "modules", operation_id = "putConfig",
    params(("setting" = String, Path, description = "The name of the setting: letters, digits, `.`, `_`, `-`")),
    request_body = SettingRequest,
    responses(
        (status = 204, description = "The setting is stored"),
        (status = 400, description = "`invalid-body` or `invalid-path`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn put_config(
    State(app): State<App>,
    May { caller, .. }: May<Deploy>,
    InPath(name): InPath<SettingName>,
    Params(NoParams): Params<NoParams>,
    JsonBody(request): JsonBody<SettingRequest>,
) -> Result<StatusCode, Refusal> {
    put(&app, caller, SettingKind::Plain, name, request).await
}

/// Delete a plain setting.
#[utoipa::path(
    delete, path = "/v1/config/{setting}", tag = "modules", operation_id = "deleteConfig",
    params(("setting" = String, Path, description = "The name of the setting")),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "`unknown-setting`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete_config(
    State(app): State<App>,
    May { caller, .. }: May<Deploy>,
    InPath(StoredSetting(name)): InPath<StoredSetting>,
    Params(NoParams): Params<NoParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<StatusCode, Refusal> {
    delete(&app, caller, SettingKind::Plain, name).await
}

/// List secrets, without their values, which are never shown.
#[utoipa::path(
    get, path = "/v1/secrets", tag = "modules", operation_id = "listSecrets",
    params(
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of items on the page (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "The secrets with their names and modules", body = SettingList),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list_secrets(
    State(app): State<App>,
    May { caller, .. }: May<Deploy>,
    Params(params): Params<PageParams>,
) -> Result<Response, Refusal> {
    list(&app, caller, SettingKind::Secret, &params).await
}

/// Set a secret. Attempts that start from now on see it.
#[utoipa::path(
    put, path = "/v1/secrets/{setting}", tag = "modules", operation_id = "putSecret",
    params(("setting" = String, Path, description = "The name of the secret: letters, digits, `.`, `_`, `-`")),
    request_body = SettingRequest,
    responses(
        (status = 204, description = "The secret is stored"),
        (status = 400, description = "`invalid-body` or `invalid-path`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no-secrets-key`: the host has no key to encrypt it with", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn put_secret(
    State(app): State<App>,
    May { caller, .. }: May<Deploy>,
    InPath(name): InPath<SettingName>,
    Params(NoParams): Params<NoParams>,
    JsonBody(request): JsonBody<SettingRequest>,
) -> Result<StatusCode, Refusal> {
    put(&app, caller, SettingKind::Secret, name, request).await
}

/// Delete a secret.
#[utoipa::path(
    delete, path = "/v1/secrets/{setting}", tag = "modules", operation_id = "deleteSecret",
    params(("setting" = String, Path, description = "The name of the secret")),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "`unknown-setting`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete_secret(
    State(app): State<App>,
    May { caller, .. }: May<Deploy>,
    InPath(StoredSetting(name)): InPath<StoredSetting>,
    Params(NoParams): Params<NoParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<StatusCode, Refusal> {
    delete(&app, caller, SettingKind::Secret, name).await
}
