//! The interface between an owner and the loop around it: the context for decisions, and the requests to the loop.

use std::sync::Arc;

use crate::entity::StepLimits;
use crate::memory::Held;
use crate::model::{
    ExecutionNumber, InboxItem, LogLine, ModuleNumber, ObservableLimits, Outcome, Started, StuckReason, TaskId,
    Timestamp, TurnNumber, history::outcome_bytes,
};
use crate::replay::ledger::ActivityCall;
use crate::replay::{Directory, TurnSize};
use crate::store::{AttemptsSoFar, TurnCommit, Used};

/// What an owner needs from outside to decide.
pub trait OwnerContext {
    /// The current time.
    fn now(&self) -> Timestamp;
    /// 32 new random bytes, the seed of a new execution.
    fn seed(&self) -> [u8; 32];
    /// The functions of the tenant.
    fn directory(&self) -> &dyn Directory;
    /// The same, for a guest that keeps it.
    fn shared_directory(&self) -> Arc<dyn Directory>;
    /// The limits of a step of an entity.
    fn step_limits(&self) -> StepLimits;
    /// The limits that new executions can observe.
    fn limits(&self) -> ObservableLimits;
    /// The maximum number of turns of one execution.
    fn max_turns(&self) -> u32;
    /// The maximum size of one execution's history, in bytes.
    fn max_history_bytes(&self) -> u64;
    /// The maximum size of one execution's log, in bytes.
    fn max_log_bytes(&self) -> u64;
    /// How many messages may wait for an entity when an orchestration calls it.
    fn max_waiting_operations(&self) -> u64 {
        u64::MAX
    }
    /// How many entities one critical section may lock; `None` for the limit of the host.
    fn max_locked_entities(&self) -> Option<usize> {
        None
    }
    /// How large a turn there is memory for.
    fn turn_room(&self) -> TurnSize;
    /// Whether the tenant's instances are held: they take no turns, and what arrives is kept for later.
    fn is_held(&self) -> bool;
}

/// What the loop has to do for its owner.
#[derive(Debug)]
pub enum Next {
    /// Wait for a message or until this time.
    Idle(Option<Timestamp>),
    /// Read rows after this turn and [feed](super::Owner::feed) them.
    History(TurnNumber),
    /// Read the recorded attempts of these tasks and [pass them on](super::Owner::take_attempts).
    Attempts(Vec<TaskId>),
    /// Read the oldest events of these names and [pass them on](super::Owner::read_events).
    Events(Vec<String>),
    /// [Install](super::Owner::install) a guest of this module that has not run a turn.
    Guest(ModuleNumber, Arc<Started>),
    /// [Install](super::Owner::install_entity) a guest of this module that applies operations.
    Entity(ModuleNumber),
    /// Write this, then call [`Owner::committed`](super::Owner::committed). If the write fails, drop the owner but keep
    /// its [results](super::Owner::into_results).
    Commit(Box<TurnCommit>),
    /// Append these results and events to the inbox, because the instance takes none now, and read the instance again.
    /// The events come last and are all that it [received directly](super::Owner::receive_event).
    Store(Vec<(InboxItem, Option<Used>)>),
    /// Start and stop activity calls.
    Activities(ActivityChanges),
    /// The instance stays on its module version: it was only asked whether its history fits another one, or this is why
    /// it does not.
    Judged(Option<StuckReason>),
    /// The instance has ended; there is nothing left to do.
    Ended,
}

impl Next {
    /// The fuel that the guest used in this step.
    pub fn fuel(&self) -> u64 {
        match self {
            Self::Commit(commit) => commit.fuel_of_guest(),
            _ => 0,
        }
    }
}

/// The outcome of an operation for a client.
#[derive(Debug)]
pub struct Answer {
    /// The number of the client's request.
    pub request: u64,
    /// The outcome.
    pub outcome: Outcome,
}

/// Activity calls to start and to stop.
#[derive(Debug, Default)]
pub struct ActivityChanges {
    /// To start, unless they are running or queued.
    pub start: Vec<StartActivity>,
    /// Whether `start` has calls of earlier turns: their outcomes may have arrived in the meantime.
    pub resumes: bool,
    /// To stop, each with the execution that called it.
    pub cancel: Vec<(ExecutionNumber, TaskId)>,
    /// Stop all other calls of the instance, in every execution.
    pub cancel_all: bool,
}

impl ActivityChanges {
    pub(super) fn is_empty(&self) -> bool {
        self.start.is_empty() && self.cancel.is_empty() && !self.cancel_all
    }
}

/// An activity call to run.
#[derive(Debug)]
pub struct StartActivity {
    /// The execution that made the call.
    pub execution: ExecutionNumber,
    /// The task of the call in that execution.
    pub task: TaskId,
    /// The function, its input and the options.
    pub call: ActivityCall,
    /// The task from which the idempotency key is derived: that of the call of a superseded turn in whose place it runs, or
    /// its own.
    pub origin: TaskId,
    /// The seed of the execution, from which the idempotency key is derived.
    pub seed: [u8; 32],
    /// The attempts recorded so far.
    pub so_far: AttemptsSoFar,
}

/// The final outcome of an activity call. It becomes durable with the turn or the inbox row that contains it.
#[derive(Debug, Clone)]
pub struct ActivityResult {
    /// The execution that made the call.
    pub execution: ExecutionNumber,
    /// The task of the call in that execution.
    pub task: TaskId,
    /// The output or the failure.
    pub outcome: Outcome,
    /// The log lines of the last attempt.
    pub logs: Vec<LogLine>,
    /// Fuel used by the last attempt.
    pub fuel: u64,
    /// Usage of the last attempt; `None` if no attempt ended.
    pub used: Option<Used>,
    /// What the result takes from the memory budget of the host until it is durable.
    pub memory: Option<Arc<Held>>,
}

/// What a result takes besides its outcome and log lines, in bytes.
const RESULT_BYTES: u64 = 512;

impl ActivityResult {
    /// The approximate size in memory, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let logs: usize = self.logs.iter().map(|line| line.message.len()).sum();
        RESULT_BYTES + outcome_bytes(&self.outcome) + logs as u64
    }

    /// Converts the result into a message for an instance that takes none now, with its usage.
    pub(in crate::engine) fn into_inbox(self) -> (InboxItem, Option<Used>) {
        let item = InboxItem::TaskEnded {
            execution: self.execution,
            task: self.task,
            attempt: 0,
            outcome: self.outcome,
        };
        (item, self.used)
    }
}
