//! What the superseded turns of a rewound execution leave to the turns after the rewind: nothing that succeeded runs
//! again, and no event is lost.
//!
//! Two kinds of things are kept. Arrivals for tasks that exist again after the rewind are delivered once more, in their
//! order. Calls that were made in superseded turns are made again, under new tasks; each takes the outcome of the oldest
//! call with the same name and input. If that call did not succeed, the new one runs in its place: an activity with the
//! same idempotency key, a sub-orchestration under the same id. An operation of an entity that has no outcome yet is not
//! sent again: its outcome will be that of the new call.
//!
//! So outcomes of superseded calls count, whenever they arrive. Turns record them even if no new call was made yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{Arrival, Decision, ENTRY_BYTES, Failure, InstanceId, Outcome, Payload, TaskId, Turn};

/// What is kept; see the module docs.
#[derive(Debug, Default, Clone)]
pub(super) struct Kept {
    /// Arrivals to deliver again, in order.
    arrivals: VecDeque<Arrival>,
    /// The tasks whose outcomes are among them.
    tasks: BTreeSet<TaskId>,
    /// The calls of superseded turns that were not made again, by the tasks of their origins.
    calls: BTreeMap<TaskId, Call>,
    /// The same calls by name and input, the oldest first.
    by_key: BTreeMap<CallKey, VecDeque<TaskId>>,
    /// New calls that run in the place of superseded ones, with the tasks of those.
    origins: BTreeMap<TaskId, TaskId>,
    /// The same, by the tasks of the superseded ones.
    successors: BTreeMap<TaskId, TaskId>,
    /// The tasks that run again after the last rewind, with the failures that it voided. Only until the next turn.
    voided: BTreeMap<TaskId, Failure>,
    /// The activity calls of superseded turns that did not succeed and may still run. Only until the next turn.
    superseded: Vec<TaskId>,
    /// The approximate size of the arrivals and calls in memory, in bytes.
    bytes: u64,
    /// What was read of the superseded turns before their rewind.
    reading: Reading,
}

/// Superseded turns, until the row of their rewind.
#[derive(Debug, Default, Clone)]
struct Reading {
    /// Arrivals for tasks that exist again, and events.
    arrivals: Vec<Arrival>,
    /// The calls, in the order in which they were made.
    calls: BTreeMap<TaskId, (CallKey, Call)>,
    /// Those that run in the place of earlier ones, by the tasks of these.
    successors: BTreeMap<TaskId, TaskId>,
    voided: BTreeMap<TaskId, Failure>,
}

/// What the calls of a turn take from calls of superseded turns.
#[derive(Debug, Default)]
pub struct Recalled {
    /// The tasks that get the result of one.
    pub results: BTreeSet<TaskId>,
    /// The tasks that get the outcome of an operation that was sent and has none yet.
    pub sent: BTreeSet<TaskId>,
    /// The tasks of activities and sub-orchestrations that run in the place of one that did not succeed.
    pub origins: BTreeMap<TaskId, Origin>,
}

/// A call in whose place another one runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its task.
    pub task: TaskId,
    /// The id of the first attempt, if it is a sub-orchestration.
    pub instance_id: Option<InstanceId>,
}

/// What makes a call the same as one of a superseded turn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallKey {
    kind: CallKind,
    name: String,
    input: Payload,
    /// The id of a sub-orchestration, if the caller chose it.
    id: Option<InstanceId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CallKind {
    Activity,
    SubOrchestration,
    Entity,
}

/// A call of a superseded turn.
#[derive(Debug, Clone)]
struct Call {
    kind: CallKind,
    /// Itself, or the call in whose place it ran.
    origin: Origin,
    end: CallEnd,
}

/// What became of a call of a superseded turn.
#[derive(Debug, Clone)]
enum CallEnd {
    /// It has no outcome, or an activity or a sub-orchestration failed and goes on in the place of the call.
    Open,
    /// The operation of an entity failed: it must be sent again.
    Failed,
    Succeeded(Payload),
}

impl CallKind {
    /// Whether an outcome makes a difference to a call that is made again. The failure of an activity or a
    /// sub-orchestration does not: it runs again anyway.
    pub(super) fn counts(self, outcome: &Outcome) -> bool {
        outcome.is_ok() || self == Self::Entity
    }
}

impl CallKey {
    /// The key of a call; `None` for other decisions.
    pub(super) fn of(decision: &Decision) -> Option<Self> {
        match decision {
            Decision::CallActivity { function, input, .. } => Some(Self {
                kind: CallKind::Activity,
                name: function.to_string(),
                input: input.clone(),
                id: None,
            }),
            Decision::CallSubOrchestration {
                function,
                input,
                instance_id,
                fixed_id,
                ..
            } => Some(Self {
                kind: CallKind::SubOrchestration,
                name: function.to_string(),
                input: input.clone(),
                id: fixed_id.then(|| instance_id.clone()),
            }),
            Decision::CallEntity {
                entity,
                operation,
                input,
                ..
            } => Some(Self {
                kind: CallKind::Entity,
                name: format!("{} {operation}", entity.instance_id()),
                input: input.clone(),
                id: None,
            }),
            _ => None,
        }
    }

    fn bytes(&self) -> u64 {
        ENTRY_BYTES + self.name.len() as u64 + self.input.bytes()
    }
}

impl Kept {
    // ---- superseded turns ----

    /// Reads an arrival of a superseded turn. `exists` says whether a task exists again after the rewind.
    pub(super) fn read_arrival(&mut self, arrival: &Arrival, exists: impl Fn(TaskId) -> bool) {
        // It was delivered again already, after an earlier rewind.
        self.delivered(arrival);
        let keeps = match arrival {
            Arrival::TaskEnded { task, outcome } if exists(*task) => match outcome {
                Ok(_) => true,
                Err(failure) => {
                    self.reading.voided.insert(*task, failure.clone());
                    false
                }
            },
            Arrival::TaskEnded { task, outcome } => {
                let Reading { calls, successors, .. } = &mut self.reading;
                match calls.get_mut(successors.get(task).unwrap_or(task)) {
                    Some((_, call)) => call.ended(outcome),
                    None => self.ended(*task, outcome),
                }
                false
            }
            Arrival::TimerFired { task } => exists(*task),
            Arrival::Started(_) | Arrival::EventRaised(_) | Arrival::CancelRequested { .. } => true,
            Arrival::Terminated { .. } | Arrival::ClockBehind { .. } | Arrival::Rewound { .. } => false,
        };
        if keeps {
            self.reading.arrivals.push(arrival.clone());
        }
    }

    /// Reads a decision of a superseded turn.
    pub(super) fn read_decision(&mut self, decision: &Decision) {
        let (Some(key), Some(task)) = (CallKey::of(decision), decision.new_task()) else {
            return;
        };
        let instance_id = match decision {
            Decision::CallSubOrchestration { instance_id, .. } => Some(instance_id.clone()),
            _ => None,
        };
        let call = self.take_call(&key).filter(|call| !matches!(call.end, CallEnd::Failed));
        let call = call.unwrap_or(Call {
            kind: key.kind,
            origin: Origin { task, instance_id },
            end: CallEnd::Open,
        });
        if call.origin.task != task {
            self.reading.successors.insert(call.origin.task, task);
        }
        self.reading.calls.insert(task, (key, call));
    }

    /// Ends the superseded turns: their rewind follows. `exists` says whether a task exists again.
    pub(super) fn rewound(&mut self, exists: impl Fn(TaskId) -> bool) {
        let Reading {
            arrivals,
            mut calls,
            voided,
            ..
        } = std::mem::take(&mut self.reading);
        // What an earlier rewind left and no turn took follows what the superseded turns took.
        for arrival in std::mem::take(&mut self.arrivals) {
            match &arrival {
                Arrival::TaskEnded { task, outcome } if !exists(*task) => {
                    if let Some((_, call)) = calls.get_mut(task) {
                        call.ended(outcome);
                    }
                    self.bytes -= bytes(&arrival);
                }
                _ => self.arrivals.push_back(arrival),
            }
        }
        for arrival in arrivals.into_iter().rev() {
            self.bytes += bytes(&arrival);
            self.arrivals.push_front(arrival);
        }
        self.keep_first_outcomes();
        let open = calls.iter();
        let open = open.filter(|(_, (_, call))| call.kind == CallKind::Activity && matches!(call.end, CallEnd::Open));
        self.superseded = open.map(|(task, _)| *task).collect();
        for (key, call) in calls.into_values() {
            self.bytes += key.bytes() + call.bytes();
            self.by_key.entry(key).or_default().push_back(call.origin.task);
            self.calls.insert(call.origin.task, call);
        }
        self.origins.retain(|task, _| exists(*task));
        self.successors.retain(|_, task| exists(*task));
        self.voided = voided;
    }

    /// A task has one outcome, also if it ended again after the failure.
    fn keep_first_outcomes(&mut self) {
        let Self {
            arrivals,
            tasks,
            bytes: size,
            ..
        } = self;
        tasks.clear();
        arrivals.retain(|arrival| {
            let is_first = settled(arrival).is_none_or(|task| tasks.insert(task));
            *size -= if is_first { 0 } else { bytes(arrival) };
            is_first
        });
    }

    // ---- turns after a rewind ----

    /// Notes that a turn has this arrival. Everything that is kept is delivered before anything new, so only the first
    /// kept arrival can be the same.
    pub(super) fn delivered(&mut self, arrival: &Arrival) {
        if self.arrivals.front() == Some(arrival)
            && let Some(delivered) = self.arrivals.pop_front()
        {
            self.bytes -= bytes(&delivered);
            settled(&delivered).map(|task| self.tasks.remove(&task));
        }
    }

    /// Notes the outcome of a superseded call that was not made again.
    pub(super) fn ended(&mut self, task: TaskId, outcome: &Outcome) {
        let Some(call) = self.calls.get_mut(&task) else { return };
        self.bytes -= call.bytes();
        call.ended(outcome);
        self.bytes += call.bytes();
    }

    /// Whether the task is that of a superseded call to which this outcome makes a difference.
    pub(super) fn expects(&self, task: TaskId, outcome: &Outcome) -> bool {
        self.calls.get(&task).is_some_and(|call| call.expects(outcome))
    }

    /// Finds what a new call takes from a superseded one: its result, which is delivered like the other kept arrivals,
    /// or its place, which is returned.
    pub(super) fn called(&mut self, task: TaskId, key: &CallKey) -> Option<Origin> {
        let Call { origin, end, .. } = self.take_call(key)?;
        let result = match end {
            CallEnd::Succeeded(result) => result,
            CallEnd::Failed => return None,
            CallEnd::Open => {
                self.origins.insert(task, origin.task);
                self.successors.insert(origin.task, task);
                return Some(origin);
            }
        };
        let outcome = Ok(result);
        let arrival = Arrival::TaskEnded { task, outcome };
        self.bytes += bytes(&arrival);
        self.arrivals.push_back(arrival);
        self.tasks.insert(task);
        None
    }

    /// What the calls of the next turn take. An outcome that the turn takes precedes its calls.
    pub(super) fn recall(&self, turn: &Turn) -> Recalled {
        let mut recalled = Recalled::default();
        if !self.has_calls() {
            return recalled;
        }
        let outcomes = turn.arrivals.iter().filter_map(|arrival| match arrival {
            Arrival::TaskEnded { task, outcome } if self.calls.contains_key(task) => Some((*task, outcome)),
            _ => None,
        });
        let outcomes: BTreeMap<TaskId, &Outcome> = outcomes.collect();
        let mut taken: BTreeMap<CallKey, usize> = BTreeMap::new();
        for decision in &turn.decisions {
            let (Some(key), Some(task)) = (CallKey::of(decision), decision.new_task()) else {
                continue;
            };
            let Some(calls) = self.by_key.get(&key) else { continue };
            let position = taken.entry(key).or_default();
            let call = calls.get(*position).and_then(|origin| self.calls.get(origin));
            *position += 1;
            let Some(call) = call else { continue };
            let mut end = call.end.clone();
            if let Some(outcome) = outcomes.get(&call.origin.task) {
                end.settle(call.kind, outcome);
            }
            match end {
                CallEnd::Succeeded(_) => drop(recalled.results.insert(task)),
                CallEnd::Failed => {}
                CallEnd::Open if call.kind == CallKind::Entity => drop(recalled.sent.insert(task)),
                CallEnd::Open => drop(recalled.origins.insert(task, call.origin.clone())),
            }
        }
        recalled
    }

    fn take_call(&mut self, key: &CallKey) -> Option<Call> {
        let calls = self.by_key.get_mut(key)?;
        let origin = calls.pop_front()?;
        if calls.is_empty() {
            self.by_key.remove(key);
        }
        let call = self.calls.remove(&origin)?;
        self.bytes -= key.bytes() + call.bytes();
        Some(call)
    }

    /// Forgets a task that has its outcome.
    pub(super) fn forget(&mut self, task: TaskId) {
        if let Some(origin) = self.origins.remove(&task) {
            self.successors.remove(&origin);
        }
        self.withdraw(task);
    }

    /// Delivers no outcome of a task that was withdrawn. What runs in its place still has the task of its origin.
    pub(super) fn withdraw(&mut self, task: TaskId) {
        if self.tasks.remove(&task) {
            let (dropped, left) = std::mem::take(&mut self.arrivals)
                .into_iter()
                .partition(|arrival| settled(arrival) == Some(task));
            let dropped: VecDeque<Arrival> = dropped;
            self.bytes -= dropped.iter().map(bytes).sum::<u64>();
            self.arrivals = left;
        }
    }

    /// Forgets which failures the last rewind voided.
    pub(super) fn forget_voided(&mut self) {
        self.voided.clear();
        self.superseded.clear();
    }

    // ---- state ----

    /// Whether superseded turns made calls that were not made again.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// The arrivals to deliver, in order.
    pub(super) fn arrivals(&self) -> &VecDeque<Arrival> {
        &self.arrivals
    }

    /// The tasks whose outcomes are to be delivered.
    pub(super) fn tasks(&self) -> &BTreeSet<TaskId> {
        &self.tasks
    }

    /// The tasks whose failures the last rewind voided.
    pub(super) fn voided(&self) -> &BTreeMap<TaskId, Failure> {
        &self.voided
    }

    /// The activity calls of superseded turns that may still run.
    pub(super) fn superseded(&self) -> &[TaskId] {
        &self.superseded
    }

    /// The task in whose place this one runs; itself for most.
    pub(super) fn origin(&self, task: TaskId) -> TaskId {
        self.origins.get(&task).copied().unwrap_or(task)
    }

    /// The task that runs in the place of this one; itself for most.
    pub(super) fn successor(&self, task: TaskId) -> TaskId {
        self.successors.get(&task).copied().unwrap_or(task)
    }

    /// The approximate size in memory, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Call {
    fn ended(&mut self, outcome: &Outcome) {
        self.end.settle(self.kind, outcome);
    }

    fn expects(&self, outcome: &Outcome) -> bool {
        matches!(self.end, CallEnd::Open) && self.kind.counts(outcome)
    }

    fn bytes(&self) -> u64 {
        let result = match &self.end {
            CallEnd::Succeeded(result) => result.bytes(),
            CallEnd::Open | CallEnd::Failed => 0,
        };
        2 * ENTRY_BYTES + result
    }
}

impl CallEnd {
    /// Notes an outcome. The first result counts.
    fn settle(&mut self, kind: CallKind, outcome: &Outcome) {
        match (&*self, outcome) {
            (Self::Succeeded(_), _) => {}
            (_, Ok(result)) => *self = Self::Succeeded(result.clone()),
            (_, Err(_)) if kind == CallKind::Entity => *self = Self::Failed,
            (_, Err(_)) => {}
        }
    }
}

/// The task that gets its outcome with the arrival.
fn settled(arrival: &Arrival) -> Option<TaskId> {
    match arrival {
        Arrival::TaskEnded { task, .. } | Arrival::TimerFired { task } => Some(*task),
        _ => None,
    }
}

fn bytes(arrival: &Arrival) -> u64 {
    ENTRY_BYTES + arrival.payload_bytes()
}
