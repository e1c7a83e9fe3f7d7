//! Applies operations to an entity: what its guest sees during one step, and what comes of it.
//!
//! Pure, like [`replay`](crate::replay): no clock, no I/O and no async. The imports of a component are thin wrappers of
//! [`Step`]. An entity has no history, so nothing is replayed: its state is the truth.
//!
//! Each operation is a savepoint. The guest pulls one, gives its outcome, and only then do its state, signals and starts
//! count. If the guest fails in between, that operation alone fails; a new guest continues with the next one.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{
    EntityId, Failure, FunctionName, InstanceId, LogLevel, LogLine, ModuleNumber, Operation, Outcome, Payload,
    Timestamp, entity::check_operation_name, failure::types, ids::ExecutionNumber,
};
use crate::replay::{Directory, HostUnavailable, Pause, execution::MAX_LOG_LINE_BYTES, randomness::Randomness};

#[cfg(test)]
mod tests;

/// Limits on one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepLimits {
    /// Maximum length of inputs and outputs, in bytes.
    pub payload_bytes: usize,
    /// Maximum length of the state, in bytes.
    pub state_bytes: usize,
    /// Maximum number of signals and starts of one operation.
    pub effects: usize,
    /// Maximum bytes of the signals and starts of one operation.
    pub effect_bytes: usize,
    /// Bytes of outputs, signals and starts after which a step takes no further operations.
    pub step_bytes: usize,
    /// Maximum bytes of the log lines of the step. Further lines are dropped and counted.
    pub log_bytes: usize,
    /// Maximum number of log lines of the step.
    pub log_lines: usize,
}

impl Default for StepLimits {
    fn default() -> Self {
        Self {
            payload_bytes: 1 << 20,
            state_bytes: 256 << 10,
            effects: 1_000,
            effect_bytes: 4 << 20,
            step_bytes: 4 << 20,
            log_bytes: 64 << 10,
            log_lines: 4_096,
        }
    }
}

/// What an operation causes outside the entity, once the step is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A one-way operation for an entity.
    Signal {
        /// The recipient.
        entity: EntityId,
        /// The operation.
        operation: Operation,
        /// A module version that contains the recipient.
        module: ModuleNumber,
    },
    /// An orchestration that nobody awaits.
    Start {
        /// The name of the orchestration.
        function: FunctionName,
        /// Its input.
        input: Payload,
        /// The id of the new instance.
        instance_id: InstanceId,
        /// The module version that contains it.
        module: ModuleNumber,
    },
}

impl Effect {
    /// Bytes of the payload.
    pub fn payload_bytes(&self) -> u64 {
        match self {
            Self::Signal { operation, .. } => operation.input.bytes(),
            Self::Start { input, .. } => input.bytes(),
        }
    }
}

/// What an operation that succeeded makes of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewState<'a> {
    /// It stays as it was.
    Unchanged,
    /// It is this text.
    Set(&'a str),
    /// The entity has no state any more.
    Deleted,
}

/// An operation that was applied, or failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The operation.
    pub operation: Operation,
    /// Its outcome.
    pub outcome: Outcome,
}

/// The result of a step.
#[derive(Debug, Default)]
pub struct StepEnd {
    /// The operations that were applied, in order.
    pub applied: Vec<Applied>,
    /// The operations that were not applied.
    pub left: VecDeque<Operation>,
    /// The state after the step.
    pub state: Option<Payload>,
    /// How many operations changed the state.
    pub changes: u64,
    /// The signals and starts of the operations, in order.
    pub effects: Vec<Effect>,
    /// The log lines of all operations, those that failed included.
    pub logs: Vec<LogLine>,
    /// Why the last guest could not begin, although the entity has a state. It was given no operation, so that none
    /// fails for it.
    pub unreadable: Option<Failure>,
}

/// Why an import must stop the guest.
#[derive(Debug, Clone, PartialEq)]
pub enum Interrupt {
    /// The guest asked for the next operation before it gave the outcome of the last one, or gave an outcome without an
    /// operation.
    OutOfOrder(&'static str),
    /// The operation exceeded a limit.
    Limit(Failure),
}

/// One step of an entity, as its guest sees it.
pub struct Step {
    entity: EntityId,
    now: Timestamp,
    directory: Arc<dyn Directory>,
    limits: StepLimits,
    randomness: Randomness,
    queue: VecDeque<Operation>,
    running: Option<Running>,
    /// The guest that runs has got an operation.
    has_begun: bool,
    /// There are no more operations for a guest.
    is_over: bool,
    /// Bytes of the outputs, signals and starts of the operations that were applied.
    bytes: usize,
    log_bytes: usize,
    dropped_logs: u64,
    interrupt: Option<Interrupt>,
    end: StepEnd,
}

/// The operation that the guest applies, with what it has caused so far.
struct Running {
    operation: Operation,
    effects: Vec<Effect>,
    effect_bytes: usize,
}

/// The code of an entity. It applies operations until there are none, or fails.
pub trait EntityGuest: Send {
    /// Runs the guest with the operations of a step.
    ///
    /// # Errors
    /// When the host cannot run the guest now. This is not the guest's fault; nothing of the step has happened.
    fn run(&mut self, step: &mut Step) -> Result<Ran, HostUnavailable>;

    /// Sets what it calls while it runs for long. By default, a guest does not.
    fn pause_with(&mut self, pause: Pause) {
        drop(pause);
    }
}

impl<G: EntityGuest + ?Sized> EntityGuest for Box<G> {
    fn run(&mut self, step: &mut Step) -> Result<Ran, HostUnavailable> {
        (**self).run(step)
    }

    fn pause_with(&mut self, pause: Pause) {
        (**self).pause_with(pause);
    }
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// The fuel it used, in Wasmtime units.
    pub fuel: u64,
    /// Why it failed; `None` if it returned.
    pub broke: Option<Failure>,
}

impl Step {
    /// A step that applies these operations.
    pub fn new(
        entity: EntityId,
        state: Option<Payload>,
        operations: VecDeque<Operation>,
        now: Timestamp,
        seed: [u8; 32],
        directory: Arc<dyn Directory>,
        limits: StepLimits,
    ) -> Self {
        Self {
            entity,
            now,
            directory,
            limits,
            randomness: Randomness::new(seed),
            queue: operations,
            running: None,
            has_begun: false,
            is_over: false,
            bytes: 0,
            log_bytes: 0,
            dropped_logs: 0,
            interrupt: None,
            end: StepEnd {
                state,
                ..StepEnd::default()
            },
        }
    }

    /// A placeholder with the same properties, for the time while this step is moved elsewhere.
    #[must_use]
    pub fn stand_in(&self) -> Self {
        let Self {
            entity,
            now,
            directory,
            limits,
            ..
        } = self;
        Self::new(
            entity.clone(),
            None,
            VecDeque::new(),
            *now,
            [0; 32],
            directory.clone(),
            *limits,
        )
    }

    // ---- for the engine ----

    /// Handles the end of a guest: an operation without an outcome fails. Returns whether operations are left that a new
    /// guest may apply.
    ///
    /// Each guest takes at least one operation from the queue, except one that cannot read the state: then the step is
    /// over.
    pub fn guest_ended(&mut self, broke: Option<Failure>) -> bool {
        let has_begun = std::mem::take(&mut self.has_begun);
        let failure = match (self.interrupt.take(), broke) {
            (Some(Interrupt::Limit(failure)), _) => failure,
            (Some(Interrupt::OutOfOrder(what)), _) => Failure::new(types::TRAP, what).permanent(),
            (None, Some(failure)) => failure,
            (None, None) if self.running.is_none() && (self.is_over || has_begun) => return self.has_more(),
            (None, None) => {
                let message = "the entity returned before it gave the outcome of the operation";
                Failure::new(types::TRAP, message).permanent()
            }
        };
        if !has_begun && !self.is_over {
            // It failed in start-up code or while it read the state. If there is a state, it is not the fault of the next
            // operation. Otherwise that one fails, so that the queue moves.
            if self.end.state.is_some() {
                self.end.unreadable = Some(failure);
                return false;
            }
            self.running = self.queue.pop_front().map(Running::of);
        }
        match self.running {
            Some(_) => self.settle(Err(failure)),
            None => self.log(
                LogLevel::Warn,
                &format!("the entity failed after its last operation: {}", failure.message),
            ),
        }
        self.has_more()
    }

    fn has_more(&self) -> bool {
        !self.is_over && !self.queue.is_empty()
    }

    /// Ends the step.
    pub fn end(mut self) -> StepEnd {
        if self.dropped_logs > 0 {
            let line = format!("{} log lines dropped: limit of a step reached", self.dropped_logs);
            self.push_line(LogLevel::Warn, line);
        }
        StepEnd {
            left: self.queue,
            ..self.end
        }
    }

    // ---- for the guest ----

    /// The entity.
    pub fn entity(&self) -> &EntityId {
        &self.entity
    }

    /// The limits.
    pub fn limits(&self) -> &StepLimits {
        &self.limits
    }

    /// The state before the next operation.
    pub fn state(&self) -> Option<&Payload> {
        self.end.state.as_ref()
    }

    /// The operation that runs.
    pub fn running(&self) -> Option<&Operation> {
        self.running.as_ref().map(|running| &running.operation)
    }

    /// The next operation; `None` if the step is over: all operations were applied, or the step is large enough.
    ///
    /// # Errors
    /// If the last operation has no outcome.
    pub fn next_operation(&mut self) -> Result<Option<&Operation>, Interrupt> {
        if self.running.is_some() {
            return Err(self.stop(Interrupt::OutOfOrder(
                "the entity asked for an operation before it gave the outcome of the last one",
            )));
        }
        self.running = match self.bytes < self.limits.step_bytes && !self.is_over {
            true => self.queue.pop_front().map(Running::of),
            false => None,
        };
        self.has_begun |= self.running.is_some();
        self.is_over = self.running.is_none();
        Ok(self.running.as_ref().map(|running| &running.operation))
    }

    /// Takes the outcome of the running operation. Returns false if the host refuses it, so that the operation has
    /// failed.
    ///
    /// # Errors
    /// If no operation runs.
    pub fn complete(&mut self, outcome: Result<(&str, NewState<'_>), Failure>) -> Result<bool, Interrupt> {
        if self.running.is_none() {
            return Err(self.stop(Interrupt::OutOfOrder(
                "the entity gave an outcome although no operation runs",
            )));
        }
        let checked = outcome.and_then(|(output, state)| {
            let output = check(output, self.limits.payload_bytes, types::PAYLOAD, "the output")?;
            let state = match state {
                NewState::Unchanged => None,
                NewState::Set(state) => Some(Some(check(state, self.limits.state_bytes, types::STATE, "the state")?)),
                NewState::Deleted => Some(None),
            };
            Ok((output, state))
        });
        match checked {
            Ok((output, state)) => {
                if let Some(state) = state
                    && state != self.end.state
                {
                    self.end.state = state;
                    self.end.changes += 1;
                }
                self.settle(Ok(output));
                Ok(true)
            }
            Err(failure) => {
                self.settle(Err(failure));
                Ok(false)
            }
        }
    }

    /// Ends the step before the next operation, although operations may be left. Does nothing while an operation runs, and
    /// before the first operation of a guest: otherwise a guest with a slow start would never apply any.
    pub fn close(&mut self) {
        self.is_over |= self.has_begun && self.running.is_none();
    }

    /// The time of the step.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The next random bytes.
    pub fn fill_random(&mut self, buffer: &mut [u8]) {
        self.randomness.fill(buffer);
    }

    /// The next UUID.
    pub fn new_uuid(&mut self) -> uuid::Uuid {
        self.randomness.uuid()
    }

    /// Sends a one-way operation. One that is refused is logged and has no effect. Returns the fuel of the check.
    ///
    /// # Errors
    /// If the operation exceeds a limit.
    pub fn signal(
        &mut self,
        name: &str,
        key: &str,
        operation: &str,
        input: &str,
        due_at: Option<Timestamp>,
    ) -> Result<u64, Interrupt> {
        let mut fuel = 0;
        let checked = EntityId::new(name, key)
            .map_err(|error| argument(error.to_string()))
            .and_then(|entity| {
                check_operation_name(operation).map_err(|error| argument(format!("the operation name {error}")))?;
                let input = check(input, self.limits.payload_bytes, types::PAYLOAD, "the payload")?;
                let found = self.directory.entity(entity.name(), operation, &input, &mut fuel)?;
                Ok(Effect::Signal {
                    entity,
                    operation: Operation {
                        name: operation.to_owned(),
                        input,
                        reply_to: None,
                        section: None,
                        due_at: due_at.map(|at| at.min(Timestamp::LAST_WRITABLE)),
                    },
                    module: found.module,
                })
            });
        match checked {
            Ok(effect) => self.cause(effect)?,
            Err(failure) => self.log(
                LogLevel::Error,
                &format!(
                    "operation {operation:?} of {name:?} was not signalled: {}",
                    failure.message
                ),
            ),
        }
        Ok(fuel)
    }

    /// Starts an orchestration that nobody awaits, and returns its id and the fuel of the check. A refused start is
    /// logged and has no effect.
    ///
    /// # Errors
    /// If the operation exceeds a limit.
    pub fn start(&mut self, name: &str, input: &str, id: Option<&str>) -> Result<(InstanceId, u64), Interrupt> {
        let drawn = self.randomness.detached_id().simple().to_string();
        let drawn: InstanceId = drawn.parse().expect("a UUID is a valid instance id");
        let mut fuel = 0;
        let checked = (|| {
            let function: FunctionName = name
                .parse()
                .map_err(|error| argument(format!("the function name {error}")))?;
            let input = check(input, self.limits.payload_bytes, types::PAYLOAD, "the payload")?;
            let instance_id = match id {
                Some(id) => id
                    .parse()
                    .map_err(|error| argument(format!("the instance id {error}")))?,
                None => drawn.clone(),
            };
            let found = self.directory.orchestration(&function, &input, &mut fuel)?;
            Ok(Effect::Start {
                function,
                input,
                instance_id,
                module: found.module,
            })
        })();
        let shown = match checked {
            Ok(effect) => {
                let Effect::Start { instance_id, .. } = &effect else {
                    unreachable!("it is a start");
                };
                let shown = instance_id.clone();
                self.cause(effect)?;
                shown
            }
            Err(failure) => {
                let failure: Failure = failure;
                let line = format!("orchestration {name:?} was not started: {}", failure.message);
                self.log(LogLevel::Error, &line);
                drawn
            }
        };
        Ok((shown, fuel))
    }

    /// Writes a log line. It is dropped beyond the limits of the step.
    pub fn log(&mut self, level: LogLevel, message: &str) {
        let message = message.trim_end_matches(['\n', '\r']);
        let message = &message[..message.floor_char_boundary(MAX_LOG_LINE_BYTES)];
        self.log_bytes += message.len() + 1;
        if self.log_bytes > self.limits.log_bytes || self.end.logs.len() >= self.limits.log_lines {
            self.dropped_logs += 1;
            return;
        }
        self.push_line(level, message.to_owned());
    }

    // ---- internals ----

    fn push_line(&mut self, level: LogLevel, message: String) {
        self.end.logs.push(LogLine {
            at: self.now,
            execution: ExecutionNumber::FIRST,
            task: None,
            attempt: None,
            level,
            message,
        });
    }

    fn cause(&mut self, effect: Effect) -> Result<(), Interrupt> {
        let bytes = usize::try_from(effect.payload_bytes()).unwrap_or(usize::MAX);
        let limits = self.limits;
        let Some(running) = &mut self.running else {
            return Err(self.stop(Interrupt::OutOfOrder(
                "the entity signalled or started something although no operation runs",
            )));
        };
        running.effect_bytes = running.effect_bytes.saturating_add(bytes);
        running.effects.push(effect);
        let exceeded = if running.effects.len() > limits.effects {
            format!("an operation may signal and start {} times", limits.effects)
        } else if running.effect_bytes > limits.effect_bytes {
            format!(
                "the signals and starts of an operation may hold {} bytes",
                limits.effect_bytes
            )
        } else {
            return Ok(());
        };
        Err(self.stop(Interrupt::Limit(Failure::new(types::LIMIT, exceeded).permanent())))
    }

    /// Stores the reason, because a trap cannot carry it without loss.
    fn stop(&mut self, interrupt: Interrupt) -> Interrupt {
        self.interrupt = Some(interrupt.clone());
        interrupt
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(Running {
            operation,
            effects,
            effect_bytes,
        }) = self.running.take()
        else {
            return;
        };
        match &outcome {
            Ok(output) => {
                self.bytes = self.bytes.saturating_add(effect_bytes + output.as_str().len());
                self.end.effects.extend(effects);
            }
            Err(failure) => {
                let line = format!(
                    "operation {:?} failed: {}: {}",
                    operation.name, failure.error_type, failure.message
                );
                self.log(LogLevel::Warn, &line);
            }
        }
        self.end.applied.push(Applied { operation, outcome });
    }
}

impl Running {
    fn of(operation: Operation) -> Self {
        Self {
            operation,
            effects: Vec::new(),
            effect_bytes: 0,
        }
    }
}

fn check(text: &str, limit: usize, error_type: &str, what: &str) -> Result<Payload, Failure> {
    Payload::parse(text, limit).map_err(|error| Failure::new(error_type, format!("{what} {error}")).permanent())
}

fn argument(message: String) -> Failure {
    Failure::new(types::ARGUMENT, message).permanent()
}
