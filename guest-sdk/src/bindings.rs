//! The generated bindings, one module per world, and the conversions between generated types and the SDK's own.
//!
//! No other module names generated types. All worlds are bound here, although a component is of one kind: the metadata
//! linked with this crate only describes imports, and unused imports are dropped when the component is built. The macro
//! of one world, which `export!` expands, decides what a component *exports*.

use crate::backend::{Completion, ExecutionInfo, Outcome};
use crate::entity::address::EntityId;
use crate::entity::signature::{EntityDescription, OperationDescription};
use crate::entity::step::{Applied, NewState};
use crate::failure::{Cause, Failure};
use crate::function::FunctionDescription;
use crate::logging::Level;
use crate::retry::{ActivityOptions, ParentClose, Retry, SubOrchestrationOptions};
use crate::time::whole_millis;

#[expect(missing_docs, reason = "generated code")]
pub mod orchestrator {
    wit_bindgen::generate!({
        path: ["wit/io", "wit/durable"],
        world: "windlass:durable/orchestrator-module-with-events",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_orchestrator",
        default_bindings_module: "windlass_sdk::__private::orchestrator",
    });
}

#[expect(missing_docs, reason = "generated code")]
pub mod activity {
    wit_bindgen::generate!({
        path: ["wit/io", "wit/durable"],
        world: "windlass:durable/activity-module",
        with: { "windlass:durable/types@0.1.0": super::orchestrator::windlass::durable::types },
        pub_export_macro: true,
        export_macro_name: "export_activity",
        default_bindings_module: "windlass_sdk::__private::activity",
    });
}

#[expect(missing_docs, reason = "generated code")]
pub mod entity {
    wit_bindgen::generate!({
        path: ["wit/io", "wit/durable"],
        world: "windlass:durable/entity-module",
        with: { "windlass:durable/types@0.1.0": super::orchestrator::windlass::durable::types },
        pub_export_macro: true,
        export_macro_name: "export_entity",
        default_bindings_module: "windlass_sdk::__private::entity",
    });
}

pub use entity::exports::windlass::durable::entity::EntityModuleDescription;
pub use orchestrator::exports::windlass::durable::orchestrator_events::EventDescription;
pub use orchestrator::windlass::durable::types as wit;

/// Not an implementation of `From`: the generated type implements `Error`, and the blanket conversion of errors would
/// conflict.
pub(crate) fn failure(failure: wit::Failure) -> Failure {
    let causes = failure
        .causes
        .into_iter()
        .map(|c| Cause::from_parts(c.error_type, c.message, c.details))
        .collect();
    Failure::from_parts(
        failure.error_type,
        failure.message,
        failure.details,
        failure.non_retryable,
        causes,
    )
}

impl From<Failure> for wit::Failure {
    fn from(failure: Failure) -> Self {
        let cause = |cause: &Cause| wit::FailureCause {
            error_type: cause.error_type().into(),
            message: cause.message().into(),
            details: cause.details_json().map(str::to_owned),
        };
        Self {
            error_type: failure.error_type().into(),
            message: failure.message().into(),
            details: failure.details_json().map(str::to_owned),
            non_retryable: failure.is_non_retryable(),
            causes: failure.causes().iter().map(cause).collect(),
        }
    }
}

impl From<&Retry> for wit::RetryPolicy {
    fn from(retry: &Retry) -> Self {
        Self {
            first_interval_ms: whole_millis(retry.first_interval),
            backoff_coefficient: retry.coefficient,
            max_interval_ms: retry.max_interval.map(whole_millis),
            max_attempts: retry.max_attempts,
            non_retryable_error_types: retry.non_retryable.clone(),
        }
    }
}

impl From<&ActivityOptions> for wit::ActivityOptions {
    fn from(options: &ActivityOptions) -> Self {
        Self {
            retry: options.retry.as_ref().map(Into::into),
            attempt_timeout_ms: options.attempt_timeout.map(whole_millis),
            timeout_ms: options.timeout.map(whole_millis),
        }
    }
}

impl From<&SubOrchestrationOptions> for wit::SubOrchestrationOptions {
    fn from(options: &SubOrchestrationOptions) -> Self {
        Self {
            instance_id: options.instance_id.clone().map(Into::into),
            retry: options.retry.as_ref().map(Into::into),
            timeout_ms: options.timeout.map(whole_millis),
        }
    }
}

impl From<ParentClose> for orchestrator::windlass::durable::orchestration::ParentClosePolicy {
    fn from(policy: ParentClose) -> Self {
        match policy {
            ParentClose::Abandon => Self::Abandon,
            ParentClose::Terminate => Self::Terminate,
            ParentClose::Cancel => Self::Cancel,
        }
    }
}

impl From<wit::Completion> for Completion {
    fn from(completion: wit::Completion) -> Self {
        let outcome: Outcome = completion.outcome.map_err(failure);
        Self {
            task: completion.task,
            outcome,
        }
    }
}

impl From<orchestrator::windlass::durable::orchestration::ExecutionInfo> for ExecutionInfo {
    fn from(info: orchestrator::windlass::durable::orchestration::ExecutionInfo) -> Self {
        Self {
            instance_id: info.instance_id.into(),
            execution: info.execution,
            function: info.function,
            parent_instance_id: info.parent_instance_id.map(Into::into),
            started_at_ms: info.started_at_ms,
            max_payload_bytes: info.max_payload_bytes,
        }
    }
}

impl From<&EntityId> for orchestrator::windlass::durable::orchestration::EntityId {
    fn from(id: &EntityId) -> Self {
        Self {
            name: id.name().into(),
            key: id.key().into(),
        }
    }
}

impl From<Applied> for entity::windlass::durable::entity_context::Applied {
    fn from(applied: Applied) -> Self {
        Self {
            output: applied.output,
            state: applied.state.into(),
        }
    }
}

impl From<NewState> for entity::windlass::durable::entity_context::NewState {
    fn from(state: NewState) -> Self {
        match state {
            NewState::Unchanged => Self::Unchanged,
            NewState::Set(text) => Self::Set(text),
            NewState::Deleted => Self::Deleted,
        }
    }
}

impl From<entity::windlass::durable::entity_context::NewState> for NewState {
    fn from(state: entity::windlass::durable::entity_context::NewState) -> Self {
        use entity::windlass::durable::entity_context::NewState as Given;
        match state {
            Given::Unchanged => Self::Unchanged,
            Given::Set(text) => Self::Set(text),
            Given::Deleted => Self::Deleted,
        }
    }
}

impl From<EntityDescription> for entity::exports::windlass::durable::entity::EntityDescription {
    fn from(description: EntityDescription) -> Self {
        Self {
            name: description.name,
            doc: description.doc,
            state_schema: Some(description.state_schema),
            operations: description.operations.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<OperationDescription> for entity::exports::windlass::durable::entity::OperationDescription {
    fn from(description: OperationDescription) -> Self {
        Self {
            name: description.name,
            doc: description.doc,
            input_schema: description.input_schema,
            output_schema: Some(description.output_schema),
        }
    }
}

impl From<Level> for wit::LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

impl From<FunctionDescription> for wit::FunctionDescription {
    fn from(description: FunctionDescription) -> Self {
        Self {
            name: description.name,
            doc: description.doc,
            input_schema: description.input_schema,
            output_schema: description.output_schema,
            default_options: description.default_options.as_ref().map(Into::into),
        }
    }
}
