//! The interface between [`Orchestration`](crate::Orchestration) and a host, in the SDK's own types.
//!
//! It has two implementations: the imports of the sandbox, here, and the simulated host of
//! [`testing`](crate::testing). The executor and everything above it run unchanged on both. Waiting is not part of the
//! interface: completions are passed to the executor from outside, so that the simulated host can run several
//! orchestrations on one thread.

use crate::bindings::orchestrator::windlass::durable::orchestration as imports;
use crate::entity::address::EntityId;
use crate::failure::Failure;
use crate::instance_id::InstanceId;
use crate::logging::Level;
use crate::retry::{ActivityOptions, SubOrchestrationOptions};
use crate::time::whole_millis;

/// The id of a durable operation within one execution.
pub(crate) type TaskId = u32;

/// The result of a task.
pub(crate) type Outcome = Result<String, Failure>;

/// The end of a task.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) task: TaskId,
    pub(crate) outcome: Outcome,
}

/// The properties of the running execution.
#[derive(Clone, Debug)]
pub(crate) struct ExecutionInfo {
    pub(crate) instance_id: InstanceId,
    pub(crate) execution: u32,
    pub(crate) function: String,
    pub(crate) parent_instance_id: Option<InstanceId>,
    pub(crate) started_at_ms: u64,
    pub(crate) max_payload_bytes: u64,
}

/// The size of the history of an execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistorySize {
    /// The number of turns. In each turn the orchestration runs until it waits.
    pub turns: u32,
    /// Bytes of all payloads that the execution received (its input, results, events) and sent (inputs of calls, events
    /// for other instances).
    pub payload_bytes: u64,
}

/// The functions of a host for an orchestration. They are those of the WIT interface `orchestration`, which documents
/// them.
pub(crate) trait Backend {
    fn info(&self) -> ExecutionInfo;
    fn history(&self) -> HistorySize;
    fn now_ms(&self) -> u64;
    fn new_uuid(&self) -> String;
    fn call_activity(&self, name: &str, input: &str, options: &ActivityOptions) -> TaskId;
    fn call_sub_orchestration(&self, name: &str, input: &str, options: &SubOrchestrationOptions) -> TaskId;
    fn start_orchestration(&self, name: &str, input: &str, instance_id: Option<&str>) -> String;
    fn send_event(&self, instance_id: &str, name: &str, payload: &str);
    fn create_timer(&self, fire_at_ms: u64) -> TaskId;
    fn wait_for_event(&self, name: &str) -> TaskId;
    fn take_event(&self, task: TaskId) -> Option<String>;
    fn cancel_task(&self, task: TaskId);
    fn wait_for_cancellation(&self) -> TaskId;
    fn cancellation_requested(&self) -> Option<String>;
    fn patched(&self, name: &str) -> bool;
    fn deprecate_patch(&self, name: &str);
    fn call_entity(&self, entity: &EntityId, operation: &str, input: &str) -> TaskId;
    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, at_ms: Option<u64>);
    fn lock_entities(&self, entities: &[EntityId]) -> TaskId;
    fn unlock_entities(&self, task: TaskId);
    fn set_custom_status(&self, status: &str);
    fn continue_as_new(&self, input: &str);
    fn log(&self, level: Level, message: &str);
}

/// The imports of the sandbox.
pub(crate) struct Host;

impl Host {
    /// Blocks until there are completions. Only the loop in [`export`](crate::export) calls it.
    pub(crate) fn wait() -> Vec<Completion> {
        imports::wait().into_iter().map(Into::into).collect()
    }
}

impl Backend for Host {
    fn info(&self) -> ExecutionInfo {
        imports::info().into()
    }

    fn history(&self) -> HistorySize {
        let size = imports::history();
        HistorySize {
            turns: size.turns,
            payload_bytes: size.payload_bytes,
        }
    }

    fn now_ms(&self) -> u64 {
        imports::now_ms()
    }

    fn new_uuid(&self) -> String {
        imports::new_uuid()
    }

    fn call_activity(&self, name: &str, input: &str, options: &ActivityOptions) -> TaskId {
        match options.heartbeat_timeout {
            Some(timeout) => {
                imports::call_activity_with_heartbeat(name, input, &options.into(), whole_millis(timeout).max(1))
            }
            None => imports::call_activity(name, input, &options.into()),
        }
    }

    fn call_sub_orchestration(&self, name: &str, input: &str, options: &SubOrchestrationOptions) -> TaskId {
        let task = imports::call_sub_orchestration(name, input, &options.into());
        if let Some(policy) = options.parent_close {
            imports::set_parent_close(task, policy.into());
        }
        task
    }

    fn start_orchestration(&self, name: &str, input: &str, instance_id: Option<&str>) -> String {
        imports::start_orchestration(name, input, instance_id)
    }

    fn send_event(&self, instance_id: &str, name: &str, payload: &str) {
        imports::send_event(instance_id, name, payload);
    }

    fn create_timer(&self, fire_at_ms: u64) -> TaskId {
        imports::create_timer(fire_at_ms)
    }

    fn wait_for_event(&self, name: &str) -> TaskId {
        imports::wait_for_event(name)
    }

    fn take_event(&self, task: TaskId) -> Option<String> {
        imports::take_event(task)
    }

    fn cancel_task(&self, task: TaskId) {
        imports::cancel_task(task);
    }

    fn wait_for_cancellation(&self) -> TaskId {
        imports::wait_for_cancellation()
    }

    fn cancellation_requested(&self) -> Option<String> {
        imports::cancellation_requested()
    }

    fn patched(&self, name: &str) -> bool {
        imports::patched(name)
    }

    fn deprecate_patch(&self, name: &str) {
        imports::deprecate_patch(name);
    }

    fn call_entity(&self, entity: &EntityId, operation: &str, input: &str) -> TaskId {
        imports::call_entity(&entity.into(), operation, input)
    }

    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, at_ms: Option<u64>) {
        imports::signal_entity(&entity.into(), operation, input, at_ms);
    }

    fn lock_entities(&self, entities: &[EntityId]) -> TaskId {
        let entities: Vec<imports::EntityId> = entities.iter().map(Into::into).collect();
        imports::lock_entities(&entities)
    }

    fn unlock_entities(&self, task: TaskId) {
        imports::unlock_entities(task);
    }

    fn set_custom_status(&self, status: &str) {
        imports::set_custom_status(status);
    }

    fn continue_as_new(&self, input: &str) {
        imports::continue_as_new(input);
    }

    fn log(&self, level: Level, message: &str) {
        imports::log(level.into(), message);
    }
}
