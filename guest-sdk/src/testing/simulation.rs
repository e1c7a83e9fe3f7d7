//! The loop over virtual time: guests run until they wait, then time jumps to the next happening.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::activity::Attempt as AttemptInfo;
use crate::backend::Outcome;
use crate::executor::{Execution, Progress};
use crate::failure::Failure;
use crate::failure_types;
use crate::instance_id::InstanceId;
use crate::logging::Level;
use crate::payload::decode;
use crate::retry::ParentClose;
use crate::time::Timestamp;

use super::entities::NewSignal;
use super::functions::Functions;
use super::host::{MAX_PAYLOAD_BYTES, SimulatedHost};
use super::instance::{Call, Happening, Index, Outbox, Place, State};
use super::retries::wait_before_next;
use super::run::{End, LogLine, Run};
use super::script::Run as ScriptRun;
use super::world::World;

/// The maximum number of happenings. A test with more is assumed to run forever.
const MAX_HAPPENINGS: u64 = 1_000_000;

/// A running world.
pub(super) struct Simulation {
    pub(super) functions: Rc<Functions>,
    pub(super) state: Rc<RefCell<State>>,
    instance_id: InstanceId,
    max_executions: u32,
    start: Timestamp,
}

/// The instance under test.
const ROOT: Index = 0;

impl Simulation {
    pub(super) fn new(world: World) -> Self {
        let mut state = State::new(world.start);
        for (entity, text) in world.states {
            state.entities.set(entity, text);
        }
        for (after, signal) in world.signals {
            let NewSignal {
                entity,
                operation,
                input,
                ..
            } = &signal;
            let checked = Functions::check_operation_form(entity, operation, input)
                .and_then(|()| world.functions.check_operation(entity, operation, input));
            if let Err(failure) = checked {
                panic!(
                    "the signal `{operation}` for {entity} is refused: {}",
                    failure.message()
                );
            }
            state.at(world.start + after, Happening::OperationArrives(signal.operation()));
        }
        for (after, instance_id, name, payload) in world.events {
            let instance_id = instance_id.unwrap_or_else(|| world.instance_id.clone());
            state.at(
                world.start + after,
                Happening::EventComes {
                    sender: None,
                    instance_id,
                    name,
                    payload,
                },
            );
        }
        for (after, instance_id, reason) in world.cancellations {
            let instance_id = instance_id.unwrap_or_else(|| world.instance_id.clone());
            state.at(world.start + after, Happening::CancelComes { instance_id, reason });
        }
        Self {
            functions: Rc::new(world.functions),
            state: Rc::new(RefCell::new(state)),
            instance_id: world.instance_id,
            max_executions: world.max_executions,
            start: world.start,
        }
    }

    pub(super) fn run<O: DeserializeOwned>(self, name: &str, input: &str) -> Run<O> {
        self.functions
            .start_instance(&self.state, self.instance_id.clone(), name, input, None);
        loop {
            self.settle();
            if self.state.borrow().instances[ROOT].outcome.is_some() || !self.let_something_happen() {
                self.deliver_to_entities();
                return self.report();
            }
        }
    }

    /// Lets the messages reach entities that the end of the run left on their way, so that a test sees their effect.
    fn deliver_to_entities(&self) {
        loop {
            let mut state = self.state.borrow_mut();
            assert!(state.happenings < MAX_HAPPENINGS, "the entities seem to run forever");
            let now = state.now;
            let due = state.agenda.range(..=(now, u64::MAX));
            let next = due
                .filter(|(_, happening)| happening.is_for_entity())
                .map(|(at, _)| *at)
                .next();
            let Some(happening) = next.and_then(|at| state.agenda.remove(&at)) else {
                return;
            };
            drop(state);
            self.happen(happening);
        }
    }

    /// Runs all guests that have arrivals.
    fn settle(&self) {
        loop {
            let next = self.state.borrow_mut().runnable.pop_front();
            let Some(index) = next else { return };
            self.run_guest(index);
            self.send_out();
            let ended = std::mem::take(&mut self.state.borrow_mut().ended_guests);
            drop(ended);
        }
    }

    fn run_guest(&self, index: Index) {
        let Some(mut guest) = self.state.borrow_mut().instances[index].guest.take() else {
            return;
        };
        loop {
            let arrivals = std::mem::take(&mut self.state.borrow_mut().instances[index].arrivals);
            let arrived = arrivals.iter().map(|arrival| size(&arrival.outcome)).sum::<u64>();
            self.state.borrow_mut().instances[index].given += arrived;
            guest.deliver(arrivals);
            match guest.advance() {
                Progress::Finished(outcome) => return self.finish(index, outcome),
                Progress::Waiting if !self.state.borrow_mut().has_arrivals(index) => break,
                Progress::Waiting => {}
            }
        }
        let mut state = self.state.borrow_mut();
        // Tasks that completed while the guest ran were delivered in this turn.
        state.runnable.retain(|runnable| *runnable != index);
        state.instances[index].turn_ends();
        drop(state);
        if self.state.borrow().instances[index].is_waiting() {
            self.state.borrow_mut().instances[index].guest = Some(guest);
        } else {
            drop(guest);
            let message = "the orchestration waits, but it has no outstanding task";
            let failure = Failure::new(failure_types::WAITS_FOR_NOTHING, message).non_retryable();
            self.state.borrow_mut().outbox = Outbox::default();
            self.finish(index, Err(failure));
        }
    }

    /// Sends the messages of a turn that has ended.
    fn send_out(&self) {
        let Outbox {
            starts,
            events,
            to_entities,
        } = std::mem::take(&mut self.state.borrow_mut().outbox);
        for (id, name, input) in starts {
            if self.state.borrow().alive(id.as_str()).is_none() {
                self.functions.start_instance(&self.state, id, &name, &input, None);
            }
        }
        let mut state = self.state.borrow_mut();
        let now = state.now;
        for event in events {
            state.at(now, event);
        }
        for (time, message) in to_entities {
            state.at(time.max(now), message);
        }
    }

    /// Ends an execution, and also the instance unless it continues as new.
    fn finish(&self, index: Index, outcome: Outcome) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        let left = state.leave_section(index);
        state.outbox.to_entities.extend(left.map(|left| (now, left)));
        state.close_children(index, ParentClose::Abandon);
        let instance = &mut state.instances[index];
        if outcome.is_ok()
            && let Some(input) = instance.next_input.take()
        {
            instance.continue_as_new(input);
            if index == ROOT && instance.execution >= self.max_executions {
                // `report` recognises this case by the absence of both a guest and an outcome.
                return;
            }
            instance.execution += 1;
            instance.started = now;
            drop(state);
            return self.functions.start_execution(&self.state, index);
        }
        instance.outcome = Some(outcome.clone());
        let parent = instance.parent;
        if let Some((place, attempt)) = parent {
            drop(state);
            self.end_attempt(place, attempt, outcome);
        }
    }

    /// Jumps to the next happening. Returns false if there is none.
    fn let_something_happen(&self) -> bool {
        let mut state = self.state.borrow_mut();
        assert!(
            state.happenings < MAX_HAPPENINGS,
            "the orchestration seems to run forever"
        );
        let Some(((time, _), happening)) = state.agenda.pop_first() else {
            return false;
        };
        // A stale timer must not advance the clock.
        if state.is_stale(&happening) {
            return true;
        }
        state.now = time;
        drop(state);
        self.happen(happening);
        true
    }

    fn happen(&self, happening: Happening) {
        match happening {
            Happening::TimerFires(place) => self.state.borrow_mut().complete(place, Ok("null".into())),
            Happening::AttemptStarts(place, attempt) => self.start_attempt(place, attempt),
            Happening::AttemptEnds(place, attempt, outcome) => self.end_attempt(place, attempt, outcome),
            Happening::CallTimesOut(place) => self.time_out(place),
            Happening::CancelComes { instance_id, reason } => {
                let mut state = self.state.borrow_mut();
                if let Some(index) = state.alive(instance_id.as_str()) {
                    state.cancel(index, reason);
                }
            }
            Happening::OperationArrives(operation) => self.operation_arrives(operation),
            Happening::LockArrives(request) => self.lock_arrives(request),
            Happening::SectionLeft { section, entities } => self.section_left(section, &entities),
            Happening::EventComes {
                sender,
                instance_id,
                name,
                payload,
            } => {
                let mut state = self.state.borrow_mut();
                let Some(index) = state.alive(instance_id.as_str()) else {
                    return;
                };
                let function = &state.instances[index].function;
                if let Err(failure) = self.functions.check_event(function, &name, &payload) {
                    let message = format!(
                        "the event `{name}` for `{instance_id}` is refused: {}",
                        failure.message()
                    );
                    let Some(sender) = sender else { panic!("{message}") };
                    let instance_id = state.instances[sender].id.clone();
                    let level = Level::Warn;
                    return state.logs.push(LogLine {
                        instance_id,
                        level,
                        message,
                    });
                }
                if let Some(task) = state.instances[index].events.raise(&name, payload) {
                    state.event_arrives(index, task);
                }
            }
        }
    }

    fn start_attempt(&self, place: Place, attempt: u32) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        let Some(call) = state.call(place) else { return };
        call.attempt = attempt;
        let Call {
            is_child,
            name,
            input,
            instance_id,
            attempt_timeout,
            heartbeat_timeout,
            heartbeat,
            deadline,
            record,
            ..
        } = call;
        let (is_child, name, input, record) = (*is_child, name.clone(), input.clone(), *record);
        let (instance_id, attempt_timeout, deadline) = (instance_id.clone(), *attempt_timeout, *deadline);
        let (heartbeat_timeout, previous) = (*heartbeat_timeout, heartbeat.clone());
        state.calls[record].attempts = attempt;
        let caller = &state.instances[place.instance];
        let key = format!("{}/{}/{}", caller.id, place.execution, place.task);
        let info = AttemptInfo {
            instance_id: caller.id.clone(),
            execution: place.execution,
            function: name.clone(),
            attempt,
            idempotency_key: key.clone(),
            deadline_ms: attempt_timeout
                .map(|timeout| now + timeout)
                .into_iter()
                .chain(deadline)
                .min()
                .map_or(u64::MAX, Timestamp::for_host),
            max_payload_bytes: MAX_PAYLOAD_BYTES,
        };
        drop(state);

        let script = match is_child {
            false => Some(self.functions.activity(&name)),
            true => self.functions.children.get(&name),
        };
        let Some(script) = script else {
            let id = instance_id.unwrap_or_else(|| format!("{key}/{attempt}").into());
            if self.state.borrow().alive(id.as_str()).is_some() {
                let message = format!("an instance with the id {id:?} has not ended");
                return self.end_attempt(
                    place,
                    attempt,
                    Err(Failure::new(failure_types::ALREADY_EXISTS, message)),
                );
            }
            let child = self
                .functions
                .start_instance(&self.state, id, &name, &input, Some((place, attempt)));
            if let Some(call) = self.state.borrow_mut().call(place) {
                call.child = Some(child);
            }
            return;
        };
        let host = SimulatedHost {
            state: self.state.clone(),
            functions: self.functions.clone(),
            instance: place.instance,
        };
        let ran = script.clone().run(ScriptRun {
            info,
            input,
            now,
            settings: self.functions.settings.clone(),
            sink: Rc::new(host),
            previous,
        });
        let ran = ran.within(attempt_timeout, heartbeat_timeout);
        let mut state = self.state.borrow_mut();
        if let (Some(call), Some((_, details))) = (state.call(place), ran.heartbeats.last()) {
            call.heartbeat = Some(details.clone());
        }
        state.at(now + ran.duration, Happening::AttemptEnds(place, attempt, ran.outcome));
    }

    fn end_attempt(&self, place: Place, attempt: u32, outcome: Outcome) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        let Some(call) = state.call(place).filter(|call| call.attempt == attempt) else {
            return;
        };
        call.child = None;
        if let Err(failure) = &outcome
            && let Some(wait) = wait_before_next(call.retry.as_ref(), attempt, failure)
        {
            let next = now + Duration::from_millis(wait);
            if call.deadline.is_none_or(|deadline| next < deadline) {
                return state.at(next, Happening::AttemptStarts(place, attempt + 1));
            }
        }
        state.complete(place, outcome);
    }

    fn time_out(&self, place: Place) {
        let mut state = self.state.borrow_mut();
        let Some(call) = state.call(place) else { return };
        let message = format!("`{}` did not end in time", call.name);
        state.complete(place, Err(Failure::new(failure_types::TIMEOUT, message)));
    }

    fn report<O: DeserializeOwned>(self) -> Run<O> {
        let is_waiting = self.state.borrow().instances[ROOT].guest.is_some();
        self.drop_guests();
        let mut state = self.state.borrow_mut();
        let elapsed = state.now - self.start;
        let root = &mut state.instances[ROOT];
        let end = match root.outcome.take() {
            Some(Ok(payload)) => match decode("the output is not of its type", &payload) {
                Ok(output) => End::Completed(output),
                Err(failure) => End::Failed(failure),
            },
            Some(Err(failure)) => End::Failed(failure),
            None if is_waiting => End::Waiting(root.waits()),
            None => End::ContinuedAsNew(serde_json::from_str(&root.input).unwrap_or_default()),
        };
        Run {
            end,
            elapsed,
            executions: root.execution,
            custom_statuses: std::mem::take(&mut root.custom_statuses),
            calls: std::mem::take(&mut state.calls),
            sent: std::mem::take(&mut state.sent),
            signals: std::mem::take(&mut state.signals),
            states: std::mem::take(&mut state.entities).into_states(),
            logs: std::mem::take(&mut state.logs),
        }
    }

    /// Drops all guests while the state is not borrowed, because their futures may call the host when dropped.
    fn drop_guests(&self) {
        let mut state = self.state.borrow_mut();
        let guests: Vec<Execution> = state
            .instances
            .iter_mut()
            .filter_map(|instance| instance.guest.take())
            .collect();
        drop(state);
        drop(guests);
    }
}

/// The size in bytes of a result, or of a failure's message.
fn size(outcome: &Outcome) -> u64 {
    match outcome {
        Ok(payload) => payload.len() as u64,
        Err(failure) => failure.message().len() as u64,
    }
}
