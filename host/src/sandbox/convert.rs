//! Conversions between the types of the WIT package and those of the model. They check and bound the data of guests.

use crate::model::{
    ActivityOptions, Cause, Failure, LogLevel, Outcome, Payload, RetryPolicy, SubOrchestrationOptions,
    failure::{MAX_CAUSES, types},
    options::DEFAULT_MAX_INTERVAL_MS,
};
use crate::replay::Completion;

use super::bindings::wit;

/// Maximum length of the error type of a failure, in bytes. Longer ones are truncated.
const MAX_ERROR_TYPE_BYTES: usize = 200;
/// Maximum length of the message of a failure, in bytes. Longer ones are truncated; data belongs into the details.
const MAX_MESSAGE_BYTES: usize = 16 << 10;
/// The error type of a failure without one.
const UNNAMED: &str = "Failure";

/// Converts a failure of the guest. Details that are not valid JSON are kept as a JSON string.
pub(super) fn failure(failure: wit::Failure, payload_bytes: usize) -> Failure {
    let wit::Failure {
        error_type,
        message,
        details,
        non_retryable,
        causes,
    } = failure;
    let causes = causes.into_iter().take(MAX_CAUSES).map(|cause| Cause {
        error_type: self::error_type(cause.error_type),
        message: cut(cause.message, MAX_MESSAGE_BYTES),
        details: self::details(cause.details, payload_bytes),
    });
    Failure {
        error_type: self::error_type(error_type),
        message: cut(message, MAX_MESSAGE_BYTES),
        details: self::details(details, payload_bytes),
        non_retryable,
        causes: causes.collect(),
    }
}

fn error_type(name: String) -> String {
    if name.is_empty() {
        UNNAMED.to_owned()
    } else {
        cut(name, MAX_ERROR_TYPE_BYTES)
    }
}

fn details(details: Option<String>, payload_bytes: usize) -> Option<Payload> {
    let text = cut(details?, payload_bytes);
    Some(Payload::parse(&text, payload_bytes).unwrap_or_else(|_| Payload::of(&text)))
}

fn cut(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}

/// Converts the result of a function. A result that is not a valid payload becomes a failure.
pub(super) fn outcome(returned: Result<String, wit::Failure>, payload_bytes: usize) -> Outcome {
    match returned {
        Ok(text) => Payload::parse(&text, payload_bytes)
            .map_err(|error| Failure::new(types::PAYLOAD, format!("the result {error}")).permanent()),
        Err(guest) => Err(failure(guest, payload_bytes)),
    }
}

/// Converts a completion for the guest.
pub(super) fn completion(completion: Completion) -> wit::Completion {
    let outcome = match completion.outcome {
        Ok(payload) => Ok(payload.as_str().to_owned()),
        Err(failure) => Err(guest_failure(failure)),
    };
    wit::Completion {
        task: completion.task.0,
        outcome,
    }
}

/// Converts a failure of the host for the guest.
pub(super) fn guest_failure(failure: Failure) -> wit::Failure {
    let text = |payload: Option<Payload>| payload.map(|payload| payload.as_str().to_owned());
    let causes = failure.causes.into_iter().map(|cause| wit::FailureCause {
        error_type: cause.error_type,
        message: cause.message,
        details: text(cause.details),
    });
    wit::Failure {
        error_type: failure.error_type,
        message: failure.message,
        details: text(failure.details),
        non_retryable: failure.non_retryable,
        causes: causes.collect(),
    }
}

fn retry(policy: wit::RetryPolicy) -> RetryPolicy {
    RetryPolicy {
        first_interval_ms: policy.first_interval_ms,
        backoff_coefficient: policy.backoff_coefficient,
        max_interval_ms: policy.max_interval_ms.unwrap_or(DEFAULT_MAX_INTERVAL_MS),
        max_attempts: policy.max_attempts,
        non_retryable_error_types: policy.non_retryable_error_types,
    }
}

/// Converts the options of an activity call.
pub(super) fn activity_options(options: wit::ActivityOptions) -> ActivityOptions {
    ActivityOptions {
        retry: options.retry.map(retry),
        attempt_timeout_ms: options.attempt_timeout_ms,
        timeout_ms: options.timeout_ms,
        heartbeat_timeout_ms: None,
    }
}

/// Converts the options of a sub-orchestration. Returns the requested id separately.
pub(super) fn sub_orchestration_options(
    options: wit::SubOrchestrationOptions,
) -> (SubOrchestrationOptions, Option<String>) {
    let wit::SubOrchestrationOptions {
        instance_id,
        retry: policy,
        timeout_ms,
    } = options;
    (
        SubOrchestrationOptions {
            retry: policy.map(retry),
            timeout_ms,
        },
        instance_id,
    )
}

/// Converts the level of a log line.
pub(super) fn log_level(level: wit::LogLevel) -> LogLevel {
    match level {
        wit::LogLevel::Trace => LogLevel::Trace,
        wit::LogLevel::Debug => LogLevel::Debug,
        wit::LogLevel::Info => LogLevel::Info,
        wit::LogLevel::Warn => LogLevel::Warn,
        wit::LogLevel::Error => LogLevel::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_a_guest_is_bounded_and_keeps_its_details() {
        let cause = |n: usize| wit::FailureCause {
            error_type: format!("C{n}"),
            message: String::new(),
            details: None,
        };
        let guest = wit::Failure {
            error_type: String::new(),
            message: "é".repeat(MAX_MESSAGE_BYTES),
            details: Some("not json".into()),
            non_retryable: true,
            causes: (0..100).map(cause).collect(),
        };
        let failure = failure(guest, 100);
        assert_eq!(failure.error_type, UNNAMED);
        assert_eq!(failure.message.len(), MAX_MESSAGE_BYTES);
        assert_eq!(failure.details.unwrap().as_str(), "\"not json\"");
        assert_eq!(failure.causes.len(), MAX_CAUSES);
    }

    #[test]
    fn a_result_that_is_not_a_payload_is_a_permanent_failure() {
        assert_eq!(outcome(Ok("1.0".into()), 100).unwrap().as_str(), "1.0");
        for text in ["{", "[1,2,3]"] {
            let failure = outcome(Ok(text.into()), 5).unwrap_err();
            assert_eq!(
                (failure.error_type.as_str(), failure.non_retryable),
                (types::PAYLOAD, true)
            );
        }
    }
}
