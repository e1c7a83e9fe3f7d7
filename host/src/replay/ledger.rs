//! What is outstanding, folded from a history without running any guest.
//!
//! Dispatching activities, setting timers and judging whether a result is still wanted need no code of the tenant:
//! they work for an instance whose module is broken or gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    ActivityOptions, Arrival, Decision, FunctionName, InstanceId, ModuleNumber, Payload, Started,
    SubOrchestrationOptions, TaskId, Timestamp, Turn, TurnNumber,
};

use super::events::{Waits, pop};

/// The state of one execution as far as its host is concerned.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    started: Option<Arc<Started>>,
    started_at: Timestamp,
    last_turn: TurnNumber,
    last_at: Timestamp,
    ended: bool,
    activities: usize,
    tasks: BTreeMap<TaskId, Outstanding>,
    /// Timers and time-outs of sub-orchestrations, soonest first, by the host's clock.
    due: BTreeSet<(Timestamp, TaskId)>,
    /// Waits for events that no event has ended. More than there are when the event of an earlier turn was given back,
    /// which a history does not tell from one that was taken; never fewer.
    waits: Waits,
    /// Their folded names.
    wait_names: BTreeMap<TaskId, String>,
    /// How many events arrived that nobody waited for, by folded name.
    early: BTreeMap<String, usize>,
}

/// A task whose outcome has not arrived.
#[derive(Debug, Clone, PartialEq)]
pub enum Outstanding {
    /// An activity call.
    Activity(ActivityCall),
    /// A sub-orchestration.
    SubOrchestration(SubOrchestrationCall),
    /// A timer.
    Timer {
        /// When it fires, in the time of the execution.
        fire_at: Timestamp,
        /// When the host's clock shows that time, or would if it had not been set back.
        due_at: Timestamp,
    },
}

/// An outstanding activity call.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityCall {
    /// Which activity.
    pub function: FunctionName,
    /// Its input.
    pub input: Payload,
    /// How to call it.
    pub options: ActivityOptions,
    /// The version that runs it.
    pub module: ModuleNumber,
    /// When it was scheduled, by the host's clock.
    pub scheduled_at: Timestamp,
}

/// An outstanding sub-orchestration.
#[derive(Debug, Clone, PartialEq)]
pub struct SubOrchestrationCall {
    /// Which orchestration.
    pub function: FunctionName,
    /// Its input.
    pub input: Payload,
    /// The id of its first attempt.
    pub instance_id: InstanceId,
    /// Whether the caller fixed the id, so that later attempts have the same.
    pub fixed_id: bool,
    /// How to call it.
    pub options: SubOrchestrationOptions,
    /// The version that runs the first attempt.
    pub module: ModuleNumber,
    /// When it was scheduled, by the host's clock.
    pub scheduled_at: Timestamp,
}

/// A history that cannot be one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A row is missing or doubled.
    #[error("turn {found} follows turn {last}")]
    Gap {
        /// The turn before.
        last: TurnNumber,
        /// The turn found.
        found: TurnNumber,
    },
    /// The first turn does not start the execution, or a later one does.
    #[error("turn {0} does not begin as it must")]
    Beginning(TurnNumber),
}

impl Ledger {
    /// Adds the next turn.
    ///
    /// # Errors
    /// When it cannot be the next; the ledger is as before.
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
        // How many waits are left does not depend on the order; that a wait is known when its event comes does.
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
                self.tasks.insert(*task, Outstanding::Activity(call));
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
                self.tasks.insert(*task, call);
            }
            Decision::CreateTimer { task, fire_at } => {
                let timer = Outstanding::Timer {
                    fire_at: *fire_at,
                    due_at: fire_at.before(turn.clock_behind()),
                };
                self.due.extend(timer.due_at().map(|due_at| (due_at, *task)));
                self.tasks.insert(*task, timer);
            }
            Decision::CancelTask { task } => self.remove(*task),
            Decision::WaitForEvent { task, name } => {
                let folded = name.folded();
                match self.early.get_mut(&folded) {
                    Some(1) => drop(self.early.remove(&folded)),
                    Some(early) => *early -= 1,
                    None => {
                        self.waits.entry(folded.clone()).or_default().push_back(*task);
                        self.wait_names.insert(*task, folded);
                    }
                }
            }
            Decision::StartOrchestration { .. }
            | Decision::SendEvent { .. }
            | Decision::Refused { .. }
            | Decision::Complete { .. }
            | Decision::Fail { .. }
            | Decision::ContinueAsNew { .. } => {}
        }
    }

    fn arrived(&mut self, folded_name: String) {
        match pop(&mut self.waits, &folded_name) {
            Some(task) => drop(self.wait_names.remove(&task)),
            None => *self.early.entry(folded_name).or_default() += 1,
        }
    }

    fn remove(&mut self, task: TaskId) {
        if let Some(folded) = self.wait_names.remove(&task)
            && let Some(waits) = self.waits.get_mut(&folded)
        {
            waits.retain(|waiting| *waiting != task);
            if waits.is_empty() {
                self.waits.remove(&folded);
            }
        }
        let Some(outstanding) = self.tasks.remove(&task) else {
            return;
        };
        if let Some(due_at) = outstanding.due_at() {
            self.due.remove(&(due_at, task));
        }
        self.activities -= usize::from(matches!(outstanding, Outstanding::Activity(_)));
    }

    /// What the execution was started with; none before its first turn.
    pub fn started(&self) -> Option<&Arc<Started>> {
        self.started.as_ref()
    }

    /// When its first turn ran.
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

    /// How many activity calls are outstanding.
    pub fn activities_outstanding(&self) -> usize {
        self.activities
    }

    /// An outstanding task.
    pub fn task(&self, task: TaskId) -> Option<&Outstanding> {
        self.tasks.get(&task)
    }

    /// All outstanding tasks, in scheduling order.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Outstanding)> {
        self.tasks.iter().map(|(task, outstanding)| (*task, outstanding))
    }

    /// The names of events that may be waited for: all that are, and few others.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// The earliest timer or time-out of a sub-orchestration, by the host's clock.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Timers and time-outs that are due when the host's clock shows that time, soonest first.
    pub fn due_at(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, TaskId)> {
        self.due.iter().copied().take_while(move |(at, _)| *at <= now)
    }
}

impl Outstanding {
    /// When time alone ends it, by the host's clock. (Time-outs of activities are not the ledger's.)
    fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Timer { due_at, .. } => Some(*due_at),
            Self::SubOrchestration(call) => call.deadline(),
            Self::Activity(_) => None,
        }
    }
}

impl SubOrchestrationCall {
    /// When the whole call must have its outcome, by the host's clock.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.options
            .timeout_ms
            .map(|timeout| self.scheduled_at.after(Duration::from_millis(timeout)))
    }

    /// The id of an attempt's child.
    pub fn child_id(&self, attempt: u32) -> InstanceId {
        if self.fixed_id || attempt <= 1 {
            return self.instance_id.clone();
        }
        let id = format!("{}-{attempt}", self.instance_id);
        id.parse().expect("a drawn id with a suffix is a valid id")
    }
}

impl ActivityCall {
    /// When the whole call must have its outcome, by the host's clock.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.options
            .timeout_ms
            .map(|timeout| self.scheduled_at.after(Duration::from_millis(timeout)))
    }
}
