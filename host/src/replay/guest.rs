//! What the replay core asks of the world: a guest that can be resumed, and a directory of functions.

use crate::model::{ActivityOptions, Failure, FunctionName, ModuleNumber, Outcome, Payload};

use super::Execution;

/// How much a guest may use until it waits again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// A new turn: the configured fuel of a turn.
    Turn,
    /// A recorded turn: several times the fuel that it used when it was new, because fuel accounting differs between
    /// versions of the runtime.
    Replay {
        /// Fuel that was recorded of it.
        recorded: u64,
    },
}

/// Running code of one execution.
pub trait Guest {
    /// Runs until the guest waits with nothing ready, returns or breaks. The first call starts it; later ones resume
    /// it where it waits.
    ///
    /// # Errors
    /// When the host cannot run it now. That says nothing about the guest: it is to be thrown away and replayed later.
    fn resume(&mut self, execution: &mut Execution, budget: Budget) -> Result<Ran, HostUnavailable>;
}

impl<G: Guest + ?Sized> Guest for Box<G> {
    fn resume(&mut self, execution: &mut Execution, budget: Budget) -> Result<Ran, HostUnavailable> {
        (**self).resume(execution, budget)
    }
}

/// One stretch of a guest's run.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// Where it stopped.
    pub progress: Progress,
    /// Fuel it used, in Wasmtime fuel units.
    pub fuel: u64,
}

/// Where a guest stopped.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// It waits, and nothing it waits for is ready. Set by the imports `wait` and `poll`, never guessed.
    Waiting,
    /// The function returned.
    Returned(Outcome),
    /// It trapped, ran out of fuel or memory, or called `exit`. The failure says which.
    Broke(Failure),
}

/// Why the host cannot run a guest at the moment: a pool is exhausted, the module's file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostUnavailable {
    /// Too many guests are alive. Evict one and try again.
    #[error("no room for another guest: {0}")]
    NoRoom(String),
    /// The module cannot be loaded: its bytes are gone or this host cannot compile them.
    #[error("the module cannot be loaded: {0}")]
    Module(String),
}

/// An activity as it stands now.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedActivity {
    /// The module version that offers it.
    pub module: ModuleNumber,
    /// Options of calls that set none.
    pub defaults: ActivityOptions,
}

/// An orchestration as it stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedOrchestration {
    /// The module version that offers it.
    pub module: ModuleNumber,
}

/// The functions that a tenant offers at this moment. Asked in new turns only; replay follows what was recorded.
pub trait Directory: Send + Sync {
    /// Finds an activity and checks the input against its schema.
    ///
    /// # Errors
    /// The failure that becomes the task's outcome.
    fn activity(&self, name: &FunctionName, input: &Payload) -> Result<ResolvedActivity, Failure>;

    /// Finds an orchestration and checks the input against its schema.
    ///
    /// # Errors
    /// The failure that becomes the task's outcome.
    fn orchestration(&self, name: &FunctionName, input: &Payload) -> Result<ResolvedOrchestration, Failure>;
}
