//! Completes activity calls from outside.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    body::PayloadBody,
    document::Verbatim,
    error::Refusal,
    params::{NoParams, Params},
    path::InPath,
    problem::Problem,
    state::App,
};
use crate::model::{CompletionToken, Failure, Outcome, Payload};

/// The error type of a failure without one.
const UNNAMED: &str = "Failure";

/// The longest error type, in bytes.
const MAX_TYPE_BYTES: usize = 200;

/// The longest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// How a call ends: with an output or a failure.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompletionRequest {
    /// The output of the call.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Verbatim>)]
    output: Option<Box<RawValue>>,
    /// Why the attempt failed. The retry policy of the call applies.
    #[serde(default)]
    failure: Option<CompletionFailure>,
}

/// Reads `null` as an output: that of an activity that returns nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Why an attempt failed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CompletionFailure {
    /// Machine-readable type, at most 200 bytes; `Failure` if absent.
    #[serde(default)]
    r#type: Option<String>,
    /// One sentence for people, at most 16 KiB.
    message: String,
    /// Further data for programs.
    #[serde(default)]
    #[schema(value_type = Option<Verbatim>)]
    details: Option<Box<RawValue>>,
    /// Trying again is pointless, so no retry policy applies.
    #[serde(default)]
    non_retryable: bool,
}

/// Complete an activity call.
///
/// The token is the permission: the request needs no API key. It counts in the quota `eventsPerSecond` of the tenant.
#[utoipa::path(
    post, path = "/v1/completions/{token}", tag = "completions", operation_id = "completeCall",
    params(("token" = String, Path, description = "The token that the activity got")),
    request_body(content = CompletionRequest, content_type = "application/json", description = "Either `output` or `failure`"),
    responses(
        (status = 202, description = "Stored; the orchestration gets the outcome"),
        (status = 400, description = "`invalid-body`, `not-json`, `invalid-path`, …", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`quota-exceeded`, `tenant-disabled`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-completion`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`completion-used`", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "`completion-over`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn complete(
    State(app): State<App>,
    InPath(token): InPath<CompletionToken>,
    Params(NoParams): Params<NoParams>,
    body: PayloadBody,
) -> Result<StatusCode, Refusal> {
    let request: CompletionRequest =
        serde_json::from_str(body.payload.as_str()).map_err(|error| Refusal::invalid_body(error.to_string()))?;
    let outcome = request.outcome(app.options.payload_bytes)?;
    app.engine.complete(&token, outcome).await?;
    Ok(StatusCode::ACCEPTED)
}

impl CompletionRequest {
    fn outcome(self, payload_bytes: usize) -> Result<Outcome, Refusal> {
        let payload = |raw: &RawValue| {
            Payload::parse(raw.get(), payload_bytes).map_err(|error| Refusal::invalid_body(format!("a value {error}")))
        };
        match (self.output, self.failure) {
            (Some(output), None) => payload(&output).map(Ok),
            (None, Some(failure)) => {
                let error_type = failure.r#type.unwrap_or_else(|| UNNAMED.into());
                if error_type.is_empty() || error_type.len() > MAX_TYPE_BYTES {
                    return Err(Refusal::invalid_body(
                        "the type of the failure must have 1 to 200 bytes",
                    ));
                }
                if failure.message.len() > MAX_MESSAGE_BYTES {
                    return Err(Refusal::invalid_body(
                        "the message of the failure must have at most 16 KiB",
                    ));
                }
                Ok(Err(Failure {
                    details: failure.details.as_deref().map(payload).transpose()?,
                    non_retryable: failure.non_retryable,
                    ..Failure::new(error_type, failure.message)
                }))
            }
            _ => Err(Refusal::invalid_body("it must have either `output` or `failure`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(body: &str) -> Option<Outcome> {
        let request: CompletionRequest = serde_json::from_str(body).ok()?;
        request.outcome(1_000).ok()
    }

    #[test]
    fn a_body_has_one_outcome_and_null_is_an_output() {
        assert_eq!(outcome(r#"{"output":null}"#), Some(Ok(Payload::null())));
        assert_eq!(
            outcome(r#"{"output": 1.0 }"#),
            Some(Ok(Payload::parse("1.0", 10).unwrap()))
        );
        let failure = outcome(r#"{"failure":{"message":"m","nonRetryable":true}}"#);
        assert_eq!(failure, Some(Err(Failure::new("Failure", "m").permanent())));
        for wrong in [
            "{}",
            r#"{"output":1,"failure":{"message":"m"}}"#,
            r#"{"failure":{}}"#,
            r#"{"failure":{"message":"m","type":""}}"#,
            r#"{"result":1}"#,
        ] {
            assert_eq!(outcome(wrong), None, "{wrong}");
        }
        let long = "m".repeat(MAX_MESSAGE_BYTES + 1);
        assert_eq!(outcome(&format!(r#"{{"failure":{{"message":"{long}"}}}}"#)), None);
    }
}
