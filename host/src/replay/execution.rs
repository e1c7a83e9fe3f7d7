//! The state of one execution that its guest sees: tasks and their outcomes, events, time, randomness and the log.
//!
//! The imports of a component are thin wrappers of the methods here. Only this module decides what is new and what is
//! replayed from history.
//!
//! Arrivals are applied one at a time, the next one only when the guest waits and nothing is ready. So a guest takes the
//! same decisions in one turn with five arrivals and in five turns with one arrival each.
//!
//! In a new turn, an event becomes an arrival only when the guest waits for its name; until then it is
//! [pending](super::pending). A recorded turn applies its recorded arrivals.

mod cancellation;
mod completions;
mod entities;
mod patches;
mod scheduling;
mod turn_state;

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::model::{
    Arrival, Decision, EntityId, Event, Failure, InstanceId, LogLevel, LogLine, Outcome, Payload, Started, TaskId,
    Timestamp, Turn, failure::types,
};

use self::cancellation::Cancellation;
use self::completions::Completions;
use self::entities::CriticalSection;
use self::patches::Patches;
pub use self::patches::{MAX_PATCH_NAME_BYTES, MAX_PATCHES};
pub use self::scheduling::SubOrchestrationRequest;
pub(super) use self::turn_state::TurnEnd;
use self::turn_state::TurnState;
use super::{
    decisions::{cut, describe, same},
    events::{Events, Waits},
    guest::Directory,
    limits::{TurnLimits, TurnSize},
    pending::{PendingEvents, Place},
    randomness::Randomness,
    turn::EventBudget,
};

/// Why an import must stop the guest. The sandbox turns it into a trap, and the turn reads the reason from the execution.
#[derive(Debug, Clone, PartialEq)]
pub enum Interrupt {
    /// The code took another decision than the recorded one.
    Diverged(Divergence),
    /// A new turn exceeded a limit.
    Limit(Failure),
    /// A new turn exceeds the memory that the host has for it. It would be of this size.
    NoRoom(TurnSize),
    /// The guest waits although nothing is outstanding.
    WaitsForNothing,
    /// A scheduling import was called outside a turn (from `describe` or start-up code).
    OutsideTurn,
}

/// A difference between history and code.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// The recorded decision; `None` if the recorded turn has no more.
    pub recorded: Option<String>,
    /// The decision of the code; `None` if it took no more.
    pub requested: Option<String>,
}

/// The result of `wait`.
#[derive(Debug, Clone, PartialEq)]
pub enum Waited {
    /// Completions in order, at least one.
    Ready(Vec<Completion>),
    /// Nothing is ready: the guest is quiescent until the next turn.
    Quiescent,
}

/// The effect of applying an arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The task has its outcome.
    Settled(TaskId),
    /// These tasks have their outcomes.
    SettledAll(Vec<TaskId>),
    /// No task has a new outcome: the arrival was a duplicate or too late, or no task waits for it.
    Nothing,
    /// There are no more arrivals.
    NoneLeft,
}

/// The outcome of a task, as passed to the guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The task that ended.
    pub task: TaskId,
    /// Its outcome. It is `null` for timers and event waits; [`Execution::take_event`] returns the event.
    pub outcome: Outcome,
}

/// The timer of a clock subscription of the virtual WASI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PollTimer(pub TaskId);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Waiting {
    /// An activity or a sub-orchestration, with the size of its decision in bytes.
    Call(usize),
    /// A timer of `create-timer`.
    Timer,
    /// A timer of a clock subscription, which `poll` returns but `wait` does not.
    PollTimer,
    /// An event wait, with the folded name.
    Event(String),
    /// A call of an entity, with the size of its decision in bytes.
    Entity(EntityId, usize),
    /// A request to lock entities.
    Lock,
    /// A wait for a request to cancel the instance.
    Cancellation,
}

impl Waiting {
    /// The size of the call in bytes; the host keeps its input until it ends.
    fn call_bytes(&self) -> usize {
        match self {
            Self::Call(bytes) | Self::Entity(_, bytes) => *bytes,
            Self::Timer | Self::PollTimer | Self::Event(_) | Self::Lock | Self::Cancellation => 0,
        }
    }
}

/// The state of one execution, as its guest sees it.
pub struct Execution {
    instance_id: InstanceId,
    started: Arc<Started>,
    /// The time of the first turn.
    started_at: Option<Timestamp>,
    history: HistorySize,
    directory: Arc<dyn Directory>,
    limits: TurnLimits,
    randomness: Randomness,
    next_task: u32,
    /// Tasks without an outcome.
    waiting: BTreeMap<TaskId, Waiting>,
    /// The number of tasks in `waiting` that `wait` can return.
    waitable: usize,
    /// Bytes of the calls in `waiting`, because the host keeps their inputs until they end.
    call_bytes: usize,
    /// Outcomes that `wait` has not returned yet.
    ready: Completions,
    events: Events,
    /// The critical section that the guest has entered.
    section: Option<CriticalSection>,
    cancellation: Cancellation,
    patches: Patches,
    continue_as_new: Option<Payload>,
    turn: Option<TurnState>,
    interrupt: Option<Interrupt>,
    /// The fuel of checks that [`take_fuel`](Self::take_fuel) has not returned yet.
    fuel: u64,
}

/// The size of a history that the guest may see. It does not depend on when the turns ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistorySize {
    /// The number of turns.
    pub turns: u32,
    /// Bytes of the payloads that the execution received and sent.
    pub payload_bytes: u64,
}

/// The maximum length of a log line in bytes. Longer ones are truncated.
pub const MAX_LOG_LINE_BYTES: usize = 8 << 10;

impl Execution {
    /// Creates an execution before its first turn.
    pub fn new(
        instance_id: InstanceId,
        started: Arc<Started>,
        directory: Arc<dyn Directory>,
        limits: TurnLimits,
    ) -> Self {
        let mut events = Events::default();
        for event in &started.events {
            events.arrive(event.clone());
        }
        Self {
            instance_id,
            randomness: Randomness::new(started.seed),
            started,
            started_at: None,
            history: HistorySize::default(),
            directory,
            limits,
            next_task: 1,
            waiting: BTreeMap::new(),
            waitable: 0,
            call_bytes: 0,
            ready: Completions::default(),
            events,
            section: None,
            cancellation: Cancellation::default(),
            patches: Patches::default(),
            continue_as_new: None,
            turn: None,
            interrupt: None,
            fuel: 0,
        }
    }

    /// A placeholder with the same properties, for the time while this execution is moved elsewhere.
    #[must_use]
    pub fn stand_in(&self) -> Self {
        let Self {
            instance_id,
            started,
            directory,
            limits,
            ..
        } = self;
        Self::new(instance_id.clone(), started.clone(), directory.clone(), *limits)
    }

    // ---- for turns ----

    /// Begins the replay of a recorded turn.
    pub(super) fn repeat_turn(&mut self, row: &Turn) {
        self.patches.read(row);
        // Options of calls may change, and patches are compared at the end of the turn.
        let compared =
            |decision: &&Decision| !matches!(decision, Decision::SetParentClose { .. } | Decision::Patched { .. });
        let recorded = Some(row.decisions.iter().filter(compared).cloned().collect());
        let arrivals = row.arrivals.iter().map(|arrival| (Place::Own, arrival.clone()));
        self.start_turn(TurnState {
            arrivals: arrivals.collect(),
            recorded,
            ..TurnState::new(row.at)
        });
    }

    /// Begins a new turn.
    pub(super) fn begin_turn(
        &mut self,
        now: Timestamp,
        arrivals: Vec<(Place, Arrival)>,
        mut pending: PendingEvents,
        until: Place,
        budget: EventBudget,
    ) {
        pending.begin(self.events.waits());
        self.start_turn(TurnState {
            arrivals: arrivals.into(),
            pending,
            until,
            budget,
            ..TurnState::new(now)
        });
    }

    /// Stops the guest when the turn becomes larger.
    pub(super) fn limit_size(&mut self, room: TurnSize) {
        self.turn.as_mut().expect("a turn is running").room = room;
    }

    /// Sets how many entities a critical section may lock in this turn.
    pub(super) fn limit_locked_entities(&mut self, most: Option<usize>) {
        let limit = most.unwrap_or(self.limits.locked_entities);
        self.turn.as_mut().expect("a turn is running").locked_entities = limit;
    }

    fn start_turn(&mut self, turn: TurnState) {
        assert!(self.turn.is_none(), "a turn ends before the next begins");
        self.started_at.get_or_insert(turn.now);
        self.turn = Some(turn);
    }

    pub(super) fn end_turn(&mut self) -> TurnEnd {
        let mut turn = self.turn.take().expect("a turn is running");
        turn.pending.end();
        let mut arrivals = turn.applied;
        arrivals.extend(turn.arrivals.into_iter().map(|(_, arrival)| arrival));
        let mut logs = turn.logs;
        if turn.dropped_logs > 0 {
            logs.push(LogLine {
                at: turn.now,
                execution: self.started.execution,
                task: None,
                attempt: None,
                level: LogLevel::Warn,
                message: format!("{} log lines dropped: limit of a turn reached", turn.dropped_logs),
            });
        }
        TurnEnd {
            arrivals,
            pending: turn.pending,
            taken: turn.taken,
            decisions: turn.decisions,
            logs,
            custom_status: turn.custom_status,
            unrepeated: turn.recorded,
        }
    }

    /// A patch of a replayed turn that the guest has not asked for.
    pub(super) fn unasked_patch<'a>(&self, row: &'a Turn) -> Option<&'a Decision> {
        self.patches.unasked(row)
    }

    /// Counts a turn that was added to the history or replayed from it.
    pub(super) fn grow(&mut self, turn: &Turn) {
        let arrived: u64 = turn.arrivals.iter().map(Arrival::payload_bytes).sum();
        let given: u64 = turn.decisions.iter().map(Decision::payload_bytes).sum();
        self.history.turns = turn.number.0;
        self.history.payload_bytes = self.history.payload_bytes.saturating_add(arrived + given);
    }

    /// The next task gets at least this number, because the numbers before were used in superseded turns.
    pub(super) fn skip_tasks_before(&mut self, task: TaskId) {
        self.next_task = self.next_task.max(task.0);
    }

    pub(super) fn take_interrupt(&mut self) -> Option<Interrupt> {
        self.interrupt.take()
    }

    /// The input for the next execution, if the guest called continue-as-new, with the events that have arrived but were
    /// not taken. (Pending events are not carried over: they stay where they are.)
    pub(super) fn take_continuation(&mut self) -> Option<(Payload, Vec<Event>)> {
        let input = self.continue_as_new.take()?;
        let mut events = self.events.untaken();
        let unseen = self
            .turn
            .as_ref()
            .map(|turn| turn.arrivals.iter())
            .into_iter()
            .flatten();
        events.extend(unseen.filter_map(|(_, arrival)| match arrival {
            Arrival::EventRaised(event) => Some(event.clone()),
            _ => None,
        }));
        Some((input, events))
    }

    /// Adds the decision with which a turn ends the execution.
    pub(super) fn decide_end(&mut self, decision: Decision) -> Result<(), Interrupt> {
        self.decide(decision).map(|_| ())
    }

    // ---- for the guest: properties ----

    /// The instance's id.
    pub fn instance_id(&self) -> &InstanceId {
        &self.instance_id
    }

    /// The arrival that started the execution.
    pub fn started(&self) -> &Arc<Started> {
        &self.started
    }

    /// When the execution started: the time of its first turn.
    pub fn started_at(&self) -> Timestamp {
        self.started_at.unwrap_or_default()
    }

    /// The waits that no event has completed.
    pub fn waits(&self) -> &Waits {
        self.events.waits()
    }

    /// The size of the history before the running turn.
    pub fn history(&self) -> HistorySize {
        self.history
    }

    /// The time of the running turn.
    ///
    /// # Errors
    /// Outside a turn.
    pub fn now(&mut self) -> Result<Timestamp, Interrupt> {
        Ok(self.turn()?.now)
    }

    /// The next random bytes.
    pub fn fill_random(&mut self, buffer: &mut [u8]) {
        self.randomness.fill(buffer);
    }

    /// The next UUID.
    pub fn new_uuid(&mut self) -> Uuid {
        self.randomness.uuid()
    }

    /// Requests that the next execution starts when the function returns.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn continue_as_new(&mut self, input: &str) -> Result<(), Interrupt> {
        self.turn()?;
        match self.check_payload(input) {
            Ok(input) => {
                self.continue_as_new = Some(input);
                Ok(())
            }
            Err(failure) => Err(self.stop(Interrupt::Limit(failure))),
        }
    }

    /// Sets the custom status. Text that is not a valid payload is logged as an error and ignored.
    ///
    /// # Errors
    /// Outside a turn.
    pub fn set_custom_status(&mut self, status: &str) -> Result<(), Interrupt> {
        let checked = self.check_payload(status);
        match checked {
            Ok(status) => self.turn()?.custom_status = Some(status),
            Err(failure) => self.log(
                LogLevel::Error,
                &format!("the custom status was not set: {}", failure.message),
            ),
        }
        Ok(())
    }

    /// Writes a log line. It is dropped outside a turn, during replay, and beyond the limit of the turn.
    pub fn log(&mut self, level: LogLevel, message: &str) {
        let limits = self.limits;
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.recorded.is_none()) else {
            return;
        };
        let message = cut(message.trim_end_matches(['\n', '\r']), MAX_LOG_LINE_BYTES);
        turn.log_bytes += message.len() + 1;
        if turn.log_bytes > limits.log_bytes || turn.logs.len() >= limits.log_lines {
            turn.dropped_logs += 1;
            return;
        }
        let line = LogLine {
            at: turn.now,
            execution: self.started.execution,
            task: None,
            attempt: None,
            level,
            message: message.to_owned(),
        };
        turn.logs.push(line);
    }

    /// The fuel that checks of inputs have cost since the last call. Replay checks nothing.
    pub fn take_fuel(&mut self) -> u64 {
        std::mem::take(&mut self.fuel)
    }

    // ---- for the guest: waiting ----

    /// Returns the outcomes that are ready. If there are none, applies arrivals until there is one.
    ///
    /// # Errors
    /// When no task is outstanding, so that waiting would never end, and outside a turn.
    pub fn wait(&mut self) -> Result<Waited, Interrupt> {
        self.turn()?;
        loop {
            if !self.ready.is_empty() {
                return Ok(Waited::Ready(self.ready.take_all()));
            }
            if self.waitable == 0 {
                return Err(self.stop(Interrupt::WaitsForNothing));
            }
            if self.apply_next_arrival()? == Applied::NoneLeft {
                return Ok(Waited::Quiescent);
            }
        }
    }

    /// Applies the next arrival, if there is one: the oldest of the arrivals of the turn and of the pending events that
    /// the guest waits for. `poll` calls it while none of its pollables is ready.
    ///
    /// # Errors
    /// Outside a turn.
    pub fn apply_next_arrival(&mut self) -> Result<Applied, Interrupt> {
        let Some(arrival) = self.turn()?.next_arrival() else {
            return Ok(Applied::NoneLeft);
        };
        let settled = match arrival {
            Arrival::Started(_)
            | Arrival::Terminated { .. }
            | Arrival::ClockBehind { .. }
            | Arrival::Rewound { .. } => None,
            Arrival::TaskEnded { task, outcome } => Some((task, outcome)),
            Arrival::TimerFired { task } => Some((task, Ok(Payload::null()))),
            Arrival::EventRaised(event) => {
                let folded = event.name.folded();
                let task = self.events.arrive(event);
                self.update_pending(&folded);
                task.map(|task| (task, Ok(Payload::null())))
            }
            Arrival::CancelRequested { reason } => return Ok(self.cancel_arrives(reason)),
        };
        let settled = settled.filter(|(task, _)| !self.is_ready(*task));
        Ok(settled.map_or(Applied::Nothing, |(task, outcome)| {
            self.settle(task, outcome);
            Applied::Settled(task)
        }))
    }

    /// Whether a task that was created has an outcome or was withdrawn.
    pub fn is_ready(&self, task: TaskId) -> bool {
        !self.waiting.contains_key(&task)
    }

    // ---- internals ----

    /// Updates the pending events of a new turn: whether the guest waits for this name.
    fn update_pending(&mut self, folded_name: &str) {
        let wanted = self.events.waits().contains_key(folded_name);
        if let Some(turn) = &mut self.turn {
            turn.pending.want(folded_name, wanted);
        }
    }

    fn turn(&mut self) -> Result<&mut TurnState, Interrupt> {
        if self.turn.is_none() {
            return Err(self.stop(Interrupt::OutsideTurn));
        }
        Ok(self.turn.as_mut().expect("just checked"))
    }

    /// Stores the reason, because a trap cannot carry it without loss.
    fn stop(&mut self, interrupt: Interrupt) -> Interrupt {
        self.interrupt = Some(interrupt.clone());
        interrupt
    }

    fn diverge(&mut self, recorded: Option<String>, requested: Option<String>) -> Interrupt {
        self.stop(Interrupt::Diverged(Divergence { recorded, requested }))
    }

    fn new_task(&mut self) -> Result<TaskId, Interrupt> {
        self.turn()?;
        let task = TaskId(self.next_task);
        self.next_task = self
            .next_task
            .checked_add(1)
            .expect("turn limits stop an execution long before 2^32 tasks");
        Ok(task)
    }

    /// The recorded decision that the guest must repeat next; `None` in a new turn or at the end of the record.
    fn repeated(&self) -> Option<&Decision> {
        self.turn.as_ref()?.recorded.as_ref()?.front()
    }

    fn schedule(&mut self, task: TaskId, kind: Waiting, decision: Decision) -> Result<TaskId, Interrupt> {
        if kind != Waiting::PollTimer {
            self.waitable += 1;
        }
        self.call_bytes += kind.call_bytes();
        self.waiting.insert(task, kind);
        let refusal = match &decision {
            Decision::Refused { failure, .. } => Some(failure.clone()),
            _ => None,
        };
        self.decide(decision)?;
        if let Some(failure) = refusal {
            self.settle(task, Err(failure));
        }
        Ok(task)
    }

    /// Sets the outcome of a task. Does nothing if it has one or was withdrawn.
    fn settle(&mut self, task: TaskId, outcome: Outcome) {
        if let Some(kind) = self.forget(task)
            && kind != Waiting::PollTimer
        {
            self.ready.push(task, outcome);
        }
    }

    fn forget(&mut self, task: TaskId) -> Option<Waiting> {
        let kind = self.waiting.remove(&task)?;
        if kind != Waiting::PollTimer {
            self.waitable -= 1;
        }
        self.call_bytes -= kind.call_bytes();
        Some(kind)
    }

    /// Adds a decision of a new turn, or compares it with the recorded one.
    fn decide(&mut self, decision: Decision) -> Result<(), Interrupt> {
        let (limits, waiting, call_bytes) = (self.limits, self.waiting.len(), self.call_bytes);
        let turn = self.turn()?;
        if let Some(recorded) = &mut turn.recorded {
            let expected = recorded.pop_front();
            if !expected.as_ref().is_some_and(|expected| same(expected, &decision)) {
                return Err(self.diverge(expected.as_ref().map(describe), Some(describe(&decision))));
            }
            return Ok(());
        }
        turn.size.add(&decision);
        turn.decisions.push(decision);
        let exceeded = if turn.decisions.len() > limits.decisions {
            Some(format!("a turn may take {} decisions", limits.decisions))
        } else if waiting > limits.tasks {
            Some(format!("{} tasks may wait for their outcomes", limits.tasks))
        } else if call_bytes > limits.call_bytes {
            Some(format!(
                "the calls that wait for their outcomes may hold {} bytes",
                limits.call_bytes
            ))
        } else if turn.size.decisions > limits.decision_bytes {
            Some(format!(
                "the decisions of a turn may hold {} bytes",
                limits.decision_bytes
            ))
        } else {
            None
        };
        let (size, room) = (turn.size, turn.room);
        match exceeded {
            Some(message) => Err(self.stop(Interrupt::Limit(Failure::new(types::LIMIT, message).permanent()))),
            None if !size.fits(room) => Err(self.stop(Interrupt::NoRoom(size))),
            None => Ok(()),
        }
    }

    fn check_payload(&self, text: &str) -> Result<Payload, Failure> {
        let limit = usize::try_from(self.started.limits.payload_bytes).unwrap_or(usize::MAX);
        Payload::parse(text, limit)
            .map_err(|error| Failure::new(types::PAYLOAD, format!("the payload {error}")).permanent())
    }
}
