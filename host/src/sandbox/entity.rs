//! The guest of an entity: implements the trait [`EntityGuest`] for a component.
//!
//! A step runs in a fresh instance and never suspends: an import that would wait traps. The guest starts with the fuel and
//! time of one operation, for its start-up code and to read the state, and gets the same again with each operation.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use wasmtime::{Store, UpdateDeadline};

use crate::entity::{EntityGuest, Ran, Step};
use crate::memory::Held;
use crate::model::{EntityId, entity::entity_name};
use crate::replay::{HostUnavailable, Pause};

use super::{
    allowance::{Allowance, Stopwatch},
    bindings::entity::EntityModulePre,
    describe, host_fuel,
    limits::MemoryLimiter,
    module::Module,
    options::{DescribeLimits, SandboxOptions},
    orchestrator::EPOCHS_UNTIL_PAUSE,
    state::{OrchestratorState, Phase},
    trap::{self, Evidence},
    upload::UploadError,
};

/// Bytes that one host call may copy out of the guest in addition to an output and a state.
const HOSTCALL_BYTES_BEYOND_PAYLOAD: usize = 1 << 20;

/// A component that applies operations of entities. It takes a slot in the pool only while it runs.
pub struct ComponentEntity {
    module: Module,
    code: EntityModulePre<OrchestratorState>,
    describe: DescribeLimits,
    memory_bytes: u64,
    /// The memory from the budget of the host. It is with the guest while that runs.
    memory: Option<Held>,
    /// The resources for an operation.
    operation: Allowance,
    pause: Option<Pause>,
}

/// The cell that holds a step while the guest runs, because the store needs to own it. Locked for one import, never across
/// an await.
pub(super) struct StepCell {
    content: Mutex<StepContent>,
    operation: Allowance,
}

/// A running step.
pub(super) struct StepContent {
    pub(super) step: Step,
    /// The name of the entity as the module declares it.
    pub(super) name: String,
    /// The limit on the fuel and the time of a step.
    limit: Allowance,
    /// The fuel until the running operation began.
    fuel: u64,
    /// The time until the running operation began.
    time: Duration,
    /// The time of the running operation.
    pub(super) stopwatch: Stopwatch,
}

impl StepContent {
    /// Lets the step end before the next operation if it has used as much as one operation may. `used` is the fuel since
    /// the last operation began. So a step takes hardly longer than a turn, however many operations wait.
    pub(super) fn end_if_long(&mut self, used: u64) {
        let fuel = self.fuel.saturating_add(used);
        let is_long = fuel >= self.limit.fuel || self.time + self.stopwatch.used() >= self.limit.time;
        if is_long {
            self.step.close();
        }
    }

    /// Begins an operation. `used` is the fuel since the last one began.
    pub(super) fn begin_operation(&mut self, used: u64) {
        self.fuel = self.fuel.saturating_add(used);
        self.time += self.stopwatch.used();
        self.stopwatch = Stopwatch::begin(self.limit.time);
    }
}

impl StepCell {
    fn new(step: Step, name: String, operation: Allowance) -> Arc<Self> {
        Arc::new(Self {
            content: Mutex::new(StepContent {
                step,
                name,
                limit: operation,
                fuel: 0,
                time: Duration::ZERO,
                stopwatch: Stopwatch::begin(operation.time),
            }),
            operation,
        })
    }

    /// The resources for an operation.
    pub(super) fn allowance(&self) -> Allowance {
        self.operation
    }

    /// Locks the content. Poisoning is ignored, because the guest is discarded after a panic in an import.
    pub(super) fn lock(&self) -> MutexGuard<'_, StepContent> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ComponentEntity {
    pub(super) fn new(
        module: Module,
        code: EntityModulePre<OrchestratorState>,
        options: &SandboxOptions,
        memory: Held,
        operation: Allowance,
    ) -> Self {
        Self {
            module,
            code,
            describe: options.describe,
            memory_bytes: options.orchestrator_memory_bytes,
            memory: Some(memory),
            operation,
            pause: None,
        }
    }

    /// The name of an entity as the module declares it.
    fn declared_name(&self, entity: &EntityId) -> Result<String, HostUnavailable> {
        let names = match self.module.entity_names().get() {
            Some(names) => names,
            None => {
                let described = poll_to_end(describe::describe_entities(&self.code, self.describe), || self.pause());
                let described = described.map_err(|error| match error {
                    UploadError::Busy { message } => HostUnavailable::NoRoom(message),
                    error => HostUnavailable::Module(error.to_string()),
                })?;
                let names = described.entities.into_iter().map(|entity| entity.name);
                let names = names.filter_map(|name| Some((entity_name(&name).ok()?, name)));
                self.module.entity_names().get_or_init(|| names.collect())
            }
        };
        let missing = || HostUnavailable::Module(format!("it describes no entity {:?}", entity.name().as_str()));
        names.get(entity.name()).cloned().ok_or_else(missing)
    }

    fn pause(&self) {
        match &self.pause {
            Some(pause) => pause(),
            None => std::thread::yield_now(),
        }
    }
}

impl EntityGuest for ComponentEntity {
    /// # Panics
    /// After a panic of an earlier run.
    fn run(&mut self, step: &mut Step) -> Result<Ran, HostUnavailable> {
        let name = self.declared_name(step.entity())?;
        let memory = self.memory.take().expect("no earlier run has panicked");
        let stand_in = step.stand_in();
        let state = step.state().map(|state| state.as_str().to_owned());
        let limits = *step.limits();
        let hostcall_bytes = limits
            .payload_bytes
            .saturating_add(limits.state_bytes)
            .saturating_add(HOSTCALL_BYTES_BEYOND_PAYLOAD);
        let key = step.entity().key().to_owned();
        let cell = StepCell::new(std::mem::replace(step, stand_in), name.clone(), self.operation);
        let run = Run {
            code: &self.code,
            cell: cell.clone(),
            limiter: MemoryLimiter::new(self.memory_bytes).taking_from(memory),
            hostcall_bytes,
            call: Call { name, key, state },
        };
        let Ended {
            result,
            fuel,
            evidence,
            instantiated,
            memory,
        } = poll_to_end(run.run(), || {
            self.pause();
            cell.lock().stopwatch.go_on();
        });
        std::mem::swap(step, &mut cell.lock().step);
        self.memory = memory;
        let broke = match result {
            Ok(()) => None,
            Err(error) => match trap::host_trouble(&error, instantiated) {
                Some(trouble) => return Err(trouble),
                None => Some(trap::failure(&error, evidence)),
            },
        };
        Ok(Ran { fuel, broke })
    }

    fn pause_with(&mut self, pause: Pause) {
        self.pause = Some(pause);
    }
}

/// Polls a future until its end. It is only pending when the guest has run for some time; then this pauses.
fn poll_to_end<R>(future: impl Future<Output = R>, pause: impl Fn()) -> R {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(end) => return end,
            Poll::Pending => pause(),
        }
    }
}

/// How a run ended.
struct Ended {
    result: wasmtime::Result<()>,
    fuel: u64,
    evidence: Evidence,
    instantiated: bool,
    memory: Option<Held>,
}

/// The parts of a run. Owned by its future.
struct Run<'a> {
    code: &'a EntityModulePre<OrchestratorState>,
    cell: Arc<StepCell>,
    limiter: MemoryLimiter,
    hostcall_bytes: usize,
    call: Call,
}

/// The arguments of `run`.
struct Call {
    name: String,
    key: String,
    state: Option<String>,
}

impl Run<'_> {
    async fn run(self) -> Ended {
        let Self {
            code,
            cell,
            limiter,
            hostcall_bytes,
            call,
        } = self;
        let allowance = cell.allowance();
        let state = OrchestratorState::for_step(cell.clone(), limiter);
        let mut store = Store::new(code.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(hostcall_bytes);
        store.data_mut().host_fuel.begin(allowance.host_fuel());
        let of_step = cell.clone();
        // The deadline is not renewed with each operation, so that a step of many short ones pauses as well.
        store.epoch_deadline_callback(move |_| {
            of_step.lock().stopwatch.count()?;
            Ok(UpdateDeadline::Yield(EPOCHS_UNTIL_PAUSE))
        });
        let result = call.run(code, allowance, &mut store).await;
        store.data_mut().finish_output();
        let by_guest = allowance.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
        let fuel = cell.lock().fuel.saturating_add(store.data().host_fuel.with(by_guest));
        let evidence = store.data_mut().evidence(allowance.fuel, hostcall_bytes);
        let instantiated = store.data().phase == Phase::Running;
        let OrchestratorState { limiter, .. } = store.into_data();
        Ended {
            result,
            fuel,
            evidence,
            instantiated,
            memory: limiter.into_held(),
        }
    }
}

impl Call {
    async fn run(
        &self,
        code: &EntityModulePre<OrchestratorState>,
        allowance: Allowance,
        store: &mut Store<OrchestratorState>,
    ) -> wasmtime::Result<()> {
        store.set_fuel(allowance.fuel)?;
        store.set_epoch_deadline(EPOCHS_UNTIL_PAUSE);
        let Self { name, key, state } = self;
        let bytes = name.len() + key.len() + state.as_ref().map_or(0, String::len);
        store.data_mut().charge(host_fuel::copied(bytes))?;
        let instance = code.instantiate_async(&mut *store).await?;
        store.data_mut().phase = Phase::Running;
        let exports = instance.windlass_durable_entity();
        exports.call_run(&mut *store, name, key, state.as_ref()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_move_to_another_thread_between_steps() {
        fn is_send<T: Send>() {}
        is_send::<ComponentEntity>();
    }
}
