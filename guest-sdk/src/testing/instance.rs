//! What the simulated host keeps of each instance, and of the whole world.

use std::collections::{BTreeMap, VecDeque};

use crate::backend::{Completion, HistorySize, Outcome, TaskId};
use crate::executor::Execution;
use crate::failure::Failure;
use crate::failure_types;
use crate::instance_id::InstanceId;
use crate::retry::Retry;
use crate::time::Timestamp;

use super::events::Events;
use super::run::{Called, LogLine, SentEvent};

/// The place of an instance in [`State::instances`].
pub(super) type Index = usize;

/// Everything that changes while the world runs.
pub(super) struct State {
    pub(super) now: Timestamp,
    /// What will happen, by time and then in the order it was asked for.
    pub(super) agenda: BTreeMap<(Timestamp, u64), Happening>,
    pub(super) happenings: u64,
    pub(super) instances: Vec<Instance>,
    /// Instances with something new to see, in order.
    pub(super) runnable: VecDeque<Index>,
    pub(super) calls: Vec<Called>,
    pub(super) sent: Vec<SentEvent>,
    pub(super) logs: Vec<LogLine>,
    pub(super) uuids: u64,
    /// What the guest that runs has asked for: it leaves when the turn is over, and never if the turn breaks.
    pub(super) outbox: Outbox,
    /// Guests that were ended from within another: dropped when nothing is borrowed.
    pub(super) ended_guests: Vec<Execution>,
}

/// Something that happens at a virtual time.
pub(super) enum Happening {
    TimerFires(Place),
    AttemptStarts(Place, u32),
    AttemptEnds(Place, u32, Outcome),
    CallTimesOut(Place),
    EventComes {
        /// The instance that sent it; none if the test did.
        sender: Option<Index>,
        instance_id: InstanceId,
        name: String,
        payload: String,
    },
}

/// What one turn sends to others.
#[derive(Default)]
pub(super) struct Outbox {
    /// Ids, names and inputs of orchestrations to start. They are there before the events come.
    pub(super) starts: Vec<(InstanceId, String, String)>,
    pub(super) events: Vec<Happening>,
}

/// One task of one execution.
#[derive(Clone, Copy, PartialEq, Eq)]
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
    /// Whose sub-orchestration this is, and which attempt of it.
    pub(super) parent: Option<(Place, u32)>,
    /// Absent while it runs, and after the end.
    pub(super) guest: Option<Execution>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) last_task: TaskId,
    /// Up to the turn before the one that runs.
    pub(super) history: HistorySize,
    /// Bytes that arrived for the turn that runs, and that it gave away.
    pub(super) given: u64,
    pub(super) events: Events,
    pub(super) arrivals: Vec<Completion>,
    pub(super) custom_statuses: Vec<serde_json::Value>,
    pub(super) next_input: Option<String>,
    pub(super) outcome: Option<Outcome>,
}

/// An outstanding task. Event waits are kept by [`Events`].
pub(super) enum Task {
    Timer(Timestamp),
    Call(Box<Call>),
}

pub(super) struct Call {
    pub(super) is_child: bool,
    pub(super) name: String,
    pub(super) input: String,
    pub(super) instance_id: Option<InstanceId>,
    pub(super) retry: Option<Retry>,
    pub(super) attempt_timeout: Option<std::time::Duration>,
    /// When the whole call has run out of time.
    pub(super) deadline: Option<Timestamp>,
    pub(super) attempt: u32,
    /// Its place in [`State::calls`].
    pub(super) record: usize,
    /// The sub-orchestration that runs, if it really does.
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
            history: HistorySize::default(),
            given: input.len() as u64,
            events: Events::default(),
            arrivals: Vec::new(),
            custom_statuses: Vec::new(),
            next_input: None,
            outcome: None,
        }
    }

    /// A turn is over.
    pub(super) fn turn_ends(&mut self) {
        self.history.turns += 1;
        self.history.payload_bytes += std::mem::take(&mut self.given);
    }

    /// Begins the next execution.
    pub(super) fn continue_as_new(&mut self, input: String) {
        self.events.begin_next_execution();
        self.tasks.clear();
        self.arrivals.clear();
        self.last_task = 0;
        self.history = HistorySize::default();
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

    /// What it waits for, in words.
    pub(super) fn waits(&self) -> Vec<String> {
        let tasks = self.tasks.values().map(|task| match task {
            Task::Timer(until) => format!("timer until {until}"),
            Task::Call(call) if call.is_child => format!("sub-orchestration {}", call.name),
            Task::Call(call) => format!("activity {}", call.name),
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

    pub(super) fn place(&self, instance: Index, task: TaskId) -> Place {
        Place {
            instance,
            execution: self.instances[instance].execution,
            task,
        }
    }

    /// The instance of that id that has not ended.
    pub(super) fn alive(&self, id: &str) -> Option<Index> {
        self.instances
            .iter()
            .position(|instance| instance.id == *id && instance.outcome.is_none())
    }

    /// Whether the execution that the task belongs to still runs.
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

    /// Whether nothing would come of it: the task ended before.
    pub(super) fn is_stale(&self, happening: &Happening) -> bool {
        let place = match happening {
            Happening::EventComes { .. } => return false,
            Happening::TimerFires(place) | Happening::CallTimesOut(place) => place,
            Happening::AttemptStarts(place, _) | Happening::AttemptEnds(place, _, _) => place,
        };
        !self.is_current(*place) || !self.instances[place.instance].tasks.contains_key(&place.task)
    }

    /// Ends a task. Nothing happens if it ended before.
    pub(super) fn complete(&mut self, place: Place, outcome: Outcome) {
        if !self.is_current(place) {
            return;
        }
        let Some(task) = self.instances[place.instance].tasks.remove(&place.task) else {
            return;
        };
        if let Task::Call(call) = task {
            self.calls[call.record].outcome = Some(as_json(&outcome));
            if let Some(child) = call.child {
                self.terminate(child);
            }
        }
        self.arrive(place.instance, place.task, outcome);
    }

    /// Lets the guest see an outcome.
    pub(super) fn arrive(&mut self, instance: Index, task: TaskId, outcome: Outcome) {
        self.instances[instance].arrivals.push(Completion { task, outcome });
        self.runnable.push_back(instance);
    }

    /// Whether something is ready for the guest, which waits: if nothing else is, an event that it waits for.
    pub(super) fn has_arrivals(&mut self, instance: Index) -> bool {
        if self.instances[instance].arrivals.is_empty()
            && let Some(task) = self.instances[instance].events.pull()
        {
            let outcome = Ok("null".into());
            self.instances[instance].arrivals.push(Completion { task, outcome });
        }
        !self.instances[instance].arrivals.is_empty()
    }

    pub(super) fn event_arrives(&mut self, instance: Index, task: TaskId) {
        self.arrive(instance, task, Ok("null".into()));
    }

    /// Ends an instance from outside, if it has not ended.
    fn terminate(&mut self, index: Index) {
        let instance = &mut self.instances[index];
        if instance.outcome.is_some() {
            return;
        }
        instance.outcome = Some(Err(
            Failure::new(failure_types::TERMINATED, "it was terminated").non_retryable()
        ));
        self.ended_guests.extend(instance.guest.take());
        let children: Vec<Index> = std::mem::take(&mut instance.tasks)
            .into_values()
            .filter_map(child_of)
            .collect();
        for child in children {
            self.terminate(child);
        }
    }
}

fn child_of(task: Task) -> Option<Index> {
    match task {
        Task::Call(call) => call.child,
        Task::Timer(_) => None,
    }
}

fn as_json(outcome: &Outcome) -> Result<serde_json::Value, Failure> {
    outcome
        .clone()
        .map(|payload| serde_json::from_str(&payload).unwrap_or_default())
}
