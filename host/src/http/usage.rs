//! The usage of tenants: fuel, time and bytes of recorded turns and attempts.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    access::{Browse, May},
    answers::PAGE_BYTES,
    error::Refusal,
    params::{FromParams, Given, Params},
    problem::Problem,
    state::App,
};
use crate::{
    memory::{Memory, Part, TenantUse},
    model::{FunctionKind, TenantId},
    store::{Amount, Days, FunctionUsage, UsageCursor},
};

/// The usage of a tenant over some days.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Usage)]
pub(crate) struct UsageDocument {
    /// The sum over all functions, including those on other pages.
    total: AmountDocument,
    /// The usage by kind and name of the function.
    functions: Vec<FunctionUsageDocument>,
    /// If there are more functions: the `cursor` of the next request with the same days.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// The parts of the host's memory budget of which the tenant uses or has used something since the host started.
    memory: Vec<MemoryUsageDocument>,
    /// The schedules of the tenant.
    schedules: SchedulesUsageDocument,
}

/// How many schedules there are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SchedulesUsage)]
pub(crate) struct SchedulesUsageDocument {
    /// How many the tenant has.
    count: u64,
    /// The quota `maxSchedules`: how many it may have.
    max_schedules: u64,
}

/// How much of a part of the memory budget a tenant uses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MemoryUsage)]
pub(crate) struct MemoryUsageDocument {
    /// The name of the part.
    part: &'static str,
    /// Bytes that the tenant holds now.
    used: u64,
    /// The most bytes that it held at one time.
    most: u64,
    /// Requests of it that wait for bytes now.
    waiting: u64,
    /// Requests of it that had to wait or were refused.
    refused: u64,
}

/// The usage of one function.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FunctionUsage)]
pub(crate) struct FunctionUsageDocument {
    /// `orchestration`, whose turns are counted, or `activity`, whose attempts are counted.
    kind: &'static str,
    /// The name of the function.
    function: String,
    #[serde(flatten)]
    amount: AmountDocument,
}

/// The resources that turns or attempts used.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Amount)]
pub(crate) struct AmountDocument {
    /// Number of turns or attempts.
    count: u64,
    /// Number of those that failed.
    failed: u64,
    /// Fuel used.
    fuel: u64,
    /// Wall-clock time of attempts, in milliseconds.
    wall_ms: u64,
    /// Bytes of payloads they received.
    bytes_in: u64,
    /// Bytes of payloads they returned.
    bytes_out: u64,
    /// Bytes that the outgoing requests of attempts sent: heads and bodies, without the overhead of TLS and the
    /// network.
    http_sent: u64,
    /// Bytes that these requests received.
    http_received: u64,
}

impl From<Amount> for AmountDocument {
    fn from(amount: Amount) -> Self {
        Self {
            count: amount.count,
            failed: amount.failed,
            fuel: amount.fuel,
            wall_ms: amount.wall_ms,
            bytes_in: amount.bytes_in,
            bytes_out: amount.bytes_out,
            http_sent: amount.http_sent,
            http_received: amount.http_received,
        }
    }
}

impl From<FunctionUsage> for FunctionUsageDocument {
    fn from(usage: FunctionUsage) -> Self {
        Self {
            kind: FunctionKind::name(usage.kind),
            function: usage.function.to_string(),
            amount: usage.amount.into(),
        }
    }
}

/// The range of days.
#[derive(Debug)]
pub(crate) struct UsageParams {
    days: Days,
    after: Option<UsageCursor>,
    limit: u32,
}

/// Default and maximum number of functions on a page.
const MAX_FUNCTIONS: u32 = 1_000;

impl FromParams for UsageParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        let (from, to) = (given.time("from")?, given.time("to")?);
        Ok(Self {
            days: Days::between(from, to),
            after: given.parsed("cursor")?,
            limit: given.limit("limit", MAX_FUNCTIONS, MAX_FUNCTIONS)?,
        })
    }
}

/// Get the usage of the tenant.
///
/// Each turn and each attempt is added in the transaction that records it, so that nothing is counted twice or lost.
#[utoipa::path(
    get, path = "/v1/usage", tag = "instances", operation_id = "getUsage",
    params(
        ("from" = Option<String>, Query, description = "Start: the day that contains this time (RFC 3339; days begin at midnight UTC)"),
        ("to" = Option<String>, Query, description = "End: up to the day that contains the moment before this time"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
        ("limit" = Option<u32>, Query, description = "Maximum number of functions on the page (1 to 1000, default 1000)"),
    ),
    responses(
        (status = 200, description = "Fuel, time and bytes by function", body = UsageDocument),
        (status = 400, description = "`invalid-parameter`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    May { caller, .. }: May<Browse>,
    Params(params): Params<UsageParams>,
) -> Result<Response, Refusal> {
    // Without what this answer takes.
    let memory = memory_of(app.engine.memory(), caller.tenant);
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let UsageParams { days, after, limit } = params;
    let quotas = app.engine.tenancy().tenant(caller.tenant);
    let schedules = SchedulesUsageDocument {
        count: app.store(caller).count_schedules().await?,
        max_schedules: quotas.map_or(0, |tenant| tenant.quotas.max_schedules()),
    };
    let page = app.store(caller).usage(days, after.as_ref(), limit).await?;
    let document = UsageDocument {
        total: page.total.into(),
        functions: page.functions.into_iter().map(Into::into).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
        memory,
        schedules,
    };
    room.json(StatusCode::OK, &document)
}

/// The parts of the memory budget that the tenant uses or has used.
fn memory_of(memory: &Memory, tenant: TenantId) -> Vec<MemoryUsageDocument> {
    let parts = Part::ALL.into_iter();
    let used = parts.map(|part| (part, memory.part(part).usage_of(tenant)));
    let some = used.filter(|(_, used)| *used != TenantUse::default());
    let documents = some.map(|(part, used)| MemoryUsageDocument {
        part: part.name(),
        used: used.used,
        most: used.most,
        waiting: used.waiting as u64,
        refused: used.refused,
    });
    documents.collect()
}
