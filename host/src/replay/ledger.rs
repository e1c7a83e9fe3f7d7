//! The outstanding tasks of an execution, folded from its history without running a guest.
//!
//! So the host can dispatch activities, set timers and decide whether a result is still awaited without the tenant's
//! code, even for an instance whose module is broken or missing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    ActivityOptions, Arrival, Decision, EntityId, FunctionName, InstanceId, ModuleNumber, Payload, Started,
    SubOrchestrationOptions, TaskId, Timestamp, Turn, TurnNumber,
};

use super::events::{Waits, pop_wait, withdraw};

/// The state of one execution that its host needs.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    started: Option<Arc<Started>>,
    started_at: Timestamp,
    last_turn: TurnNumber,
    last_at: Timestamp,
    ended: bool,
    activities: usize,
    tasks: BTreeMap<TaskId, Outstanding>,
    /// The approximate size of `tasks` in memory, in bytes.
    task_bytes: u64,
    /// Timers and timeouts of sub-orchestrations, soonest first, by the host's clock.
    due: BTreeSet<(Timestamp, TaskId)>,
    /// The critical section that the execution is in: its lock task, and the entities.
    section: Option<(TaskId, Vec<(EntityId, ModuleNumber)>)>,
    /// Waits that no event has completed. It may contain too many, but never too few: a history does not show whether the
    /// event of an earlier turn was taken or given back.
    waits: Waits,
    /// The folded names of the waits.
    wait_names: BTreeMap<TaskId, String>,
    /// The number of events that arrived without a wait, by folded name.
    early: BTreeMap<String, usize>,
}

/// A task whose outcome has not arrived.
#[derive(Debug, Clone, PartialEq)]
pub enum Outstanding {
    /// An activity call.
    Activity(ActivityCall),
    /// A sub-orchestration.
    SubOrchestration(SubOrchestrationCall),
    /// A call of an entity.
    Entity(EntityCall),
    /// A request to lock entities; [`Ledger::section`] has them.
    Lock,
    /// A timer.
    Timer {
        /// When it fires, in the time of the execution.
        fire_at: Timestamp,
        /// When it fires, by the host's clock, which may be behind the time of the execution after it was set back.
        due_at: Timestamp,
    },
}

/// An outstanding call of an entity.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityCall {
    /// The entity.
    pub entity: EntityId,
    /// The name of the operation.
    pub operation: String,
    /// When it was sent, by the host's clock.
    pub sent_at: Timestamp,
}

/// An outstanding activity call.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityCall {
    /// The name of the activity.
    pub function: FunctionName,
    /// The input of the call.
    pub input: Payload,
    /// Retries and timeouts.
    pub options: ActivityOptions,
    /// The version that runs it.
    pub module: ModuleNumber,
    /// When it was scheduled, by the host's clock.
    pub scheduled_at: Timestamp,
}

/// An outstanding sub-orchestration.
#[derive(Debug, Clone, PartialEq)]
pub struct SubOrchestrationCall {
    /// The name of the orchestration.
    pub function: FunctionName,
    /// The input of the call.
    pub input: Payload,
    /// The id of its first attempt.
    pub instance_id: InstanceId,
    /// Whether the caller chose the id, so that later attempts have the same id.
    pub fixed_id: bool,
    /// Retries and the timeout.
    pub options: SubOrchestrationOptions,
    /// The version that runs the first attempt.
    pub module: ModuleNumber,
    /// When it was scheduled, by the host's clock.
    pub scheduled_at: Timestamp,
}

/// Why a history is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A row is missing or duplicated.
    #[error("turn {found} follows turn {last}")]
    Gap {
        /// The turn before.
        last: TurnNumber,
        /// The turn found.
        found: TurnNumber,
    },
    /// The first turn does not start the execution, or a later one does.
    #[error("turn {0} has an invalid first arrival")]
    Beginning(TurnNumber),
}

impl Ledger {
    /// Adds the next turn.
    ///
    /// # Errors
    /// When the turn cannot follow the last one. The ledger is unchanged.
    pub fn apply(&mut self, turn: &Turn) -> Result<(), LedgerError> {
        if turn.number != self.last_turn.next() {
            return Err(LedgerError::Gap {
                last: self.last_turn,
                found: turn.number,
            });
        }
        let begins = matches!(turn.arrivals.first(), Some(Arrival::Started(_)));
        let ends_unstarted = matches!(turn.arrivals.last(), Some(Arrival::Terminated { .. }));
        if begins != self.started.is_none() && !(self.started.is_none() && ends_unstarted) {
            return Err(LedgerError::Beginning(turn.number));
        }
        self.last_turn = turn.number;
        self.last_at = turn.at;
        for arrival in &turn.arrivals {
            match arrival {
                Arrival::Started(started) => {
                    self.started = Some(Arc::new((**started).clone()));
                    self.started_at = turn.at;
                    started
                        .events
                        .iter()
                        .for_each(|event| self.arrived(event.name.folded()));
                }
                Arrival::TaskEnded { task, .. } | Arrival::TimerFired { task } => self.remove(*task),
                Arrival::EventRaised(_) | Arrival::Terminated { .. } | Arrival::ClockBehind { .. } => {}
            }
        }
        for decision in &turn.decisions {
            self.decided(decision, turn);
        }
        // Events come after the decisions, because the wait for an event may be a decision of the same turn. The order
        // does not change how many waits are left.
        for arrival in &turn.arrivals {
            if let Arrival::EventRaised(event) = arrival {
                self.arrived(event.name.folded());
            }
        }
        self.ended = turn.is_last();
        Ok(())
    }

    fn decided(&mut self, decision: &Decision, turn: &Turn) {
        match decision {
            Decision::CallActivity {
                task,
                function,
                input,
                options,
                module,
            } => {
                self.activities += 1;
                let call = ActivityCall {
                    function: function.clone(),
                    input: input.clone(),
                    options: options.clone(),
                    module: *module,
                    scheduled_at: turn.clock_at(),
                };
                self.insert(*task, Outstanding::Activity(call));
            }
            Decision::CallSubOrchestration {
                task,
                function,
                input,
                instance_id,
                fixed_id,
                options,
                module,
            } => {
                let call = SubOrchestrationCall {
                    function: function.clone(),
                    input: input.clone(),
                    instance_id: instance_id.clone(),
                    fixed_id: *fixed_id,
                    options: options.clone(),
                    module: *module,
                    scheduled_at: turn.clock_at(),
                };
                let call = Outstanding::SubOrchestration(call);
                self.due.extend(call.due_at().map(|due_at| (due_at, *task)));
                self.insert(*task, call);
            }
            Decision::CreateTimer { task, fire_at } => {
                let timer = Outstanding::Timer {
                    fire_at: *fire_at,
                    due_at: fire_at.before(turn.clock_behind()),
                };
                self.due.extend(timer.due_at().map(|due_at| (due_at, *task)));
                self.insert(*task, timer);
            }
            Decision::CancelTask { task } => self.remove(*task),
            Decision::CallEntity {
                task,
                entity,
                operation,
                ..
            } => {
                let call = EntityCall {
                    entity: entity.clone(),
                    operation: operation.clone(),
                    sent_at: turn.clock_at(),
                };
                self.insert(*task, Outstanding::Entity(call));
            }
            Decision::LockEntities { task, entities } => {
                self.section = Some((*task, entities.clone()));
                self.insert(*task, Outstanding::Lock);
            }
            Decision::UnlockEntities { task } => {
                self.section = None;
                self.remove(*task);
            }
            Decision::WaitForEvent { task, name } => {
                let folded = name.folded();
                match self.early.get_mut(&folded) {
                    Some(1) => drop(self.early.remove(&folded)),
                    Some(early) => *early -= 1,
                    None => {
                        self.waits.entry(folded.clone()).or_default().insert(*task);
                        self.wait_names.insert(*task, folded);
                    }
                }
            }
            Decision::StartOrchestration { .. }
            | Decision::SendEvent { .. }
            | Decision::SignalEntity { .. }
            | Decision::Refused { .. }
            | Decision::Complete { .. }
            | Decision::Fail { .. }
            | Decision::ContinueAsNew { .. } => {}
        }
    }

    fn arrived(&mut self, folded_name: String) {
        match pop_wait(&mut self.waits, &folded_name) {
            Some(task) => drop(self.wait_names.remove(&task)),
            None => *self.early.entry(folded_name).or_default() += 1,
        }
    }

    fn insert(&mut self, task: TaskId, outstanding: Outstanding) {
        self.task_bytes += outstanding.bytes();
        self.tasks.insert(task, outstanding);
    }

    fn remove(&mut self, task: TaskId) {
        if let Some(folded) = self.wait_names.remove(&task) {
            withdraw(&mut self.waits, &folded, &task);
        }
        let Some(outstanding) = self.tasks.remove(&task) else {
            return;
        };
        self.task_bytes -= outstanding.bytes();
        if let Some(due_at) = outstanding.due_at() {
            self.due.remove(&(due_at, task));
        }
        self.activities -= usize::from(matches!(outstanding, Outstanding::Activity(_)));
    }

    /// The arrival that started the execution; `None` before its first turn.
    pub fn started(&self) -> Option<&Arc<Started>> {
        self.started.as_ref()
    }

    /// The time of the first turn.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The last turn applied.
    pub fn last_turn(&self) -> TurnNumber {
        self.last_turn
    }

    /// The time of the last turn.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Whether the last turn ended the execution.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The number of outstanding activity calls.
    pub fn activities_outstanding(&self) -> usize {
        self.activities
    }

    /// An outstanding task.
    pub fn task(&self, task: TaskId) -> Option<&Outstanding> {
        self.tasks.get(&task)
    }

    /// The critical section that the execution is in: its lock task, and the entities that it locks or waits for, with
    /// the module versions that offered them.
    pub fn section(&self) -> Option<(TaskId, &[(EntityId, ModuleNumber)])> {
        self.section
            .as_ref()
            .map(|(task, entities)| (*task, entities.as_slice()))
    }

    /// The approximate size of the outstanding tasks in memory, in bytes.
    pub fn task_bytes(&self) -> u64 {
        self.task_bytes
    }

    /// All outstanding tasks, in scheduling order.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Outstanding)> {
        self.tasks.iter().map(|(task, outstanding)| (*task, outstanding))
    }

    /// The outstanding tasks that were scheduled after this one, in order; with `None`, all of them.
    pub fn tasks_after(&self, after: Option<TaskId>) -> impl Iterator<Item = (TaskId, &Outstanding)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tasks = self.tasks.range((from, Bound::Unbounded));
        tasks.map(|(task, outstanding)| (*task, outstanding))
    }

    /// The waits for events: all that the guest has, and possibly a few that it has not.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Whether the task is one of the [waits](Self::waits) for events.
    pub fn is_waiting(&self, task: TaskId) -> bool {
        self.wait_names.contains_key(&task)
    }

    /// The earliest timer or timeout of a sub-orchestration, by the host's clock.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Timers and timeouts of sub-orchestrations that are due at `now`, by the host's clock, soonest first.
    pub fn due_at(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, TaskId)> {
        self.due.iter().copied().take_while(move |(at, _)| *at <= now)
    }
}

impl Outstanding {
    /// The approximate size in memory, in bytes.
    fn bytes(&self) -> u64 {
        /// A task with its names and options, and its entries in the ledger and in the execution of a guest.
        const TASK: u64 = 1_000;
        TASK + match self {
            Self::Activity(call) => call.input.bytes(),
            Self::SubOrchestration(call) => call.input.bytes(),
            // Its input is in the history, and with the entity.
            Self::Entity(_) | Self::Lock | Self::Timer { .. } => 0,
        }
    }

    /// When time ends the task, by the host's clock. (The ledger does not handle timeouts of activities.)
    fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Timer { due_at, .. } => Some(*due_at),
            Self::SubOrchestration(call) => call.deadline(),
            Self::Activity(_) | Self::Entity(_) | Self::Lock => None,
        }
    }
}

impl SubOrchestrationCall {
    /// When the whole call times out, by the host's clock.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.options
            .timeout_ms
            .map(|timeout| self.scheduled_at.after(Duration::from_millis(timeout)))
    }

    /// The instance id of an attempt.
    pub fn child_id(&self, attempt: u32) -> InstanceId {
        if self.fixed_id || attempt <= 1 {
            return self.instance_id.clone();
        }
        let id = format!("{}-{attempt}", self.instance_id);
        id.parse().expect("a drawn id with a suffix is a valid id")
    }
}

impl ActivityCall {
    /// When the whole call times out, by the host's clock.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.options
            .timeout_ms
            .map(|timeout| self.scheduled_at.after(Duration::from_millis(timeout)))
    }
}
