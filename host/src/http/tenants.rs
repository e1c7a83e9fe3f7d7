//! Tenants: create, show, change and delete.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    access::{Administer, May},
    answers::PAGE_BYTES,
    body::{EmptyBody, JsonBody},
    document::time,
    error::Refusal,
    page::{PageParams, cursor},
    params::{NoParams, Params},
    path::InPath,
    problem::Problem,
    state::App,
};
use crate::{
    model::TenantName,
    tenancy::{Hold, Quotas, Tenant},
};

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Tenant)]
pub(crate) struct TenantDocument {
    /// The name of the tenant.
    name: String,
    /// Whether requests on its behalf are refused, and its instances held.
    disabled: bool,
    /// Why its instances currently take no turns: `disabled`, or the name of the quota that is used up; absent if they
    /// do.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<&'static str>,
    /// Its quotas; what is not listed is limited only by the host.
    #[schema(value_type = Object)]
    quotas: Quotas,
    /// Its current usage.
    #[serde(rename = "use")]
    used: Use,
    /// When it was created; absent for the default tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_time: Option<String>,
}

/// The current usage of a tenant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Use {
    /// Number of modules that have a name.
    modules: u64,
    /// Bytes of all stored versions of its modules.
    module_bytes: u64,
    /// Number of instances that have not ended.
    live_instances: u64,
    /// Number of all instances, including ended ones.
    instances: u64,
    /// Bytes of its instances: histories, messages and logs.
    stored_bytes: u64,
    /// Number of activities that run.
    running_activities: u64,
    /// Number of activities that wait for a slot, or for a limit of the tenant.
    waiting_activities: u64,
    /// Number of open outgoing requests of its activities.
    open_requests: u64,
}

/// A page of tenants.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TenantList {
    /// The tenants, in the order of their creation.
    tenants: Vec<TenantDocument>,
    /// If there are more: the `cursor` of the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Request to create a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// Its name: lower-case letters, digits and hyphens; at most 63.
    #[schema(value_type = String, example = "acme")]
    name: TenantName,
    /// Its quotas; `docs/security.md` lists them.
    #[serde(default)]
    #[schema(value_type = Object)]
    quotas: Quotas,
}

/// Request to change a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TenantChange {
    /// Whether requests on its behalf are refused from now on. Its instances take no turns meanwhile, and nothing is
    /// lost.
    disabled: Option<bool>,
    /// The quotas to change; `null` removes one, quotas that are not mentioned stay.
    #[serde(default)]
    quotas: Map<String, Value>,
}

/// The approximate size of a tenant without unusual quotas, in bytes.
const TENANT_BYTES: usize = 1_024;

async fn document(app: &App, tenant: &Tenant) -> Result<TenantDocument, Refusal> {
    let share = app.engine.share_use(tenant.id);
    let holdings = app.engine.store().tenant(tenant.id).holdings().await?;
    Ok(TenantDocument {
        name: tenant.name.to_string(),
        disabled: tenant.disabled,
        held: app.engine.tenancy().hold(tenant.id).map(Hold::name),
        quotas: tenant.quotas.clone(),
        used: Use {
            modules: holdings.modules.modules,
            module_bytes: holdings.modules.bytes,
            live_instances: holdings.live_instances,
            instances: holdings.instances,
            stored_bytes: app.engine.store().stored_bytes(tenant.id),
            running_activities: share.running as u64,
            waiting_activities: share.waiting as u64,
            open_requests: tenant.open_requests() as u64,
        },
        created_time: (tenant.created_at.0 > 0).then(|| time(tenant.created_at)),
    })
}

/// Create a tenant.
#[utoipa::path(
    post, path = "/v1/tenants", tag = "administration", operation_id = "createTenant",
    request_body = NewTenant,
    responses(
        (status = 201, description = "The new tenant", body = TenantDocument),
        (status = 400, description = "`invalid-body`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`tenant-exists`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    _: May<Administer>,
    Params(NoParams): Params<NoParams>,
    JsonBody(new): JsonBody<NewTenant>,
) -> Result<Response, Refusal> {
    new.quotas.check().map_err(Refusal::invalid_body)?;
    let tenant = app.engine.tenancy().create_tenant(new.name, &new.quotas).await?;
    Ok((StatusCode::CREATED, Json(document(&app, &tenant).await?)).into_response())
}

/// List tenants.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "administration", operation_id = "listTenants",
    params(
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of items on the page (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "Tenants", body = TenantList),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`, …", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    May { caller, .. }: May<Administer>,
    Params(params): Params<PageParams>,
) -> Result<Response, Refusal> {
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let after = params.after_number()?;
    let all = app.engine.tenancy().tenants().into_iter();
    let all = all.filter(|tenant| after.is_none_or(|after| tenant.id.0 > after));
    let (page, more) = params.fill(all, |_| TENANT_BYTES);
    let mut tenants = Vec::with_capacity(page.len());
    for tenant in &page {
        tenants.push(document(&app, tenant).await?);
    }
    let list = TenantList {
        tenants,
        next_cursor: page.last().filter(|_| more).map(|tenant| cursor(tenant.id.0)),
    };
    room.json(StatusCode::OK, &list)
}

/// Get one tenant, with its quotas and its current usage.
#[utoipa::path(
    get, path = "/v1/tenants/{tenant}", tag = "administration", operation_id = "getTenant",
    params(("tenant" = String, Path, description = "The name of the tenant")),
    responses(
        (status = 200, description = "The tenant", body = TenantDocument),
        (status = 404, description = "`unknown-tenant`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    _: May<Administer>,
    InPath(name): InPath<TenantName>,
    Params(NoParams): Params<NoParams>,
) -> Result<Json<TenantDocument>, Refusal> {
    let tenant = app.engine.tenancy().named(name.as_str())?;
    Ok(Json(document(&app, &tenant).await?))
}

/// Change a tenant. The change takes effect at once.
#[utoipa::path(
    patch, path = "/v1/tenants/{tenant}", tag = "administration", operation_id = "setTenant",
    params(("tenant" = String, Path, description = "The name of the tenant")),
    request_body = TenantChange,
    responses(
        (status = 200, description = "The changed tenant", body = TenantDocument),
        (status = 400, description = "`invalid-body`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-tenant`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`default-tenant`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn set(
    State(app): State<App>,
    _: May<Administer>,
    InPath(name): InPath<TenantName>,
    Params(NoParams): Params<NoParams>,
    JsonBody(change): JsonBody<TenantChange>,
) -> Result<Json<TenantDocument>, Refusal> {
    let tenancy = app.engine.tenancy();
    let tenant = tenancy
        .set_tenant(name.as_str(), change.disabled, change.quotas)
        .await?;
    Ok(Json(document(&app, &tenant).await?))
}

/// Delete a tenant that has no instances, with its modules and keys.
#[utoipa::path(
    delete, path = "/v1/tenants/{tenant}", tag = "administration", operation_id = "deleteTenant",
    params(("tenant" = String, Path, description = "The name of the tenant")),
    responses(
        (status = 204, description = "Gone"),
        (status = 404, description = "`unknown-tenant`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`tenant-not-empty` or `default-tenant`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    _: May<Administer>,
    InPath(name): InPath<TenantName>,
    Params(NoParams): Params<NoParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<StatusCode, Refusal> {
    app.engine.tenancy().delete_tenant(name.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}
