//! The [`Backend`] of native builds: the simulated host from the point of view of one instance.

use std::cell::RefCell;
use std::rc::Rc;

use crate::backend::{Backend, ExecutionInfo, HistorySize, TaskId};
use crate::entity::address::EntityId;
use crate::failure::{Failure, Result};
use crate::failure_types;
use crate::logging::{Level, Sink};
use crate::retry::{ActivityOptions, ParentClose, SubOrchestrationOptions};
use crate::time::Timestamp;

use super::entities::{LockRequest, NewSignal, SentOperation, not_signalled};
use super::functions::Functions;
use super::instance::{Call, Happening, Index, State, Task, as_text};
use super::run::{Called, CalledKind, LogLine, SentEvent};

/// The maximum size of a payload in bytes: the default of the real host.
pub(super) const MAX_PAYLOAD_BYTES: u64 = 1 << 20;

/// The simulated host, for one instance.
#[derive(Clone)]
pub(super) struct SimulatedHost {
    pub(super) state: Rc<RefCell<State>>,
    pub(super) functions: Rc<Functions>,
    pub(super) instance: Index,
}

impl SimulatedHost {
    fn schedule_call(&self, kind: CalledKind, mut call: Call, timeout: Option<std::time::Duration>) -> TaskId {
        let checked = self
            .check_outside_section(kind)
            .and_then(|()| self.functions.check_call(kind, &call.name, &call.input));
        let mut state = self.state.borrow_mut();
        let now = state.now;
        call.record = state.calls.len();
        call.deadline = timeout.map(|timeout| now + timeout);
        state.calls.push(Called::new(kind, &call.name, &call.input));
        state.instances[self.instance].given += call.input.len() as u64;
        let deadline = call.deadline;
        let task = state.instances[self.instance].new_task();
        let place = state.place(self.instance, task);
        state.instances[self.instance]
            .tasks
            .insert(task, Task::Call(Box::new(call)));
        if let Err(failure) = checked {
            state.complete(place, Err(failure));
            return task;
        }
        state.at(now, Happening::AttemptStarts(place, 1));
        if let Some(deadline) = deadline {
            state.at(deadline, Happening::CallTimesOut(place));
        }
        task
    }

    /// Whether the execution passed a point with the code before a change. Executions after the first one run new code
    /// from their beginning.
    fn is_old_branch(&self, patch: &str, execution: u32) -> bool {
        execution == 1 && self.functions.old_branches.contains(patch)
    }

    /// Fails for a sub-orchestration in a critical section.
    fn check_outside_section(&self, kind: CalledKind) -> Result<()> {
        let is_in_section = self.state.borrow().instances[self.instance].section.is_some();
        if !is_in_section || kind != CalledKind::SubOrchestration {
            return Ok(());
        }
        let message = "a critical section cannot call sub-orchestrations";
        Err(Failure::new(failure_types::IN_CRITICAL_SECTION, message).non_retryable())
    }

    /// Fails in a critical section that does not hold the entity, or has called it already.
    fn check_callable(&self, entity: &EntityId) -> Result<()> {
        let state = self.state.borrow();
        let instance = &state.instances[self.instance];
        let Some((task, entities)) = &instance.section else {
            return Ok(());
        };
        let is_called = |task: &Task| matches!(task, Task::Entity { entity: called, .. } if called == entity);
        let message = if !entities.contains(entity) {
            format!("{entity} is not locked by this critical section")
        } else if instance.tasks.contains_key(task) {
            format!("{entity} is not locked yet")
        } else if instance.tasks.values().any(is_called) {
            format!("{entity} is called already: a critical section has one call of each at a time")
        } else {
            return Ok(());
        };
        Err(Failure::new(failure_types::NOT_LOCKED, message).non_retryable())
    }

    /// Fails in a critical section that includes the entity.
    fn check_signalled(&self, entity: &EntityId) -> Result<()> {
        let state = self.state.borrow();
        match &state.instances[self.instance].section {
            Some((_, entities)) if entities.contains(entity) => {
                let message = format!("{entity} is locked by this critical section: call it instead of signalling it");
                Err(Failure::new(failure_types::NOT_LOCKED, message).non_retryable())
            }
            _ => Ok(()),
        }
    }
}

impl Backend for SimulatedHost {
    fn info(&self) -> ExecutionInfo {
        let state = self.state.borrow();
        let instance = &state.instances[self.instance];
        ExecutionInfo {
            instance_id: instance.id.clone(),
            execution: instance.execution,
            function: instance.function.clone(),
            parent_instance_id: instance
                .parent
                .map(|(place, _)| state.instances[place.instance].id.clone()),
            started_at_ms: instance.started.for_host(),
            max_payload_bytes: MAX_PAYLOAD_BYTES,
        }
    }

    fn history(&self) -> HistorySize {
        self.state.borrow().instances[self.instance].history
    }

    fn now_ms(&self) -> u64 {
        self.state.borrow().now.for_host()
    }

    fn new_uuid(&self) -> String {
        self.state.borrow_mut().new_uuid()
    }

    fn call_activity(&self, name: &str, input: &str, options: &ActivityOptions) -> TaskId {
        let defaults = self.functions.activity(name).defaults.clone();
        let call = Call {
            is_child: false,
            name: name.into(),
            input: input.into(),
            instance_id: None,
            retry: options.retry.clone().or(defaults.retry),
            attempt_timeout: options.attempt_timeout.or(defaults.attempt_timeout),
            heartbeat_timeout: options.heartbeat_timeout,
            heartbeat: None,
            deadline: None,
            attempt: 0,
            record: 0,
            parent_close: None,
            child: None,
        };
        self.schedule_call(CalledKind::Activity, call, options.timeout.or(defaults.timeout))
    }

    fn call_sub_orchestration(&self, name: &str, input: &str, options: &SubOrchestrationOptions) -> TaskId {
        let call = Call {
            is_child: true,
            name: name.into(),
            input: input.into(),
            instance_id: options.instance_id.clone(),
            retry: options.retry.clone(),
            attempt_timeout: None,
            heartbeat_timeout: None,
            heartbeat: None,
            deadline: None,
            attempt: 0,
            record: 0,
            parent_close: options.parent_close,
            child: None,
        };
        self.schedule_call(CalledKind::SubOrchestration, call, options.timeout)
    }

    fn start_orchestration(&self, name: &str, input: &str, instance_id: Option<&str>) -> String {
        let mut state = self.state.borrow_mut();
        state.calls.push(Called::new(CalledKind::Start, name, input));
        let number = state.instances.len() + state.outbox.starts.len();
        let id = instance_id.map_or_else(|| format!("started-{number}"), str::to_owned);
        if !self.functions.is_orchestration(name) {
            return id;
        }
        match self.functions.check_call(CalledKind::Start, name, input) {
            Ok(()) => state
                .outbox
                .starts
                .push((id.as_str().into(), name.into(), input.into())),
            Err(failure) => {
                drop(state);
                let line = format!("orchestration {name:?} was not started: {}", failure.message());
                Backend::log(self, Level::Error, &line);
            }
        }
        id
    }

    fn send_event(&self, instance_id: &str, name: &str, payload: &str) {
        let mut state = self.state.borrow_mut();
        state.sent.push(SentEvent::new(instance_id, name, payload));
        state.outbox.events.push(Happening::EventComes {
            sender: Some(self.instance),
            instance_id: instance_id.into(),
            name: name.into(),
            payload: payload.into(),
        });
    }

    fn create_timer(&self, fire_at_ms: u64) -> TaskId {
        let mut state = self.state.borrow_mut();
        let until = Timestamp::from_host(fire_at_ms).min(Timestamp::LAST_WRITABLE);
        let task = state.instances[self.instance].new_task();
        state.instances[self.instance].tasks.insert(task, Task::Timer(until));
        let place = state.place(self.instance, task);
        let fires = until.max(state.now);
        state.at(fires, Happening::TimerFires(place));
        task
    }

    fn wait_for_event(&self, name: &str) -> TaskId {
        let mut state = self.state.borrow_mut();
        let instance = &mut state.instances[self.instance];
        let task = instance.new_task();
        if instance.events.wait(task, name) {
            state.event_arrives(self.instance, task);
        }
        task
    }

    fn take_event(&self, task: TaskId) -> Option<String> {
        self.state.borrow_mut().instances[self.instance].events.take(task)
    }

    fn cancel_task(&self, task: TaskId) {
        let mut state = self.state.borrow_mut();
        if let Some(served) = state.instances[self.instance].events.cancel(task) {
            state.event_arrives(self.instance, served);
        }
        match state.instances[self.instance].tasks.get(&task) {
            Some(Task::Timer(_) | Task::Cancellation) => drop(state.instances[self.instance].tasks.remove(&task)),
            Some(Task::Call(_)) => {
                let place = state.place(self.instance, task);
                let call = state.call(place);
                let call = call.filter(|call| call.parent_close == Some(ParentClose::Cancel));
                if let Some(child) = call.and_then(|call| call.child.take()) {
                    state.cancel(child, "cancelled by its parent".into());
                }
                state.complete(
                    place,
                    Err(Failure::new(failure_types::CANCELLED, "the task was cancelled").non_retryable()),
                );
            }
            // An operation cannot be cancelled, and a lock is withdrawn by leaving the section.
            Some(Task::Entity { .. } | Task::Lock(_)) | None => {}
        }
    }

    fn wait_for_cancellation(&self) -> TaskId {
        let mut state = self.state.borrow_mut();
        let instance = &mut state.instances[self.instance];
        let task = instance.new_task();
        instance.tasks.insert(task, Task::Cancellation);
        if let Some(reason) = instance.cancel_reason.clone() {
            let place = state.place(self.instance, task);
            state.complete(place, Ok(as_text(&reason)));
        }
        task
    }

    fn cancellation_requested(&self) -> Option<String> {
        self.state.borrow().instances[self.instance].cancel_reason.clone()
    }

    fn patched(&self, name: &str) -> bool {
        let mut state = self.state.borrow_mut();
        let instance = &mut state.instances[self.instance];
        if let Some(answer) = instance.patches.answer(name) {
            return answer;
        }
        let is_old = self.is_old_branch(name, instance.execution);
        instance.given += instance.patches.patched(name, is_old);
        !is_old
    }

    fn deprecate_patch(&self, name: &str) {
        let mut state = self.state.borrow_mut();
        let instance = &mut state.instances[self.instance];
        let is_old = self.is_old_branch(name, instance.execution);
        instance.given += instance.patches.deprecate(name, is_old);
    }

    fn call_entity(&self, entity: &EntityId, operation: &str, input: &str) -> TaskId {
        let checked = Functions::check_operation_form(entity, operation, input)
            .and_then(|()| self.check_callable(entity))
            .and_then(|()| self.functions.check_operation(entity, operation, input));
        let mut state = self.state.borrow_mut();
        let record = state.calls.len();
        state.calls.push(Called::of_entity(entity, operation, input));
        let instance = &mut state.instances[self.instance];
        instance.given += input.len() as u64;
        let task = instance.new_task();
        let waiting = Task::Entity {
            entity: entity.clone(),
            operation: operation.into(),
            record,
        };
        instance.tasks.insert(task, waiting);
        let section = instance.section.as_ref().map(|(task, _)| *task);
        let section = section.map(|task| state.place(self.instance, task));
        let place = state.place(self.instance, task);
        match checked {
            Ok(()) => {
                let now = state.now;
                let sent = SentOperation {
                    entity: entity.clone(),
                    operation: operation.into(),
                    input: input.into(),
                    caller: Some(place),
                    section,
                };
                state.outbox.to_entities.push((now, Happening::OperationArrives(sent)));
            }
            Err(failure) => state.complete(place, Err(failure)),
        }
        task
    }

    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, at_ms: Option<u64>) {
        let checked = Functions::check_operation_form(entity, operation, input)
            .and_then(|()| self.check_signalled(entity))
            .and_then(|()| self.functions.check_operation(entity, operation, input));
        if let Err(failure) = checked {
            return Backend::log(self, Level::Error, &not_signalled(entity, operation, &failure));
        }
        let signal = NewSignal {
            entity: entity.clone(),
            operation: operation.into(),
            input: input.into(),
            at: at_ms.map(|at| Timestamp::from_host(at).min(Timestamp::LAST_WRITABLE)),
        };
        let mut state = self.state.borrow_mut();
        let time = signal.at.unwrap_or(state.now);
        let arrives = Happening::OperationArrives(signal.operation());
        state.outbox.to_entities.push((time, arrives));
        state.signals.push(signal.into());
        state.instances[self.instance].given += input.len() as u64;
    }

    fn lock_entities(&self, entities: &[EntityId]) -> TaskId {
        let mut state = self.state.borrow_mut();
        let instance = &mut state.instances[self.instance];
        let task = instance.new_task();
        let checked = self.functions.check_section(entities, instance.section.is_some());
        instance.tasks.insert(task, Task::Lock(entities.to_vec()));
        let place = state.place(self.instance, task);
        match checked {
            Ok(entities) => {
                let now = state.now;
                let list = entities.iter().cloned().collect();
                state.instances[self.instance].section = Some((task, list));
                let request = LockRequest {
                    section: place,
                    entities,
                };
                state.outbox.to_entities.push((now, Happening::LockArrives(request)));
            }
            Err(failure) => state.complete(place, Err(failure)),
        }
        task
    }

    fn unlock_entities(&self, task: TaskId) {
        let mut state = self.state.borrow_mut();
        let section = state.instances[self.instance].section.as_ref();
        if section.is_none_or(|(lock, _)| *lock != task) {
            return;
        }
        let now = state.now;
        let left = state.leave_section(self.instance);
        state.outbox.to_entities.extend(left.map(|left| (now, left)));
    }

    fn set_custom_status(&self, status: &str) {
        let status = serde_json::from_str(status).unwrap_or_default();
        self.state.borrow_mut().instances[self.instance]
            .custom_statuses
            .push(status);
    }

    fn continue_as_new(&self, input: &str) {
        self.state.borrow_mut().instances[self.instance].next_input = Some(input.into());
    }

    fn log(&self, level: Level, message: &str) {
        let mut state = self.state.borrow_mut();
        let instance_id = state.instances[self.instance].id.clone();
        state.logs.push(LogLine {
            instance_id,
            level,
            message: message.into(),
        });
    }
}

/// Activities write to the log of the instance that called them.
impl Sink for SimulatedHost {
    fn log(&self, level: Level, message: &str) {
        Backend::log(self, level, message);
    }
}
