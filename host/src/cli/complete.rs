//! `windlass complete`: completes an activity call from outside.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json, value::RawValue};

use super::{client::Client, error::CliError, input, output::Output};

/// Arguments of `complete`.
#[derive(Debug, Args)]
pub(super) struct Complete {
    /// The token that the activity got
    token: String,
    /// Output of the call: JSON, @FILE, or @- for standard input
    #[arg(
        long,
        value_name = "JSON|@FILE",
        required_unless_present = "failure",
        conflicts_with = "failure"
    )]
    output: Option<String>,
    /// Let the attempt fail with this message; the retry policy of the call applies
    #[arg(long, value_name = "MESSAGE")]
    failure: Option<String>,
    /// Type of the failure [default: Failure]
    #[arg(long = "type", value_name = "TYPE", requires = "failure")]
    error_type: Option<String>,
    /// Details of the failure: JSON, @FILE, or @- for standard input
    #[arg(long, value_name = "JSON|@FILE", requires = "failure")]
    details: Option<String>,
    /// Do not try the call again
    #[arg(long, requires = "failure")]
    non_retryable: bool,
}

impl Complete {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let body = match &self.failure {
            None => {
                let text = input::payload(self.output.as_deref())?.unwrap_or_else(|| "null".into());
                format!("{{\"output\":{text}}}")
            }
            Some(message) => self.failure_body(message)?,
        };
        let call = client
            .call(Method::POST, &["completions", &self.token])
            .json(Some(body));
        call.send().await?;
        if output.json() {
            return Ok(());
        }
        output.line("completed the call")
    }

    fn failure_body(&self, message: &str) -> Result<String, CliError> {
        let mut failure = Map::from_iter([("message".to_owned(), json!(message))]);
        if let Some(error_type) = &self.error_type {
            failure.insert("type".into(), json!(error_type));
        }
        if self.non_retryable {
            failure.insert("nonRetryable".into(), Value::Bool(true));
        }
        let failure = Value::Object(failure).to_string();
        let Some(details) = input::payload(self.details.as_deref())? else {
            return Ok(format!("{{\"failure\":{failure}}}"));
        };
        // Verbatim: numbers keep their digits.
        let details: Box<RawValue> =
            serde_json::from_str(&details).map_err(|error| CliError::Usage(error.to_string()))?;
        let others = failure.trim_end_matches('}');
        Ok(format!("{{\"failure\":{others},\"details\":{}}}}}", details.get()))
    }
}
