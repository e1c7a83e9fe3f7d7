//! What passes between an owner and the loop around it: the context it decides in, and what it wants done.

use std::sync::Arc;

use crate::model::{
    ExecutionNumber, InboxItem, LogLine, ModuleNumber, ObservableLimits, Outcome, Started, TaskId, Timestamp,
    TurnNumber,
};
use crate::replay::Directory;
use crate::replay::ledger::ActivityCall;
use crate::store::{AttemptsSoFar, TurnCommit, Used};

/// What an owner needs from outside to decide.
pub trait OwnerContext {
    /// The time.
    fn now(&self) -> Timestamp;
    /// 32 new random bytes for an execution that starts.
    fn seed(&self) -> [u8; 32];
    /// The functions of the tenant.
    fn directory(&self) -> &dyn Directory;
    /// What executions that start now may observe.
    fn limits(&self) -> ObservableLimits;
    /// Most turns of one execution.
    fn max_turns(&self) -> u32;
    /// Most bytes of the history of one execution.
    fn max_history_bytes(&self) -> u64;
    /// Most bytes of the log of one execution.
    fn max_log_bytes(&self) -> u64;
    /// Whether no instance of the tenant takes a turn for now. What arrives meanwhile is kept for later.
    fn is_held(&self) -> bool;
}

/// What the loop is to do for its owner.
#[derive(Debug)]
pub enum Next {
    /// Wait for a message or that time.
    Idle(Option<Timestamp>),
    /// Read rows after that turn and [feed](super::Owner::feed) them.
    History(TurnNumber),
    /// Read what is noted of the attempts of these tasks and [hand it over](super::Owner::take_attempts).
    Attempts(Vec<TaskId>),
    /// Read the oldest events of these names, and [hand them over](super::Owner::read_events).
    Events(Vec<String>),
    /// [Install](super::Owner::install) a guest of that module, before its first turn.
    Guest(ModuleNumber, Arc<Started>),
    /// Write this, then call [`Owner::committed`](super::Owner::committed); if it fails, throw the owner away but keep its
    /// [results](super::Owner::into_results).
    Commit(Box<TurnCommit>),
    /// Append these results and events to the inbox, because the instance takes none now, and read anew what waits for it.
    /// The last ones are all the events that it [received directly](super::Owner::receive_event).
    Store(Vec<(InboxItem, Option<Used>)>),
    /// Start these attempts, unless they run already, and stop those.
    Activities(ActivityChanges),
    /// The instance has ended; nothing will happen any more.
    Ended,
}

impl Next {
    /// Fuel that the guest used for it.
    pub fn fuel(&self) -> u64 {
        match self {
            Self::Commit(commit) => commit.turn.as_ref().map_or(0, |turn| turn.fuel),
            _ => 0,
        }
    }
}

/// Activity calls to start and to stop.
#[derive(Debug, Default)]
pub struct ActivityChanges {
    /// To start, unless known.
    pub start: Vec<StartActivity>,
    /// To stop, each with the execution that called it.
    pub cancel: Vec<(ExecutionNumber, TaskId)>,
    /// Stop all that are left, in whichever execution.
    pub cancel_all: bool,
}

impl ActivityChanges {
    pub(super) fn is_empty(&self) -> bool {
        self.start.is_empty() && self.cancel.is_empty() && !self.cancel_all
    }
}

/// An activity call to carry out.
#[derive(Debug)]
pub struct StartActivity {
    /// The execution that waits.
    pub execution: ExecutionNumber,
    /// The task in it.
    pub task: TaskId,
    /// What to call and how.
    pub call: ActivityCall,
    /// The seed of the execution, for the idempotency key.
    pub seed: [u8; 32],
    /// What is noted of its attempts.
    pub so_far: AttemptsSoFar,
}

/// The final outcome of an activity call, as it comes from the slots. Durable once a turn or the inbox holds it.
#[derive(Debug, Clone)]
pub struct ActivityResult {
    /// The execution that waits.
    pub execution: ExecutionNumber,
    /// The task in it.
    pub task: TaskId,
    /// How it ended.
    pub outcome: Outcome,
    /// What the last attempt logged.
    pub logs: Vec<LogLine>,
    /// Fuel of the last attempt.
    pub fuel: u64,
    /// What the last attempt used; none if there was no attempt that ended.
    pub used: Option<Used>,
}

impl ActivityResult {
    /// As a message, for an instance that takes none now, and what it used.
    pub(super) fn into_inbox(self) -> (InboxItem, Option<Used>) {
        let item = InboxItem::TaskEnded {
            execution: self.execution,
            task: self.task,
            attempt: 0,
            outcome: self.outcome,
        };
        (item, self.used)
    }
}
