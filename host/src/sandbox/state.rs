//! The state in an orchestrator's store, and the cell through which it receives its execution in each turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::{Trap, component::ResourceTable};

use crate::model::{LogLevel, Timestamp};
use crate::replay::{Execution, Interrupt, randomness::Randomness};

use super::{
    host_fuel::{self, HostFuel},
    limits::MemoryLimiter,
    line_buffer::LineBuffer,
    trap::{Evidence, PanicWatch},
};

/// Maximum handles of a guest (pollables, streams). Bounds the host memory that a guest can use. Even a fan-out of ten
/// thousand event loops needs fewer.
const MAX_HANDLES: usize = 100_000;

/// The data in an orchestrator's store. All its imports are implemented for this type.
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
    /// No execution, because the guest describes itself at upload. The time is always 0.
    Description(Box<Randomness>),
}

/// Which imports a guest may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Start-up code or `describe` runs. It cannot schedule anything.
    Starting,
    /// The orchestration function runs.
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
    /// How long the turn may still run from `runs_since` on.
    time_left: Duration,
    /// When the turn began to run, last.
    runs_since: Instant,
}

impl CellContent {
    /// Begins a turn with these resources.
    pub(super) fn begin(&mut self, allowance: Allowance) {
        self.allowance = allowance;
        self.quiescent = None;
        self.time_left = allowance.time;
        self.runs_since = Instant::now();
    }

    /// Counts the time until now, with that of the host's work.
    ///
    /// # Errors
    /// If the turn has run for too long. The guest must be stopped.
    pub(super) fn count_time(&mut self) -> Result<(), Trap> {
        let left = self.time_left.checked_sub(self.runs_since.elapsed());
        self.time_left = left.ok_or(Trap::Interrupt)?;
        self.runs_since = Instant::now();
        Ok(())
    }

    /// Goes on after a pause, which does not count.
    pub(super) fn go_on(&mut self) {
        self.runs_since = Instant::now();
    }
}

/// The resources that a guest may use until it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Fuel, in Wasmtime units.
    pub(super) fuel: u64,
    /// Time.
    pub(super) time: Duration,
    /// Whether the work of the host uses fuel as well.
    pub(super) charges_host: bool,
}

impl Allowance {
    /// The fuel that the host may use for the guest; `None` if it is not charged.
    pub(super) fn host_fuel(&self) -> Option<u64> {
        self.charges_host.then_some(self.fuel)
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
            time_left: Duration::ZERO,
            runs_since: Instant::now(),
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

    /// The time of the turn.
    pub(super) fn now(&mut self) -> wasmtime::Result<Timestamp> {
        self.charge(0)?;
        match &self.backing {
            Backing::Turn(cell) => cell.lock().execution.now().map_err(stopped),
            Backing::Description(_) => Ok(Timestamp(0)),
        }
    }

    /// The next random bytes.
    pub(super) fn fill_random(&mut self, buffer: &mut [u8]) -> wasmtime::Result<()> {
        self.charge(host_fuel::copied(buffer.len()))?;
        match &mut self.backing {
            Backing::Turn(cell) => cell.lock().execution.fill_random(buffer),
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
}

/// The cost of output in fuel: of its bytes and lines.
fn output(bytes: &[u8]) -> u64 {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    host_fuel::copied(bytes.len()) + lines * host_fuel::LOG_LINE
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

/// The execution stopped the guest, and stores the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host stopped the guest")]
struct Stopped;

fn stopped(_: Interrupt) -> wasmtime::Error {
    Stopped.into()
}
