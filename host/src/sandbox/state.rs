//! What an orchestrator's store holds, and the cell through which it gets its execution, turn by turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::component::ResourceTable;

use crate::model::{LogLevel, Timestamp};
use crate::replay::{Execution, Interrupt, randomness::Randomness};

use super::{
    limits::MemoryLimiter,
    line_buffer::LineBuffer,
    trap::{Evidence, PanicWatch},
};

/// Most handles a guest may hold at once (pollables, streams). Bounds what a guest makes the host hold outside its
/// memory; a fan-out of ten thousand event loops stays under it.
const MAX_HANDLES: usize = 100_000;

/// Data of an orchestrator's store; all its imports are implemented for this.
pub(super) struct OrchestratorState {
    backing: Backing,
    /// What the guest may ask for at the moment.
    pub(super) phase: Phase,
    /// The guest's handles.
    pub(super) table: ResourceTable,
    /// The guest's memory.
    pub(super) limiter: MemoryLimiter,
    stdout: LineBuffer,
    stderr: LineBuffer,
    panic: PanicWatch,
}

/// Where time and randomness come from.
enum Backing {
    /// The execution, handed over for the turn.
    Turn(Arc<ExecutionCell>),
    /// Nothing: the guest describes itself at upload. Time stands at its beginning.
    Description(Box<Randomness>),
}

/// What a guest may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Start-up code runs, or `describe`: nothing can be scheduled.
    Starting,
    /// The function runs.
    Running,
}

/// The cell that a guest and whoever resumes it share: the call future owns the store, so nobody else can reach into
/// it. Locked for the length of one import or one side of a resume, never across an await.
pub(super) struct ExecutionCell(Mutex<CellContent>);

/// What a guest gets for one turn, and what comes back.
pub(super) struct CellContent {
    /// The execution; between turns a stand-in.
    pub(super) execution: Execution,
    /// What the guest may use until it waits.
    pub(super) allowance: Allowance,
    /// Set by an import when the guest waits and nothing is ready: the fuel used since the turn began.
    pub(super) quiescent: Option<u64>,
}

/// What a guest may use until it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Fuel, in Wasmtime units.
    pub(super) fuel: u64,
    /// Time, in epochs of the engine.
    pub(super) epochs: u64,
}

impl ExecutionCell {
    pub(super) fn new(execution: Execution) -> Arc<Self> {
        let allowance = Allowance { fuel: 0, epochs: 0 };
        Arc::new(Self(Mutex::new(CellContent {
            execution,
            allowance,
            quiescent: None,
        })))
    }

    /// Locks the content. A panic in an import leaves nothing half done that anyone would look at: the guest is thrown away.
    pub(super) fn lock(&self) -> MutexGuard<'_, CellContent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OrchestratorState {
    /// For running an execution that is handed over through the cell.
    pub(super) fn for_turns(cell: Arc<ExecutionCell>, memory_bytes: u64) -> Self {
        Self::new(Backing::Turn(cell), memory_bytes)
    }

    /// For `describe` at upload.
    pub(super) fn for_description(memory_bytes: u64) -> Self {
        Self::new(Backing::Description(Box::new(Randomness::new([0; 32]))), memory_bytes)
    }

    fn new(backing: Backing, memory_bytes: u64) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self {
            backing,
            phase: Phase::Starting,
            table,
            limiter: MemoryLimiter::new(memory_bytes),
            stdout: LineBuffer::default(),
            stderr: LineBuffer::default(),
            panic: PanicWatch::default(),
        }
    }

    /// Asks the execution for something that only a running function may ask for. An interrupt becomes a trap; the
    /// turn reads its reason off the execution.
    pub(super) fn schedule<R>(
        &mut self,
        ask: impl FnOnce(&mut Execution) -> Result<R, Interrupt>,
    ) -> wasmtime::Result<R> {
        match (&self.backing, self.phase) {
            (Backing::Turn(cell), Phase::Running) => ask(&mut cell.lock().execution).map_err(stopped),
            _ => Err(TooEarly.into()),
        }
    }

    /// The time of the turn.
    pub(super) fn now(&mut self) -> wasmtime::Result<Timestamp> {
        match &self.backing {
            Backing::Turn(cell) => cell.lock().execution.now().map_err(stopped),
            Backing::Description(_) => Ok(Timestamp(0)),
        }
    }

    /// The next random bytes.
    pub(super) fn fill_random(&mut self, buffer: &mut [u8]) {
        match &mut self.backing {
            Backing::Turn(cell) => cell.lock().execution.fill_random(buffer),
            Backing::Description(randomness) => randomness.fill(buffer),
        }
    }

    /// Writes a log line; dropped on replay and while the guest describes itself.
    pub(super) fn log(&mut self, level: LogLevel, message: &str) {
        self.panic.logged(message);
        log(&self.backing, level, message);
    }

    /// Takes what the guest writes to its standard output.
    pub(super) fn write_stdout(&mut self, bytes: &[u8]) {
        let Self { stdout, backing, .. } = self;
        stdout.write(bytes, |line| log(backing, LogLevel::Info, line));
    }

    /// Takes what the guest writes to its standard error.
    pub(super) fn write_stderr(&mut self, bytes: &[u8]) {
        let Self {
            stderr, backing, panic, ..
        } = self;
        stderr.write(bytes, |line| {
            panic.line(line);
            log(backing, LogLevel::Warn, line);
        });
    }

    /// Logs what the guest wrote without a line break at the end of its run.
    pub(super) fn finish_output(&mut self) {
        let Self {
            stdout,
            stderr,
            backing,
            panic,
            ..
        } = self;
        stdout.finish(|line| log(backing, LogLevel::Info, line));
        stderr.finish(|line| {
            panic.line(line);
            log(backing, LogLevel::Warn, line);
        });
    }

    /// What is known of a guest that broke.
    pub(super) fn evidence(&mut self, fuel: u64, hostcall_bytes: usize) -> Evidence {
        let memory_denied = self.limiter.denied().then_some(self.limiter.limit());
        Evidence {
            memory_denied,
            panic: self.panic.take(),
            fuel,
            starting: self.phase == Phase::Starting,
            hostcall_bytes,
        }
    }

    /// The cell of the running execution.
    pub(super) fn lent(&self) -> wasmtime::Result<&Arc<ExecutionCell>> {
        match (&self.backing, self.phase) {
            (Backing::Turn(cell), Phase::Running) => Ok(cell),
            _ => Err(TooEarly.into()),
        }
    }
}

fn log(backing: &Backing, level: LogLevel, message: &str) {
    if let Backing::Turn(cell) = backing {
        cell.lock().execution.log(level, message);
    }
}

/// A scheduling import was called from start-up code or `describe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scheduling and waiting are not allowed in start-up code or in `describe`")]
pub(super) struct TooEarly;

/// The execution does not let the guest go on; why is on the execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host stopped the guest")]
struct Stopped;

fn stopped(_: Interrupt) -> wasmtime::Error {
    Stopped.into()
}
