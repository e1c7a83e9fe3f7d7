//! The interfaces that the replay core needs: a guest that can be resumed, and a directory of functions.

use std::sync::Arc;

use crate::model::{ActivityOptions, Failure, FunctionName, ModuleNumber, Outcome, Payload, failure::types};

use super::{Execution, TurnSize};

/// The fuel that a guest may use until it waits again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// A new turn: the configured fuel of a turn.
    Turn,
    /// A recorded turn: several times the fuel that it used when it was new, because fuel accounting differs between
    /// versions of the runtime.
    Replay {
        /// The recorded fuel of the turn.
        recorded: u64,
    },
}

/// What a guest calls from time to time while it runs for long. It may block the thread, to let others run.
pub type Pause = Arc<dyn Fn() + Send + Sync>;

/// The running code of one execution.
pub trait Guest {
    /// Runs the guest until it waits with nothing ready, returns or fails. The first call starts it; later calls
    /// resume it where it waits.
    ///
    /// # Errors
    /// When the host cannot run the guest now. This is not the guest's fault: the caller discards it and replays later.
    fn resume(&mut self, execution: &mut Execution, budget: Budget) -> Result<Ran, HostUnavailable>;

    /// Sets what it calls while it runs for long. By default, a guest does not.
    fn pause_with(&mut self, pause: Pause) {
        drop(pause);
    }
}

impl<G: Guest + ?Sized> Guest for Box<G> {
    fn resume(&mut self, execution: &mut Execution, budget: Budget) -> Result<Ran, HostUnavailable> {
        (**self).resume(execution, budget)
    }

    fn pause_with(&mut self, pause: Pause) {
        (**self).pause_with(pause);
    }
}

/// The result of resuming a guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// Why it stopped.
    pub progress: Progress,
    /// The fuel it used, in Wasmtime fuel units.
    pub fuel: u64,
}

/// Why a guest stopped.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It waits, and nothing it waits for is ready. Only the imports `wait` and `poll` report this.
    Waiting,
    /// The function returned.
    Returned(Outcome),
    /// It trapped, ran out of fuel or memory, or called `exit`. The failure says which.
    Broke(Failure),
}

/// Why the host cannot run a guest at the moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostUnavailable {
    /// Too many guests are in memory. The caller evicts one and tries again.
    #[error("no room for another guest: {0}")]
    NoRoom(String),
    /// The memory budget of the host has no bytes for the guest to grow. The caller takes as many as the guest needs and
    /// tries again.
    #[error("the host has no memory for a guest of {needed} bytes now")]
    NoMemory {
        /// What the guest would hold after it has grown, in bytes.
        needed: u64,
    },
    /// The memory budget of the host has no bytes for the decisions of the turn. The caller takes as many as they need
    /// and tries again.
    #[error(
        "the host has no memory for decisions of {} bytes and tasks of {} bytes now",
        needed.decisions,
        needed.tasks
    )]
    NoTurnMemory {
        /// The size of the turn until it was stopped.
        needed: TurnSize,
    },
    /// The module cannot be loaded: its bytes are gone or this host cannot compile them.
    #[error("the module cannot be loaded: {0}")]
    Module(String),
}

/// The current version of an activity.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedActivity {
    /// The module version that contains it.
    pub module: ModuleNumber,
    /// The default options of calls.
    pub defaults: ActivityOptions,
}

/// The current version of an orchestration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedOrchestration {
    /// The module version that contains it.
    pub module: ModuleNumber,
}

/// The current version of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedEntity {
    /// The module version that contains it.
    pub module: ModuleNumber,
}

/// The current functions of a tenant. Only new turns use it; replay uses the recorded versions.
pub trait Directory: Send + Sync {
    /// Finds an activity and checks the input against its schema. Adds the cost of the check to `fuel`.
    ///
    /// # Errors
    /// The failure becomes the outcome of the task.
    fn activity(&self, name: &FunctionName, input: &Payload, fuel: &mut u64) -> Result<ResolvedActivity, Failure>;

    /// Finds an orchestration and checks the input against its schema. Adds the cost of the check to `fuel`.
    ///
    /// # Errors
    /// The failure becomes the outcome of the task.
    fn orchestration(
        &self,
        name: &FunctionName,
        input: &Payload,
        fuel: &mut u64,
    ) -> Result<ResolvedOrchestration, Failure>;

    /// Finds an entity, by its name in lower case, and checks the input against the schema of the operation. Adds the
    /// cost of the check to `fuel`.
    ///
    /// # Errors
    /// The failure becomes the outcome of the call.
    fn entity(
        &self,
        name: &FunctionName,
        operation: &str,
        input: &Payload,
        fuel: &mut u64,
    ) -> Result<ResolvedEntity, Failure> {
        let _ = (operation, input, fuel);
        self.entity_module(name)
    }

    /// Finds an entity, by its name in lower case.
    ///
    /// # Errors
    /// The failure becomes the outcome of the call.
    fn entity_module(&self, name: &FunctionName) -> Result<ResolvedEntity, Failure> {
        let message = format!("no module offers the entity {:?}", name.as_str());
        Err(Failure::new(types::UNKNOWN_FUNCTION, message).permanent())
    }
}
