//! The [`Backend`] of native builds: the simulated host from the point of view of one instance.

use std::cell::RefCell;
use std::rc::Rc;

use crate::backend::{Backend, ExecutionInfo, HistorySize, TaskId};
use crate::failure::Failure;
use crate::failure_types;
use crate::logging::{Level, Sink};
use crate::retry::{ActivityOptions, SubOrchestrationOptions};
use crate::time::Timestamp;

use super::functions::Functions;
use super::instance::{Call, Happening, Index, State, Task};
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
        let checked = self.functions.check_call(kind, &call.name, &call.input);
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
        let mut state = self.state.borrow_mut();
        state.uuids += 1;
        format!("00000000-0000-4000-8000-{:012x}", state.uuids)
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
            deadline: None,
            attempt: 0,
            record: 0,
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
            deadline: None,
            attempt: 0,
            record: 0,
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
            Some(Task::Timer(_)) => drop(state.instances[self.instance].tasks.remove(&task)),
            Some(Task::Call(_)) => {
                let place = state.place(self.instance, task);
                state.complete(
                    place,
                    Err(Failure::new(failure_types::CANCELLED, "the task was cancelled").non_retryable()),
                );
            }
            None => {}
        }
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
