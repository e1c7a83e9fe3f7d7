//! The document that describes an instance to clients.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{history::HistoryDocument, waiting::WaitingDocument};
use crate::{
    engine::WaitingFor,
    http::document::{FailureDocument, Verbatim, tags, time, verbatim},
    model::{InstanceStatus, Payload, StuckReason},
    store::InstanceDetails,
    tenancy::Hold,
};

/// An instance. Fields that Durable Functions has too have the same names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Instance)]
pub(crate) struct InstanceDocument {
    /// The name of the orchestration function.
    name: String,
    /// The instance's id.
    instance_id: String,
    /// `Pending`, `Running`, `Suspended` or `Stuck`; once it has ended, `Completed`, `Failed`, `Terminated` or `Canceled`.
    #[schema(example = "Running")]
    runtime_status: &'static str,
    /// The input of the current execution, verbatim.
    input: Verbatim,
    /// The result, or the reason if it was terminated; `null` until it has ended.
    output: Verbatim,
    /// The custom status that the orchestration has set.
    custom_status: Verbatim,
    /// When it was created.
    #[schema(example = "2026-01-31T12:00:00.000Z")]
    created_time: String,
    /// When it last changed.
    last_updated_time: String,
    /// When its first turn will run, if that is delayed and has not happened: the `startAt` of its start, or the time of
    /// the next attempt of a sub-orchestration.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_at: Option<String>,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureDocument>,
    /// Why it is stuck, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck: Option<StuckDocument>,
    /// Why the instance currently takes no turns although it could: `disabled` if its tenant is, or the name of the
    /// quota that is used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<&'static str>,
    /// The digest of the module that it runs on.
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    module_digest: String,
    /// The number of the current execution, from 1; continue-as-new increments it.
    execution: u32,
    /// The number of turns of the current execution.
    turns: u32,
    /// The fuel that its turns have used, over all executions.
    fuel: u64,
    /// The id of the parent instance, if it is a sub-orchestration.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_instance_id: Option<String>,
    /// The tags that it was given at its start.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    tags: BTreeMap<String, String>,
    /// What it waits for, if that was requested and it has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<WaitingDocument>,
    /// The turns of the current execution, if they were requested.
    #[serde(flatten)]
    #[schema(value_type = HistoryDocument)]
    history: Option<HistoryDocument>,
}

/// Why an instance is stuck: its history and its code no longer agree, or the code cannot run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Stuck)]
pub(crate) struct StuckDocument {
    /// The kind of problem, for programs. Stable.
    #[schema(example = "nondeterminism")]
    code: String,
    /// The turn, what the history holds, and what the code asked for.
    message: String,
    /// The page about this kind of problem, relative to the host.
    #[schema(example = "/docs/errors/nondeterminism")]
    r#type: String,
}

impl From<StuckReason> for StuckDocument {
    fn from(StuckReason { code, message }: StuckReason) -> Self {
        Self {
            r#type: format!("/docs/errors/{code}"),
            code,
            message,
        }
    }
}

impl From<InstanceDetails> for InstanceDocument {
    fn from(details: InstanceDetails) -> Self {
        Self::with_history(details, None)
    }
}

impl InstanceDocument {
    /// Sets `held`, unless the instance is suspended, stuck or ended anyway.
    pub(super) fn held(self, why: Option<Hold>) -> Self {
        let runs = [InstanceStatus::Pending, InstanceStatus::Running].map(InstanceStatus::name);
        Self {
            held: why.map(Hold::name).filter(|_| runs.contains(&self.runtime_status)),
            ..self
        }
    }

    /// Adds what the instance waits for.
    pub(super) fn waiting(self, waiting: Option<WaitingFor>) -> Self {
        Self {
            waiting_for: waiting.map(Into::into),
            ..self
        }
    }

    pub(super) fn with_history(details: InstanceDetails, history: Option<HistoryDocument>) -> Self {
        let InstanceDetails {
            summary,
            input,
            outcome,
            terminated,
        } = details;
        let (output, failure) = match outcome {
            Some(Ok(output)) => (Some(output), None),
            Some(Err(failure)) => (None, Some(failure.into())),
            // As in Durable Functions, the reason is the output of an instance that was terminated.
            None => (
                terminated
                    .filter(|reason| !reason.is_empty())
                    .map(|reason| Payload::of(&reason)),
                None,
            ),
        };
        Self {
            name: summary.function.to_string(),
            instance_id: summary.id.to_string(),
            runtime_status: InstanceStatus::name(summary.status),
            input: verbatim(input),
            output: verbatim(output),
            custom_status: verbatim(summary.custom_status),
            created_time: time(summary.created_at),
            last_updated_time: time(summary.updated_at),
            start_at: summary.start_at.map(time),
            failure,
            stuck: summary.stuck.map(Into::into),
            held: None,
            module_digest: summary.module_digest.to_string(),
            execution: summary.execution.0,
            turns: summary.last_turn.0,
            fuel: summary.fuel,
            parent_instance_id: summary.parent_id.map(|id| id.to_string()),
            tags: tags(&summary.tags),
            waiting_for: None,
            history,
        }
    }
}
