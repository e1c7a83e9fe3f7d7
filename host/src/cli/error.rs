//! Why a command failed, as one sentence and one exit code.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::output::{Output, clean};
use crate::http::Problem;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum CliError {
    /// The arguments are invalid together, or a file cannot be read.
    Usage(String),
    /// The host cannot be reached.
    Unreachable { url: String, cause: String },
    /// A server responds, but cannot be trusted to be the host.
    NotSecured(String),
    /// The host refused the request.
    Refused(Box<Problem>),
    /// The command timed out.
    TimedOut(String),
    /// The awaited instance did not complete; it was already shown.
    NotCompleted,
    /// Any other error.
    Failed(String),
}

impl CliError {
    /// An error that has no exit code of its own.
    pub(super) fn failed(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into())
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::NotCompleted => 1,
            Self::Usage(_) => 2,
            Self::Refused(problem) => match problem.status {
                404 => 3,
                409 | 410 => 4,
                _ => 1,
            },
            Self::Unreachable { .. } | Self::NotSecured(_) => 5,
            Self::TimedOut(_) => 6,
        }
    }

    /// Prints the sentence to standard error (with `--json` as an object) and returns the exit code.
    pub(super) fn report(&self, output: &Output) -> ExitCode {
        if output.json() {
            if let Some(object) = self.object() {
                output.complain(&object);
            }
        } else if let Some(sentence) = self.sentence() {
            eprintln!("{} {sentence}", output.red_on_stderr("error:"));
        }
        ExitCode::from(self.exit_code())
    }

    fn sentence(&self) -> Option<String> {
        Some(match self {
            Self::NotCompleted => return None,
            Self::Usage(sentence) | Self::NotSecured(sentence) | Self::TimedOut(sentence) | Self::Failed(sentence) => {
                clean(sentence)
            }
            Self::Unreachable { url, cause } => {
                format!(
                    "no host answers at {} ({}); is `windlass serve` running?",
                    clean(url),
                    clean(cause)
                )
            }
            Self::Refused(problem) => {
                let near = problem
                    .members
                    .get("near")
                    .and_then(Value::as_array)
                    .filter(|near| !near.is_empty());
                let near = near.map(|near| {
                    let names: Vec<_> = near.iter().filter_map(Value::as_str).collect();
                    format!("; did you mean {}?", names.join(" or "))
                });
                let path = problem
                    .members
                    .get("path")
                    .and_then(Value::as_str)
                    .filter(|path| !path.is_empty());
                let path = path.map(|path| format!(" (at {path})"));
                clean(&format!(
                    "{}{}{} [{}]",
                    problem.detail,
                    path.unwrap_or_default(),
                    near.unwrap_or_default(),
                    problem.code
                ))
            }
        })
    }

    fn object(&self) -> Option<Value> {
        match self {
            Self::Refused(problem) => serde_json::to_value(problem).ok(),
            Self::NotCompleted => None,
            Self::Usage(_) => Some(json!({ "code": "usage", "detail": self.sentence() })),
            Self::Unreachable { .. } => Some(json!({ "code": "unreachable", "detail": self.sentence() })),
            Self::NotSecured(_) => Some(json!({ "code": "not-secured", "detail": self.sentence() })),
            Self::TimedOut(_) => Some(json!({ "code": "timed-out", "detail": self.sentence() })),
            Self::Failed(_) => Some(json!({ "code": "failed", "detail": self.sentence() })),
        }
    }
}
