//! The state in the store of an orchestrator or an entity, and the cell through which an orchestrator receives its
//! execution in each turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::component::ResourceTable;

use crate::entity::{self, Step};
use crate::model::{LogLevel, Timestamp};
use crate::replay::{Execution, Interrupt, randomness::Randomness};

use super::{
    allowance::{Allowance, Stopwatch},
    entity::StepCell,
    host_fuel::{self, HostFuel},
    imports::poll::Pollable,
    limits::MemoryLimiter,
    line_buffer::LineBuffer,
    trap::{Evidence, PanicWatch},
};

/// Maximum handles of a guest (pollables, streams). Bounds the host memory that a guest can use. Even a fan-out of ten
/// thousand event loops needs fewer.
const MAX_HANDLES: usize = 100_000;

/// The data in the store of an orchestrator or an entity. All their imports are implemented for this type.
pub(super) struct OrchestratorState {
    backing: Backing,
    /// Which imports the guest may call at the moment.
    pub(super) phase: Phase,
    /// The guest's handles.
    pub(super) table: ResourceTable,
    /// The limit on the guest's memory.
    pub(super) limiter: MemoryLimiter,
    /// The fuel of the host's work for the guest.
    pub(super) host_fuel: HostFuel,
    stdout: LineBuffer,
    stderr: LineBuffer,
    panic: PanicWatch,
}

/// The source of time and randomness.
enum Backing {
    /// The execution, which is moved into the cell for each turn.
    Turn(Arc<ExecutionCell>),
    /// The step of an entity, which is in the cell while the guest runs.
    Step(Arc<StepCell>),
    /// No execution, because the guest describes itself at upload. The time is always 0.
    Description(Box<Randomness>),
}

/// Which imports a guest may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Start-up code or `describe` runs. It cannot schedule anything.
    Starting,
    /// The function runs.
    Running,
}

/// The cell that a guest shares with the code that resumes it, because the future of the call owns the store. Locked for
/// one import or one side of a resume, never across an await.
pub(super) struct ExecutionCell(Mutex<CellContent>);

/// The input of a guest for one turn, and its result.
pub(super) struct CellContent {
    /// The execution; a placeholder between turns.
    pub(super) execution: Execution,
    /// The resources that the guest may use until it waits.
    pub(super) allowance: Allowance,
    /// The fuel used in this turn. An import sets it when the guest waits and nothing is ready.
    pub(super) quiescent: Option<u64>,
    /// The time of this turn.
    pub(super) stopwatch: Stopwatch,
}

impl CellContent {
    /// Begins a turn with these resources.
    pub(super) fn begin(&mut self, allowance: Allowance) {
        self.allowance = allowance;
        self.quiescent = None;
        self.stopwatch = Stopwatch::begin(allowance.time);
    }
}

impl ExecutionCell {
    pub(super) fn new(execution: Execution) -> Arc<Self> {
        let allowance = Allowance {
            fuel: 0,
            time: Duration::ZERO,
            charges_host: false,
        };
        Arc::new(Self(Mutex::new(CellContent {
            execution,
            allowance,
            quiescent: None,
            stopwatch: Stopwatch::begin(Duration::ZERO),
        })))
    }

    /// Locks the content. Poisoning is ignored, because the guest is discarded after a panic in an import.
    pub(super) fn lock(&self) -> MutexGuard<'_, CellContent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OrchestratorState {
    /// Creates the state of a guest that runs the execution in the cell.
    pub(super) fn for_turns(cell: Arc<ExecutionCell>, limiter: MemoryLimiter) -> Self {
        Self::new(Backing::Turn(cell), limiter)
    }

    /// Creates the state of a guest that runs the step in the cell.
    pub(super) fn for_step(cell: Arc<StepCell>, limiter: MemoryLimiter) -> Self {
        Self::new(Backing::Step(cell), limiter)
    }

    /// Creates the state of a guest that describes itself at upload.
    pub(super) fn for_description(memory_bytes: u64) -> Self {
        let randomness = Box::new(Randomness::new([0; 32]));
        Self::new(Backing::Description(randomness), MemoryLimiter::new(memory_bytes))
    }

    fn new(backing: Backing, limiter: MemoryLimiter) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self {
            backing,
            phase: Phase::Starting,
            table,
            limiter,
            host_fuel: HostFuel::default(),
            stdout: LineBuffer::default(),
            stderr: LineBuffer::default(),
            panic: PanicWatch::default(),
        }
    }

    /// Charges for the call of an import. Every import reaches the state through this function.
    pub(super) fn called(&mut self) -> &mut Self {
        self.host_fuel.add(host_fuel::CALL);
        self
    }

    /// Charges for work of the host, before it is done if possible.
    ///
    /// # Errors
    /// If the work exceeds the fuel of the turn.
    pub(super) fn charge(&mut self, fuel: u64) -> wasmtime::Result<()> {
        self.host_fuel.add(fuel);
        Ok(self.host_fuel.check()?)
    }

    /// Calls the execution for an import that takes a decision with texts of this length in bytes.
    pub(super) fn decide<R>(
        &mut self,
        bytes: usize,
        ask: impl FnOnce(&mut Execution) -> Result<R, Interrupt>,
    ) -> wasmtime::Result<R> {
        self.charge(host_fuel::DECISION + host_fuel::payload(bytes))?;
        self.schedule(ask)
    }

    /// Calls the execution for an import that only a running function may use. An interrupt becomes a trap; the turn
    /// reads the reason from the execution.
    pub(super) fn schedule<R>(
        &mut self,
        ask: impl FnOnce(&mut Execution) -> Result<R, Interrupt>,
    ) -> wasmtime::Result<R> {
        match (&self.backing, self.phase) {
            (Backing::Turn(cell), Phase::Running) => {
                let execution = &mut cell.lock().execution;
                let answer = ask(execution);
                self.host_fuel.add(execution.take_fuel());
                self.host_fuel.check()?;
                answer.map_err(stopped)
            }
            _ => Err(TooEarly.into()),
        }
    }

    /// Calls the step for an import that only the running code of an entity may use. An interrupt becomes a trap; the
    /// step stores the reason.
    pub(super) fn step<R>(
        &mut self,
        ask: impl FnOnce(&mut Step) -> Result<R, entity::Interrupt>,
    ) -> wasmtime::Result<R> {
        let cell = self.step_cell()?;
        let answer = ask(&mut cell.lock().step);
        answer.map_err(|_| Stopped.into())
    }

    /// The time of the turn or the step.
    pub(super) fn now(&mut self) -> wasmtime::Result<Timestamp> {
        self.charge(0)?;
        match &self.backing {
            Backing::Turn(cell) => cell.lock().execution.now().map_err(stopped),
            Backing::Step(cell) => Ok(cell.lock().step.now()),
            Backing::Description(_) => Ok(Timestamp(0)),
        }
    }

    /// Creates a pollable that is ready at this time, which is in the future. For an entity it is never ready.
    pub(super) fn timer(&mut self, fire_at: Timestamp) -> wasmtime::Result<Pollable> {
        if self.step_cell().is_ok() {
            return Ok(Pollable::Later);
        }
        let timer = self.decide(0, |execution| execution.create_poll_timer(fire_at))?;
        Ok(Pollable::Timer(timer))
    }

    /// The next random bytes.
    pub(super) fn fill_random(&mut self, buffer: &mut [u8]) -> wasmtime::Result<()> {
        self.charge(host_fuel::copied(buffer.len()))?;
        match &mut self.backing {
            Backing::Turn(cell) => cell.lock().execution.fill_random(buffer),
            Backing::Step(cell) => cell.lock().step.fill_random(buffer),
            Backing::Description(randomness) => randomness.fill(buffer),
        }
        Ok(())
    }

    /// Writes a log line. It is dropped on replay and while the guest describes itself.
    pub(super) fn log(&mut self, level: LogLevel, message: &str) -> wasmtime::Result<()> {
        self.charge(host_fuel::LOG_LINE + host_fuel::copied(message.len()))?;
        self.panic.logged(message);
        log(&self.backing, level, message);
        Ok(())
    }

    /// Forgets the last panic message, because an operation without a failure has ended.
    pub(super) fn forget_panic(&mut self) {
        self.panic.take();
    }

    /// Logs what the guest writes to its standard output.
    pub(super) fn write_stdout(&mut self, bytes: &[u8]) -> wasmtime::Result<()> {
        self.charge(output(bytes))?;
        let Self { stdout, backing, .. } = self;
        stdout.write(bytes, |line| log(backing, LogLevel::Info, line));
        Ok(())
    }

    /// Logs what the guest writes to its standard error.
    pub(super) fn write_stderr(&mut self, bytes: &[u8]) -> wasmtime::Result<()> {
        self.charge(output(bytes))?;
        let Self {
            stderr, backing, panic, ..
        } = self;
        stderr.write(bytes, |line| {
            panic.line(line);
            log(backing, LogLevel::Warn, line);
        });
        Ok(())
    }

    /// Logs the rest of the output, which does not end with a line break.
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

    /// Collects what the host knows about a guest that failed.
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

    /// The cell of the running step.
    pub(super) fn step_cell(&self) -> wasmtime::Result<&Arc<StepCell>> {
        match (&self.backing, self.phase) {
            (Backing::Step(cell), Phase::Running) => Ok(cell),
            _ => Err(TooEarly.into()),
        }
    }
}

/// The cost of output in fuel: of its bytes and lines.
fn output(bytes: &[u8]) -> u64 {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    host_fuel::copied(bytes.len()) + lines * host_fuel::LOG_LINE
}

fn log(backing: &Backing, level: LogLevel, message: &str) {
    match backing {
        Backing::Turn(cell) => cell.lock().execution.log(level, message),
        Backing::Step(cell) => cell.lock().step.log(level, message),
        Backing::Description(_) => {}
    }
}

/// An import that schedules, waits or belongs to an operation was called from start-up code or `describe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scheduling and waiting are not allowed in start-up code or in `describe`")]
pub(super) struct TooEarly;

/// The execution stopped the guest, and stores the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host stopped the guest")]
struct Stopped;

fn stopped(_: Interrupt) -> wasmtime::Error {
    Stopped.into()
}
