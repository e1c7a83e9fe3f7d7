//! Retention: rules that say how long ended instances are kept, and what they would delete.

use std::time::Duration;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    access::{Browse, Control, May},
    answers::PAGE_BYTES,
    body::{EmptyBody, JsonBody},
    document::time,
    error::Refusal,
    params::{FromParams, Given, NoParams, Params, parse_duration},
    positions::{Position, PositionKind},
    problem::Problem,
    state::App,
};
use crate::{
    engine::{RetentionError, RetentionPreviewGroup},
    model::{FunctionName, InstanceStatus, Kept, RetentionRule, RetentionScope},
    store::{EndedInstance, RetentionRow},
};

/// How long instances are kept. At least one member is required.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RetentionRequest {
    /// An instance is deleted this long after its end: `1s` to `36500d`.
    #[serde(default)]
    #[schema(example = "30d")]
    max_age: Option<String>,
    /// Of each function, only this many instances are kept, those that ended last: 1 to 1000000.
    #[serde(default)]
    max_count: Option<u32>,
    /// With `true`, and without the other members: what the rule is for is not deleted, although a wider rule says so.
    #[serde(default)]
    keep_forever: bool,
}

/// A retention rule.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RetentionRule)]
pub struct RetentionRuleDocument {
    /// The orchestration function that it is for; absent if it is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The final status that it is for; absent if it is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_status: Option<String>,
    /// An instance is deleted this long after its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "30days")]
    pub max_age: Option<String>,
    /// Of each function, only this many instances are kept, those that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u32>,
    /// Whether nothing is deleted because of it.
    pub keep_forever: bool,
    /// When it was set.
    pub last_updated_time: String,
}

/// The retention rules of a tenant.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Retention)]
pub struct RetentionDocument {
    /// The rules, by function and status.
    pub rules: Vec<RetentionRuleDocument>,
    /// How many instances were deleted because of rules since the host started, including sub-orchestrations.
    pub instances_deleted: u64,
    /// When there was nothing more to delete, for the last time since the host started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_time: Option<String>,
}

/// An instance that would be deleted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ExpiredInstance)]
pub struct ExpiredInstanceDocument {
    /// Its id.
    pub instance_id: String,
    /// Its final status.
    pub runtime_status: String,
    /// When it ended.
    pub ended_time: String,
    /// Whether it has sub-orchestrations, which would be deleted too. If one of them has not ended, all are kept until
    /// then.
    pub has_sub_orchestrations: bool,
}

/// What one rule would delete of one function.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RetentionPreviewGroup)]
pub struct PreviewGroupDocument {
    /// The orchestration function.
    pub name: String,
    /// The function that the rule is for; absent if it is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_name: Option<String>,
    /// The status that the rule is for; absent if it is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_runtime_status: Option<String>,
    /// The number of instances, without their sub-orchestrations; at most 10000.
    pub instances: u64,
    /// Whether there are more.
    pub more: bool,
    /// Those that would be deleted first, at most five.
    pub first: Vec<ExpiredInstanceDocument>,
}

/// What retention would delete now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RetentionPreview)]
pub struct PreviewDocument {
    /// By function and rule. Those without any instances are left out.
    pub groups: Vec<PreviewGroupDocument>,
    /// If there may be more: the `cursor` of the next request with the same parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl RetentionRequest {
    /// The limits, checked.
    fn read(&self, scope: RetentionScope) -> Result<RetentionRule, String> {
        let age = self.max_age.as_deref().map(parse_duration).transpose();
        let rule = RetentionRule {
            scope,
            kept: Kept {
                age: age.map_err(|problem| format!("maxAge {problem}"))?,
                count: self.max_count,
            },
        };
        let has_limit = rule.kept != Kept::default();
        match (has_limit, self.keep_forever) {
            (false, false) => return Err("give maxAge, maxCount, or keepForever: true".into()),
            (true, true) => return Err("keepForever: true excludes maxAge and maxCount".into()),
            _ => {}
        }
        rule.check().map_err(|problem| problem.to_string())?;
        Ok(rule)
    }
}

/// The scope of a rule, as parameters.
#[derive(Debug)]
pub(crate) struct ScopeParams(RetentionScope);

impl FromParams for ScopeParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        Ok(Self(RetentionScope {
            function: given.stored::<FunctionName>("name")?,
            status: given.with("runtimeStatus", |text| {
                let status = InstanceStatus::from_name(text).filter(|status| status.has_ended());
                status.ok_or_else(|| format!("must be Completed, Failed, Terminated or Canceled, not {text:?}"))
            })?,
        }))
    }
}

/// Parameters of a preview: the scope and limits of one more rule.
#[derive(Debug)]
pub(crate) struct PreviewParams {
    another: Option<RetentionRule>,
    cursor: Option<String>,
}

impl FromParams for PreviewParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        let ScopeParams(scope) = ScopeParams::read(given)?;
        let request = RetentionRequest {
            max_age: given.text("maxAge"),
            max_count: given.parsed("maxCount")?,
            keep_forever: given.flag("keepForever")?,
        };
        let cursor = given.text("cursor");
        let is_given = request.max_age.is_some() || request.max_count.is_some() || request.keep_forever;
        let another = match is_given || scope != RetentionScope::default() {
            true => Some(request.read(scope).map_err(invalid_limit)?),
            false => None,
        };
        Ok(Self { another, cursor })
    }
}

/// Names the parameter that a problem is about.
fn invalid_limit(problem: String) -> Refusal {
    let of = |name: &str| Some((name.to_owned(), problem.strip_prefix(name)?.trim_start().to_owned()));
    let (name, message) = of("maxAge").or_else(|| of("maxCount")).unwrap_or_else(|| {
        let message = format!("does not fit the other parameters: {problem}");
        ("keepForever".to_owned(), message)
    });
    Refusal::InvalidParameter { name, message }
}

impl From<RetentionRow> for RetentionRuleDocument {
    fn from(row: RetentionRow) -> Self {
        let RetentionRule { scope, kept } = row.rule;
        Self {
            name: scope.function.map(|function| function.to_string()),
            runtime_status: scope.status.map(|status| status.to_string()),
            max_age: kept.age.map(duration),
            max_count: kept.count,
            keep_forever: kept == Kept::default(),
            last_updated_time: time(row.updated_at),
        }
    }
}

/// A duration as people write it.
fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

impl From<EndedInstance> for ExpiredInstanceDocument {
    fn from(instance: EndedInstance) -> Self {
        Self {
            instance_id: instance.id.to_string(),
            runtime_status: instance.status.to_string(),
            ended_time: time(instance.position.ended_at),
            has_sub_orchestrations: instance.has_children,
        }
    }
}

impl From<RetentionPreviewGroup> for PreviewGroupDocument {
    fn from(group: RetentionPreviewGroup) -> Self {
        let scope = group.group.scope;
        Self {
            name: group.function.to_string(),
            rule_name: scope.function.map(|function| function.to_string()),
            rule_runtime_status: scope.status.map(|status| status.to_string()),
            instances: group.instances,
            more: group.more,
            first: group.first.into_iter().map(Into::into).collect(),
        }
    }
}

/// A place in a preview: after the function with this number.
struct AfterFunction(u64);

impl Position for AfterFunction {
    const KIND: PositionKind = PositionKind::RetentionPreview;

    fn numbers(&self) -> Vec<u64> {
        vec![self.0]
    }

    fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let [function] = *numbers else { return None };
        Some(Self(function))
    }
}

impl Refusal {
    /// Why a rule was not changed.
    fn of_retention(error: RetentionError, scope: &RetentionScope) -> Self {
        match error {
            RetentionError::TooMany(limit) => Self::TooManyRetentionRules { limit },
            RetentionError::Unknown => Self::UnknownRetentionRule { scope: words(scope) },
            // The tenant's keys are gone as well.
            RetentionError::TenantGone => Self::Unauthenticated,
            RetentionError::Store(error) => error.into(),
        }
    }
}

/// A scope in words, to follow "rule".
fn words(scope: &RetentionScope) -> String {
    let function = match &scope.function {
        Some(function) => format!("for {:?}", function.as_str()),
        None => "for all functions".into(),
    };
    let status = match scope.status {
        Some(status) => format!(" and the status {status}"),
        None => " and all statuses".into(),
    };
    function + &status
}

/// Get the retention rules of the tenant.
#[utoipa::path(
    get, path = "/v1/retention", tag = "instances", operation_id = "getRetention",
    responses(
        (status = 200, description = "The rules, and what was deleted because of them", body = RetentionDocument),
        (status = 400, description = "`unknown-parameter`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    May { caller, .. }: May<Browse>,
    Params(NoParams): Params<NoParams>,
) -> Result<Response, Refusal> {
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let (rules, run) = app.engine.retention(caller.tenant).await?;
    let document = RetentionDocument {
        rules: rules.into_iter().map(Into::into).collect(),
        instances_deleted: run.deleted,
        finished_time: run.finished_at.map(time),
    };
    room.json(StatusCode::OK, &document)
}

/// Set a retention rule, or replace the one with the same scope.
///
/// The rule is for ended instances of the function `name` with the status `runtimeStatus`; for all of them if a
/// parameter is absent. For each instance, the rule with the narrowest scope decides; a function is narrower than a
/// status. The host deletes what the rule does not keep, with the sub-orchestrations below, from now on.
#[utoipa::path(
    put, path = "/v1/retention/rule", tag = "instances", operation_id = "putRetentionRule",
    params(
        ("name" = Option<String>, Query, description = "The orchestration function; a module may offer it later"),
        ("runtimeStatus" = Option<String>, Query, description = "`Completed`, `Failed`, `Terminated` or `Canceled`"),
    ),
    request_body = RetentionRequest,
    responses(
        (status = 204, description = "The rule is stored"),
        (status = 400, description = "`invalid-body`, `invalid-parameter`, `unknown-parameter`, …", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`too-many-retention-rules`, with the `limit`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn put(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    Params(ScopeParams(scope)): Params<ScopeParams>,
    JsonBody(request): JsonBody<RetentionRequest>,
) -> Result<StatusCode, Refusal> {
    let rule = request.read(scope.clone()).map_err(Refusal::invalid_body)?;
    let put = app.engine.put_retention_rule(caller.tenant, rule).await;
    put.map_err(|error| Refusal::of_retention(error, &scope))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Delete the retention rule with this scope. Nothing is deleted because of it any more.
#[utoipa::path(
    delete, path = "/v1/retention/rule", tag = "instances", operation_id = "deleteRetentionRule",
    params(
        ("name" = Option<String>, Query, description = "The orchestration function"),
        ("runtimeStatus" = Option<String>, Query, description = "`Completed`, `Failed`, `Terminated` or `Canceled`"),
    ),
    responses(
        (status = 204, description = "Gone"),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-retention-rule`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    May { caller, .. }: May<Control>,
    Params(ScopeParams(scope)): Params<ScopeParams>,
    EmptyBody { .. }: EmptyBody,
) -> Result<StatusCode, Refusal> {
    let deleted = app.engine.delete_retention_rule(caller.tenant, scope.clone()).await;
    deleted.map_err(|error| Refusal::of_retention(error, &scope))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show what retention would delete now.
///
/// With a limit, as if a rule with this limit and the scope of `name` and `runtimeStatus` were set, too. Nothing is
/// changed. A page ends after some functions, so it may be empty; the last page is the one without `nextCursor`.
#[utoipa::path(
    get, path = "/v1/retention/preview", tag = "instances", operation_id = "previewRetention",
    params(
        ("name" = Option<String>, Query, description = "The orchestration function of the additional rule"),
        ("runtimeStatus" = Option<String>, Query, description = "The status of the additional rule: `Completed`, `Failed`, `Terminated` or `Canceled`"),
        ("maxAge" = Option<String>, Query, description = "The limit of the additional rule: instances are deleted this long after their end", example = "30d"),
        ("maxCount" = Option<u32>, Query, description = "The limit of the additional rule: only this many instances of each function are kept"),
        ("keepForever" = Option<bool>, Query, description = "Whether the additional rule keeps everything that it is for"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the previous page"),
    ),
    responses(
        (status = 200, description = "By function and rule", body = PreviewDocument),
        (status = 400, description = "`invalid-parameter`, `unknown-parameter`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn preview(
    State(app): State<App>,
    May { caller, .. }: May<Browse>,
    Params(PreviewParams { another, cursor }): Params<PreviewParams>,
) -> Result<Response, Refusal> {
    let after = app.position(caller, "cursor", cursor.as_deref())?;
    let after = after.map(|AfterFunction(function)| function);
    let room = app.answers.room(caller.tenant, PAGE_BYTES).await?;
    let preview = app.engine.preview_retention(caller.tenant, another, after).await?;
    let document = PreviewDocument {
        groups: preview.groups.into_iter().map(Into::into).collect(),
        next_cursor: preview.next.map(|function| app.seal(caller, &AfterFunction(function))),
    };
    room.json(StatusCode::OK, &document)
}
