//! The status object.

use serde::Serialize;

use super::history::HistoryEvent;
use crate::{
    http::document::{Verbatim, verbatim},
    model::{Failure, InstanceStatus, Payload, Timestamp},
    store::{InstanceDetails, InstanceSummary},
};

/// Which parts of an instance a request wants to see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    /// Inputs, of the instance and in its history.
    pub(super) input: bool,
    /// Results in the history.
    pub(super) results: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            input: true,
            results: false,
        }
    }
}

/// An instance. All fields but the last are always present: clients refuse an object that lacks one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusDocument {
    name: String,
    instance_id: String,
    runtime_status: &'static str,
    input: Verbatim,
    custom_status: Verbatim,
    output: Verbatim,
    created_time: String,
    last_updated_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) history_events: Option<Vec<HistoryEvent>>,
}

impl StatusDocument {
    pub(super) fn new(details: InstanceDetails, shown: Shown) -> Self {
        let output = output(&details);
        let InstanceDetails { summary, input, .. } = details;
        Self {
            input: verbatim(input.filter(|_| shown.input)),
            output: verbatim(output),
            ..Self::of_summary(summary)
        }
    }

    /// The document of an instance that has not ended, without its input.
    pub(super) fn of_summary(summary: InstanceSummary) -> Self {
        Self {
            name: summary.function.to_string(),
            instance_id: summary.id.to_string(),
            runtime_status: status_name(summary.status),
            input: verbatim(None),
            custom_status: verbatim(summary.custom_status),
            output: verbatim(None),
            created_time: seconds(summary.created_at),
            last_updated_time: seconds(summary.updated_at),
            history_events: None,
        }
    }

    /// The approximate size of its payloads, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let payloads = [&self.input, &self.custom_status, &self.output];
        payloads.iter().map(|Verbatim(payload)| payload.as_str().len()).sum()
    }
}

/// The name of a status. Durable Functions knows no stuck instances; like suspended ones, they go on when they are
/// resumed.
pub(super) fn status_name(status: InstanceStatus) -> &'static str {
    match status {
        InstanceStatus::Stuck => InstanceStatus::Suspended.name(),
        status => status.name(),
    }
}

fn output(details: &InstanceDetails) -> Option<Payload> {
    match (&details.outcome, &details.terminated) {
        (Some(Ok(output)), _) => Some(output.clone()),
        (Some(Err(failure)), _) => Some(Payload::of(&error_text(failure))),
        (None, Some(reason)) => reason_value(reason),
        (None, None) => None,
    }
}

/// A failure as text.
pub(super) fn error_text(failure: &Failure) -> String {
    format!("{}: {}", failure.error_type, failure.message)
}

/// The output of an instance that was terminated: the reason as JSON if it happens to be JSON, or else as a string;
/// none if no reason was given.
pub(super) fn reason_value(reason: &str) -> Option<Payload> {
    if reason.is_empty() {
        return None;
    }
    Some(Payload::parse(reason, usize::MAX).unwrap_or_else(|_| Payload::of(&reason)))
}

/// A time in whole seconds: `2026-01-31T12:00:00Z`.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    let whole = text.split('.').next().unwrap_or_default();
    format!("{whole}Z")
}
