//! The state of the simulated world and of its instances.

use std::collections::{BTreeMap, VecDeque};

use crate::backend::{Completion, HistorySize, Outcome, TaskId};
use crate::entity::address::EntityId;
use crate::executor::Execution;
use crate::failure::Failure;
use crate::failure_types;
use crate::instance_id::InstanceId;
use crate::retry::{ParentClose, Retry};
use crate::time::Timestamp;

use super::entities::{Entities, LockRequest, SentOperation};
use super::events::Events;
use super::patches::Patches;
use super::run::{Called, LogLine, SentEvent, SentSignal};

/// The index of an instance in [`State::instances`].
pub(super) type Index = usize;

/// The mutable state of the world.
pub(super) struct State {
    pub(super) now: Timestamp,
    /// Future happenings, by time and then in the order they were scheduled.
    pub(super) agenda: BTreeMap<(Timestamp, u64), Happening>,
    pub(super) happenings: u64,
    pub(super) instances: Vec<Instance>,
    /// Instances with new arrivals, in order.
    pub(super) runnable: VecDeque<Index>,
    pub(super) calls: Vec<Called>,
    pub(super) sent: Vec<SentEvent>,
    pub(super) signals: Vec<SentSignal>,
    pub(super) entities: Entities,
    pub(super) logs: Vec<LogLine>,
    pub(super) uuids: u64,
    /// Messages of the running guest. They are sent at the end of the turn, and discarded if the turn fails.
    pub(super) outbox: Outbox,
    /// Guests that ended while another one ran. They are dropped later, when the state is not borrowed.
    pub(super) ended_guests: Vec<Execution>,
}

/// Something that happens at a virtual time.
pub(super) enum Happening {
    TimerFires(Place),
    AttemptStarts(Place, u32),
    AttemptEnds(Place, u32, Outcome),
    CallTimesOut(Place),
    EventComes {
        /// The instance that sent it; `None` if the test did.
        sender: Option<Index>,
        instance_id: InstanceId,
        name: String,
        payload: String,
    },
    /// A request to cancel an instance.
    CancelComes {
        instance_id: InstanceId,
        reason: String,
    },
    OperationArrives(SentOperation),
    LockArrives(LockRequest),
    SectionLeft {
        section: Place,
        entities: Vec<EntityId>,
    },
}

impl Happening {
    /// Whether it is a message to an entity.
    pub(super) fn is_for_entity(&self) -> bool {
        match self {
            Self::OperationArrives(_) | Self::LockArrives(_) | Self::SectionLeft { .. } => true,
            Self::TimerFires(_)
            | Self::AttemptStarts(..)
            | Self::AttemptEnds(..)
            | Self::CallTimesOut(_)
            | Self::CancelComes { .. }
            | Self::EventComes { .. } => false,
        }
    }
}

/// The messages of one turn to other instances.
#[derive(Default)]
pub(super) struct Outbox {
    /// Ids, names and inputs of orchestrations to start. They start before the events are delivered.
    pub(super) starts: Vec<(InstanceId, String, String)>,
    pub(super) events: Vec<Happening>,
    /// Messages to entities, in order, each with the time at which it arrives.
    pub(super) to_entities: Vec<(Timestamp, Happening)>,
}

/// Identifies a task in the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) instance: Index,
    pub(super) execution: u32,
    pub(super) task: TaskId,
}

pub(super) struct Instance {
    pub(super) id: InstanceId,
    pub(super) function: String,
    pub(super) input: String,
    pub(super) execution: u32,
    pub(super) started: Timestamp,
    /// The task and attempt of the parent, if this is a sub-orchestration.
    pub(super) parent: Option<(Place, u32)>,
    /// `None` while the guest runs, and after the end.
    pub(super) guest: Option<Execution>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) last_task: TaskId,
    /// The critical section: its lock task, and its entities.
    pub(super) section: Option<(TaskId, Vec<EntityId>)>,
    /// The size of the history before the current turn.
    pub(super) history: HistorySize,
    /// Bytes that the current turn received and sent.
    pub(super) given: u64,
    pub(super) events: Events,
    /// The reason of the first request to cancel the instance.
    pub(super) cancel_reason: Option<String>,
    pub(super) patches: Patches,
    pub(super) arrivals: Vec<Completion>,
    pub(super) custom_statuses: Vec<serde_json::Value>,
    pub(super) next_input: Option<String>,
    pub(super) outcome: Option<Outcome>,
}

/// An outstanding task, except event waits, which are in [`Events`].
pub(super) enum Task {
    Timer(Timestamp),
    Call(Box<Call>),
    Entity {
        entity: EntityId,
        operation: String,
        /// The index of its record in [`State::calls`].
        record: usize,
    },
    Lock(Vec<EntityId>),
    Cancellation,
}

pub(super) struct Call {
    pub(super) is_child: bool,
    pub(super) name: String,
    pub(super) input: String,
    pub(super) instance_id: Option<InstanceId>,
    pub(super) retry: Option<Retry>,
    pub(super) attempt_timeout: Option<std::time::Duration>,
    pub(super) heartbeat_timeout: Option<std::time::Duration>,
    /// The details of the last heartbeat of an attempt that has ended.
    pub(super) heartbeat: Option<String>,
    /// The time at which the whole call times out.
    pub(super) deadline: Option<Timestamp>,
    pub(super) attempt: u32,
    /// The index of its record in [`State::calls`].
    pub(super) record: usize,
    /// What happens to the child when its parent ends.
    pub(super) parent_close: Option<ParentClose>,
    /// The running instance of a sub-orchestration that is not scripted.
    pub(super) child: Option<Index>,
}

impl Instance {
    pub(super) fn new(id: InstanceId, function: &str, input: &str, started: Timestamp) -> Self {
        Self {
            id,
            function: function.into(),
            input: input.into(),
            execution: 1,
            started,
            parent: None,
            guest: None,
            tasks: BTreeMap::new(),
            last_task: 0,
            section: None,
            history: HistorySize::default(),
            given: input.len() as u64,
            events: Events::default(),
            cancel_reason: None,
            patches: Patches::default(),
            arrivals: Vec::new(),
            custom_statuses: Vec::new(),
            next_input: None,
            outcome: None,
        }
    }

    /// Counts the current turn into the history.
    pub(super) fn turn_ends(&mut self) {
        self.history.turns += 1;
        self.history.payload_bytes += std::mem::take(&mut self.given);
    }

    /// Resets the state for the next execution.
    pub(super) fn continue_as_new(&mut self, input: String) {
        self.events.begin_next_execution();
        self.tasks.clear();
        self.arrivals.clear();
        self.last_task = 0;
        self.history = HistorySize::default();
        self.patches = Patches::default();
        self.given = input.len() as u64;
        self.input = input;
    }

    pub(super) fn new_task(&mut self) -> TaskId {
        self.last_task += 1;
        self.last_task
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.tasks.is_empty() || self.events.waited_for().next().is_some()
    }

    /// Descriptions of the outstanding tasks.
    pub(super) fn waits(&self) -> Vec<String> {
        let tasks = self.tasks.values().map(|task| match task {
            Task::Timer(until) => format!("timer until {until}"),
            Task::Call(call) if call.is_child => format!("sub-orchestration {}", call.name),
            Task::Call(call) => format!("activity {}", call.name),
            Task::Entity { entity, operation, .. } => format!("operation {operation} of {entity}"),
            Task::Lock(entities) => {
                let entities: Vec<String> = entities.iter().map(ToString::to_string).collect();
                format!("lock of {}", entities.join(", "))
            }
            Task::Cancellation => "cancellation".into(),
        });
        tasks
            .chain(self.events.waited_for().map(|name| format!("event {name}")))
            .collect()
    }
}

impl State {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            now,
            agenda: BTreeMap::new(),
            happenings: 0,
            instances: Vec::new(),
            runnable: VecDeque::new(),
            calls: Vec::new(),
            sent: Vec::new(),
            signals: Vec::new(),
            entities: Entities::default(),
            logs: Vec::new(),
            uuids: 0,
            outbox: Outbox::default(),
            ended_guests: Vec::new(),
        }
    }

    pub(super) fn at(&mut self, time: Timestamp, happening: Happening) {
        self.happenings += 1;
        self.agenda.insert((time, self.happenings), happening);
    }

    pub(super) fn new_uuid(&mut self) -> String {
        self.uuids += 1;
        uuid(self.uuids)
    }

    pub(super) fn place(&self, instance: Index, task: TaskId) -> Place {
        Place {
            instance,
            execution: self.instances[instance].execution,
            task,
        }
    }

    /// The instance with that id that has not ended.
    pub(super) fn alive(&self, id: &str) -> Option<Index> {
        self.instances
            .iter()
            .position(|instance| instance.id == *id && instance.outcome.is_none())
    }

    /// Whether the execution of the task has not ended.
    pub(super) fn is_current(&self, place: Place) -> bool {
        let instance = &self.instances[place.instance];
        instance.outcome.is_none() && instance.execution == place.execution
    }

    /// The call of a task that is still outstanding.
    pub(super) fn call(&mut self, place: Place) -> Option<&mut Call> {
        if !self.is_current(place) {
            return None;
        }
        match self.instances[place.instance].tasks.get_mut(&place.task) {
            Some(Task::Call(call)) => Some(call),
            _ => None,
        }
    }

    /// Whether a happening has no effect any more, because its task has ended.
    pub(super) fn is_stale(&self, happening: &Happening) -> bool {
        let place = match happening {
            Happening::EventComes { .. }
            | Happening::CancelComes { .. }
            | Happening::OperationArrives(_)
            | Happening::LockArrives(_)
            | Happening::SectionLeft { .. } => return false,
            Happening::TimerFires(place) | Happening::CallTimesOut(place) => place,
            Happening::AttemptStarts(place, _) | Happening::AttemptEnds(place, _, _) => place,
        };
        !self.is_current(*place) || !self.instances[place.instance].tasks.contains_key(&place.task)
    }

    /// Ends a task. Does nothing if it has ended already.
    pub(super) fn complete(&mut self, place: Place, outcome: Outcome) {
        if !self.is_current(place) {
            return;
        }
        let Some(task) = self.instances[place.instance].tasks.remove(&place.task) else {
            return;
        };
        match task {
            Task::Call(call) => {
                self.calls[call.record].outcome = Some(as_json(&outcome));
                if let Some(child) = call.child {
                    self.terminate(child);
                }
            }
            Task::Entity { record, .. } => self.calls[record].outcome = Some(as_json(&outcome)),
            Task::Timer(_) | Task::Lock(_) | Task::Cancellation => {}
        }
        self.arrive(place.instance, place.task, outcome);
    }

    /// Queues an outcome for the guest.
    pub(super) fn arrive(&mut self, instance: Index, task: TaskId, outcome: Outcome) {
        self.instances[instance].arrivals.push(Completion { task, outcome });
        self.runnable.push_back(instance);
    }

    /// Whether the waiting guest has arrivals. If not, delivers a buffered event that it waits for.
    pub(super) fn has_arrivals(&mut self, instance: Index) -> bool {
        if self.instances[instance].arrivals.is_empty()
            && let Some(task) = self.instances[instance].events.pull()
        {
            let outcome = Ok("null".into());
            self.instances[instance].arrivals.push(Completion { task, outcome });
        }
        !self.instances[instance].arrivals.is_empty()
    }

    /// Requests the cancellation of an instance. The first reason stays.
    pub(super) fn cancel(&mut self, index: Index, reason: String) {
        let instance = &mut self.instances[index];
        if instance.outcome.is_some() || instance.cancel_reason.is_some() {
            return;
        }
        let is_wait = |(task, kind): (&TaskId, &Task)| matches!(kind, Task::Cancellation).then_some(*task);
        let waits: Vec<TaskId> = instance.tasks.iter().filter_map(is_wait).collect();
        let outcome = Ok(as_text(&reason));
        instance.cancel_reason = Some(reason);
        for task in waits {
            let place = self.place(index, task);
            self.complete(place, outcome.clone());
        }
        // It takes a turn even if the code does not wait for it.
        self.runnable.push_back(index);
    }

    pub(super) fn event_arrives(&mut self, instance: Index, task: TaskId) {
        self.arrive(instance, task, Ok("null".into()));
    }

    /// Terminates an instance and its children. Does nothing if it has ended already.
    fn terminate(&mut self, index: Index) {
        let instance = &mut self.instances[index];
        if instance.outcome.is_some() {
            return;
        }
        instance.outcome = Some(Err(Failure::new(
            failure_types::TERMINATED,
            "the instance was terminated",
        )
        .non_retryable()));
        self.ended_guests.extend(instance.guest.take());
        if let Some(left) = self.leave_section(index) {
            let now = self.now;
            self.at(now, left);
        }
        self.close_children(index, ParentClose::Terminate);
    }

    /// Ends the tasks of an execution that has ended, and closes each child as the code chose, or else in this way.
    pub(super) fn close_children(&mut self, index: Index, unless_chosen: ParentClose) {
        let tasks = std::mem::take(&mut self.instances[index].tasks);
        let children: Vec<_> = tasks.into_values().filter_map(child_of).collect();
        for (child, chosen) in children {
            match chosen.unwrap_or(unless_chosen) {
                ParentClose::Abandon => {}
                ParentClose::Terminate => self.terminate(child),
                ParentClose::Cancel => self.cancel(child, "its parent has ended".into()),
            }
        }
    }
}

/// The UUID with that number.
pub(super) fn uuid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

fn child_of(task: Task) -> Option<(Index, Option<ParentClose>)> {
    match task {
        Task::Call(call) => Some((call.child?, call.parent_close)),
        Task::Timer(_) | Task::Entity { .. } | Task::Lock(_) | Task::Cancellation => None,
    }
}

/// A text as JSON.
pub(super) fn as_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn as_json(outcome: &Outcome) -> Result<serde_json::Value, Failure> {
    outcome
        .clone()
        .map(|payload| serde_json::from_str(&payload).unwrap_or_default())
}
