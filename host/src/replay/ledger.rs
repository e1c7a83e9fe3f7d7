//! The outstanding tasks of an execution, folded from its history without running a guest.
//!
//! So the host can dispatch activities, set timers and decide whether a result is still awaited without the tenant's
//! code, even for an instance whose module is broken or missing.

mod kept;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    ActivityOptions, Arrival, Decision, EntityId, ExecutionNumber, Failure, FunctionName, InboxSeq, InstanceId,
    ModuleNumber, Outcome, ParentClose, Payload, Rewinds, Started, SubOrchestrationOptions, TaskId, Timestamp, Turn,
    TurnNumber,
};

use self::kept::{CallKey, CallKind, Kept};
pub use self::kept::{Origin, Recalled};
use super::decisions::TASK_BYTES;
use super::events::{Waits, pop_wait, withdraw};

/// The state of one execution that its host needs.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The rewinds of the execution. They must be known before the history is read.
    rewinds: Rewinds,
    kept: Kept,
    /// The number after those of all tasks, including those of superseded turns.
    next_task: TaskId,
    /// From where a rewind would begin.
    rewind: RewindFrom,
    started: Option<Arc<Started>>,
    started_at: Timestamp,
    last_turn: TurnNumber,
    last_at: Timestamp,
    ended: bool,
    activities: usize,
    tasks: BTreeMap<TaskId, Outstanding>,
    /// Calls that no task waits for any more, but that may still succeed: a rewind to before they were given up needs their
    /// outcomes.
    given_up: BTreeMap<TaskId, CallKind>,
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
    /// The reason of the request to cancel the instance, once it has arrived.
    cancel_reason: Option<String>,
}

/// From where a rewind would begin, as far as the history was read. A rewind does not begin within a critical section:
/// the entities are not locked any more, so it begins with the turn that entered the section.
#[derive(Debug, Clone, Copy, Default)]
struct RewindFrom {
    /// The turn that entered the critical section that the execution is in.
    section: Option<TurnNumber>,
    /// For the first turn that delivered a failure.
    failure: Option<TurnNumber>,
    /// For the last turn.
    last: TurnNumber,
}

impl RewindFrom {
    /// Notes the next turn, before its decisions.
    fn note(&mut self, turn: &Turn) {
        self.last = self.section.unwrap_or(turn.number);
        let fails = |arrival: &Arrival| matches!(arrival, Arrival::TaskEnded { outcome: Err(_), .. });
        if self.failure.is_none() && turn.arrivals.iter().any(fails) {
            self.failure = Some(self.last);
        }
    }
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
    /// Its input.
    pub input: Payload,
    /// The module version that offered the entity when the operation was sent.
    pub module: ModuleNumber,
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
    /// What happens to it when the execution ends, if the caller chose.
    pub on_parent_close: Option<ParentClose>,
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
    /// The turn records a rewind that the instance does not know, or the other way round.
    #[error("turn {0} does not agree with the rewinds of the instance")]
    Rewind(TurnNumber),
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new(Rewinds::none(ExecutionNumber::FIRST))
    }
}

impl Ledger {
    /// The ledger of an execution with these rewinds, before its first turn.
    pub fn new(rewinds: Rewinds) -> Self {
        Self {
            rewinds,
            kept: Kept::default(),
            cancel_reason: None,
            next_task: TaskId(1),
            rewind: RewindFrom::default(),
            started: None,
            started_at: Timestamp::default(),
            last_turn: TurnNumber::NONE,
            last_at: Timestamp::default(),
            ended: false,
            activities: 0,
            tasks: BTreeMap::new(),
            given_up: BTreeMap::new(),
            task_bytes: 0,
            due: BTreeSet::new(),
            section: None,
            waits: Waits::default(),
            wait_names: BTreeMap::new(),
            early: BTreeMap::new(),
        }
    }

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
        let may_begin = self.started.is_none() || self.begins_again();
        if begins != may_begin && !(may_begin && ends_unstarted) {
            return Err(LedgerError::Beginning(turn.number));
        }
        if turn.is_rewind() != self.rewinds.from(turn.number).is_some() && !self.rewinds.supersede(turn.number) {
            return Err(LedgerError::Rewind(turn.number));
        }
        self.last_turn = turn.number;
        self.last_at = turn.at;
        let new_tasks = turn.decisions.iter().filter_map(Decision::new_task);
        self.next_task = new_tasks
            .map(|task| TaskId(task.0 + 1))
            .fold(self.next_task, TaskId::max);
        if self.rewinds.supersede(turn.number) {
            self.supersede(turn);
            return Ok(());
        }
        if turn.is_rewind() {
            self.rewound(turn);
            return Ok(());
        }
        self.rewind.note(turn);
        self.kept.forget_voided();
        for arrival in &turn.arrivals {
            self.kept.delivered(arrival);
        }
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
                Arrival::TaskEnded { task, outcome } => self.task_ended(*task, outcome),
                Arrival::TimerFired { task } => self.remove(*task),
                Arrival::CancelRequested { reason } => drop(self.cancel_reason.get_or_insert_with(|| reason.clone())),
                Arrival::EventRaised(_)
                | Arrival::Terminated { .. }
                | Arrival::ClockBehind { .. }
                | Arrival::Rewound { .. } => {}
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

    /// Reads a turn that a rewind supersedes.
    fn supersede(&mut self, turn: &Turn) {
        let Self { kept, tasks, .. } = self;
        for arrival in &turn.arrivals {
            if let Arrival::Started(started) = arrival {
                self.started = Some(Arc::new((**started).clone()));
                self.started_at = turn.at;
            }
            kept.read_arrival(arrival, |task| tasks.contains_key(&task));
        }
        turn.decisions.iter().for_each(|decision| kept.read_decision(decision));
        self.ended = turn.is_last();
    }

    /// Continues after the turn before the superseded ones. The timeouts of outstanding calls begin anew.
    fn rewound(&mut self, turn: &Turn) {
        let Self { kept, tasks, due, .. } = self;
        // Outcomes that had arrived and that no turn had taken.
        for arrival in &turn.arrivals {
            kept.read_arrival(arrival, |task| tasks.contains_key(&task));
        }
        kept.rewound(|task| tasks.contains_key(&task));
        let mut renewed = BTreeSet::new();
        for (task, outstanding) in tasks.iter_mut() {
            outstanding.renew(turn.clock_at());
            renewed.extend(outstanding.due_at().map(|due_at| (due_at, *task)));
        }
        *due = renewed;
        // The next rewind begins after this row.
        self.given_up.clear();
        self.rewind = RewindFrom::default();
        self.ended = false;
    }

    /// Whether the execution was rewound to before its first turn, which has not run again.
    fn begins_again(&self) -> bool {
        matches!(self.kept.arrivals().front(), Some(Arrival::Started(_)))
    }

    fn decided(&mut self, decision: &Decision, turn: &Turn) {
        let origin = match decision.new_task().filter(|_| self.kept.has_calls()) {
            Some(task) => CallKey::of(decision).and_then(|key| self.kept.called(task, &key)),
            None => None,
        };
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
                    instance_id: origin
                        .and_then(|origin| origin.instance_id)
                        .unwrap_or_else(|| instance_id.clone()),
                    fixed_id: *fixed_id,
                    options: options.clone(),
                    module: *module,
                    scheduled_at: turn.clock_at(),
                    on_parent_close: None,
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
            Decision::CancelTask { task } => self.withdraw(*task),
            Decision::SetParentClose { task, policy } => {
                if let Some(Outstanding::SubOrchestration(call)) = self.tasks.get_mut(task) {
                    call.on_parent_close = Some(*policy);
                }
            }
            Decision::CallEntity {
                task,
                entity,
                operation,
                input,
                module,
                ..
            } => {
                let call = EntityCall {
                    entity: entity.clone(),
                    operation: operation.clone(),
                    input: input.clone(),
                    module: *module,
                    sent_at: turn.clock_at(),
                };
                self.insert(*task, Outstanding::Entity(call));
            }
            Decision::LockEntities { task, entities } => {
                self.section = Some((*task, entities.clone()));
                // The same turn may have left another section, in which the execution is before the turn.
                self.rewind.section = Some(self.rewind.last);
                self.insert(*task, Outstanding::Lock);
            }
            Decision::UnlockEntities { task } => {
                self.section = None;
                self.rewind.section = None;
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
            | Decision::WaitForCancellation { .. }
            | Decision::Patched { .. }
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

    fn task_ended(&mut self, task: TaskId, outcome: &Outcome) {
        self.given_up.remove(&task);
        // One that was given up because its time was over may have succeeded.
        if outcome.is_err() && matches!(self.tasks.get(&task), Some(Outstanding::SubOrchestration(_))) {
            self.given_up.insert(task, CallKind::SubOrchestration);
        }
        self.kept.ended(task, outcome);
        self.remove(task);
    }

    fn withdraw(&mut self, task: TaskId) {
        let kind = match self.tasks.get(&task) {
            Some(Outstanding::Entity(_)) => Some(CallKind::Entity),
            Some(Outstanding::SubOrchestration(_)) => Some(CallKind::SubOrchestration),
            _ => None,
        };
        if let Some(kind) = kind.filter(|_| !self.kept.tasks().contains(&task)) {
            self.given_up.insert(task, kind);
        }
        self.kept.withdraw(task);
        self.take_out(task);
    }

    fn remove(&mut self, task: TaskId) {
        self.kept.forget(task);
        self.take_out(task);
    }

    fn take_out(&mut self, task: TaskId) {
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

    /// The first turn that a rewind after the last turn would supersede: the first one that delivered a failure, or else
    /// the last one. If the execution was in a critical section, the turn that entered it.
    pub fn rewind_from(&self) -> TurnNumber {
        self.rewind.failure.unwrap_or(self.rewind.last)
    }

    /// Whether a rewind would void a failure that a turn has delivered, so that the call runs again.
    pub fn has_failures(&self) -> bool {
        self.rewind.failure.is_some()
    }

    /// The rewinds of the execution.
    pub fn rewinds(&self) -> &Rewinds {
        &self.rewinds
    }

    /// Notes which messages are older than the last rewind, once its row is durable.
    pub fn rewound_until(&mut self, until: InboxSeq) {
        self.rewinds.until = until;
    }

    /// The number after those of all tasks.
    pub fn next_task(&self) -> TaskId {
        self.next_task
    }

    /// The tasks that run again because of a rewind, with their voided failures, if the last row is that of the rewind.
    pub fn voided(&self) -> &BTreeMap<TaskId, Failure> {
        self.kept.voided()
    }

    /// The activity calls of superseded turns that may still run, if the last row is that of the rewind.
    pub fn superseded_activities(&self) -> &[TaskId] {
        self.kept.superseded()
    }

    /// What arrived in superseded turns and is to be delivered again, in order and before anything else.
    pub fn kept_arrivals(&self) -> impl Iterator<Item = &Arrival> {
        self.kept.arrivals().iter()
    }

    /// The tasks whose outcomes are among the [kept arrivals](Self::kept_arrivals).
    pub fn kept_tasks(&self) -> &BTreeSet<TaskId> {
        self.kept.tasks()
    }

    /// The task in whose place a call runs: one of a superseded turn that did not succeed, or itself. Both have the same
    /// idempotency key.
    pub fn origin(&self, task: TaskId) -> TaskId {
        self.kept.origin(task)
    }

    /// The task that runs in the place of one of a superseded turn, whose outcome it gets; itself for most.
    pub fn successor(&self, task: TaskId) -> TaskId {
        self.kept.successor(task)
    }

    /// Whether the outcome of a task that is not outstanding must be recorded, because a rewind or a call that is made
    /// again after one may need it: for an operation of an entity, because it is not sent twice; for a sub-orchestration,
    /// because it does not run again after it has succeeded.
    pub fn expects(&self, task: TaskId, outcome: &Outcome) -> bool {
        let given_up = self.given_up.get(&task);
        given_up.is_some_and(|kind| kind.counts(outcome)) || self.kept.expects(task, outcome)
    }

    /// What the calls of the next turn take from calls of superseded turns. Ask before the turn is applied.
    pub fn recall(&self, turn: &Turn) -> Recalled {
        self.kept.recall(turn)
    }

    /// Whether the last turn ended the execution.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The reason of the request to cancel the instance, if one has arrived.
    pub fn cancel_reason(&self) -> Option<&str> {
        self.cancel_reason.as_deref()
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

    /// The approximate size of the outstanding tasks and waits in memory, in bytes.
    pub fn task_bytes(&self) -> u64 {
        /// A task that was given up.
        const GIVEN_UP: u64 = 32;
        let waits = self.wait_names.len() as u64 * TASK_BYTES;
        self.task_bytes + waits + self.kept.bytes() + self.given_up.len() as u64 * GIVEN_UP
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
        TASK_BYTES
            + match self {
                Self::Activity(call) => call.input.bytes(),
                Self::SubOrchestration(call) => call.input.bytes(),
                Self::Entity(call) => call.input.bytes(),
                Self::Lock | Self::Timer { .. } => 0,
            }
    }

    /// Lets the timeout of a call begin at `now`.
    fn renew(&mut self, now: Timestamp) {
        match self {
            Self::Activity(call) => call.scheduled_at = now,
            Self::SubOrchestration(call) => call.scheduled_at = now,
            Self::Entity(_) | Self::Lock | Self::Timer { .. } => {}
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
