//! A running orchestrator: implements the replay core's trait [`Guest`] for a component.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use wasmtime::{Store, UpdateDeadline};

use crate::model::{FunctionName, ObservableLimits, Payload};
use crate::replay::{Budget, Execution, Guest, HostUnavailable, Pause, Progress, Ran};

use super::{
    allowance::Allowance,
    bindings::{orchestrator::OrchestratorPre, wit},
    convert,
    limits::MemoryLimiter,
    state::{ExecutionCell, OrchestratorState, Phase},
    trap::{self, Evidence},
};

/// A recorded turn may use this many times the fuel that it used when it was new, plus [`REPLAY_EXTRA`], because fuel
/// accounting changes between versions of the runtime.
const REPLAY_FACTOR: u64 = 4;

/// Additional fuel for any recorded turn: about ten milliseconds, which does no harm.
const REPLAY_EXTRA: u64 = 10_000_000;

/// Bytes that one host call may copy out of the guest in addition to a payload: names, options, a list of pollables.
const HOSTCALL_BYTES_BEYOND_PAYLOAD: usize = 1 << 20;

/// A guest pauses after this many epochs, to let others run.
pub(super) const EPOCHS_UNTIL_PAUSE: u64 = 2;

/// A component that runs one execution of an orchestration. It is instantiated when it is first resumed; dropping it frees
/// its slot in the pool.
pub struct OrchestratorGuest {
    code: OrchestratorPre<OrchestratorState>,
    limits: ObservableLimits,
    turn: Allowance,
    pause: Option<Pause>,
    life: Life,
}

enum Life {
    /// Not resumed yet. Has the limit on its memory.
    New(MemoryLimiter),
    /// Started, and waiting between two turns.
    Running {
        cell: Arc<ExecutionCell>,
        call: Pin<Box<dyn Future<Output = Ended> + Send>>,
    },
    /// Returned or failed.
    Over,
}

/// How a call ended.
struct Ended {
    result: wasmtime::Result<Result<String, wit::Failure>>,
    fuel: u64,
    evidence: Evidence,
    instantiated: bool,
}

impl OrchestratorGuest {
    pub(super) fn new(
        code: OrchestratorPre<OrchestratorState>,
        limits: ObservableLimits,
        limiter: MemoryLimiter,
        turn: Allowance,
    ) -> Self {
        Self {
            code,
            limits,
            turn,
            pause: None,
            life: Life::New(limiter),
        }
    }

    fn payload_bytes(&self) -> usize {
        usize::try_from(self.limits.payload_bytes).unwrap_or(usize::MAX)
    }

    fn start(
        &self,
        execution: &Execution,
        limiter: MemoryLimiter,
    ) -> (Arc<ExecutionCell>, Pin<Box<dyn Future<Output = Ended> + Send>>) {
        let cell = ExecutionCell::new(execution.stand_in());
        let started = execution.started();
        let run = Run {
            code: self.code.clone(),
            cell: cell.clone(),
            limiter,
            hostcall_bytes: self.payload_bytes().saturating_add(HOSTCALL_BYTES_BEYOND_PAYLOAD),
            call: Call {
                function: started.function.clone(),
                input: started.input.clone(),
            },
        };
        (cell, Box::pin(run.run()))
    }

    fn finish(&self, ended: Ended) -> Result<Ran, HostUnavailable> {
        let Ended {
            result,
            fuel,
            evidence,
            instantiated,
        } = ended;
        let progress = match result {
            Ok(returned) => Progress::Returned(convert::outcome(returned, self.payload_bytes())),
            Err(error) => match trap::host_trouble(&error, instantiated) {
                Some(trouble) => return Err(trouble),
                None => Progress::Broke(trap::failure(&error, evidence)),
            },
        };
        Ok(Ran { progress, fuel })
    }
}

impl Guest for OrchestratorGuest {
    /// # Panics
    /// When the guest has ended.
    fn resume(&mut self, execution: &mut Execution, budget: Budget) -> Result<Ran, HostUnavailable> {
        let (cell, mut call) = match std::mem::replace(&mut self.life, Life::Over) {
            Life::New(limiter) => self.start(execution, limiter),
            Life::Running { cell, call } => (cell, call),
            Life::Over => panic!("a guest that has ended is not resumed"),
        };
        let allowance = match budget {
            Budget::Turn => self.turn,
            Budget::Replay { recorded } => Allowance {
                fuel: recorded.saturating_mul(REPLAY_FACTOR).saturating_add(REPLAY_EXTRA),
                // Practically unlimited, because another machine may be slower and the host may be busy.
                time: Duration::MAX,
                charges_host: false,
            },
        };
        {
            let mut content = cell.lock();
            content.begin(allowance);
            std::mem::swap(execution, &mut content.execution);
        }
        let mut context = Context::from_waker(Waker::noop());
        // A pending future alone does not mean that the guest waits: only our imports set `quiescent`. Otherwise it pauses.
        let ended = loop {
            match call.as_mut().poll(&mut context) {
                Poll::Ready(ended) => break Some(ended),
                Poll::Pending if cell.lock().quiescent.is_some() => break None,
                Poll::Pending => {
                    match &self.pause {
                        Some(pause) => pause(),
                        None => std::thread::yield_now(),
                    }
                    cell.lock().stopwatch.go_on();
                }
            }
        };
        let mut content = cell.lock();
        std::mem::swap(execution, &mut content.execution);
        let quiescent = content.quiescent;
        drop(content);
        match ended {
            Some(ended) => self.finish(ended),
            None => {
                self.life = Life::Running { cell, call };
                Ok(Ran {
                    progress: Progress::Waiting,
                    fuel: quiescent.unwrap_or(0),
                })
            }
        }
    }

    fn pause_with(&mut self, pause: Pause) {
        self.pause = Some(pause);
    }
}

/// The arguments of a call. Owned by its future.
struct Run {
    code: OrchestratorPre<OrchestratorState>,
    cell: Arc<ExecutionCell>,
    limiter: MemoryLimiter,
    hostcall_bytes: usize,
    call: Call,
}

/// The function to call and its input.
struct Call {
    function: FunctionName,
    input: Payload,
}

impl Run {
    async fn run(self) -> Ended {
        let Self {
            code,
            cell,
            limiter,
            hostcall_bytes,
            call,
        } = self;
        let state = OrchestratorState::for_turns(cell.clone(), limiter);
        let mut store = Store::new(code.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(hostcall_bytes);
        let allowance = cell.lock().allowance;
        store.data_mut().host_fuel.begin(allowance.host_fuel());
        let of_turn = cell.clone();
        store.epoch_deadline_callback(move |_| {
            of_turn.lock().stopwatch.count()?;
            Ok(UpdateDeadline::Yield(EPOCHS_UNTIL_PAUSE))
        });
        let result = call.run(&code, allowance, &mut store).await;
        store.data_mut().finish_output();
        let allowed = cell.lock().allowance.fuel;
        let by_guest = allowed.saturating_sub(store.get_fuel().unwrap_or(0));
        let host = &store.data().host_fuel;
        let fuel = host.with(by_guest);
        let result = result.and_then(|returned| {
            host.check_with(by_guest)?;
            Ok(returned)
        });
        let evidence = store.data_mut().evidence(allowed, hostcall_bytes);
        let instantiated = store.data().phase == Phase::Running;
        Ended {
            result,
            fuel,
            evidence,
            instantiated,
        }
    }
}

impl Call {
    async fn run(
        &self,
        code: &OrchestratorPre<OrchestratorState>,
        allowance: Allowance,
        store: &mut Store<OrchestratorState>,
    ) -> wasmtime::Result<Result<String, wit::Failure>> {
        store.set_fuel(allowance.fuel)?;
        store.set_epoch_deadline(EPOCHS_UNTIL_PAUSE);
        let instance = code.instantiate_async(&mut *store).await?;
        store.data_mut().phase = Phase::Running;
        let exports = instance.windlass_durable_orchestrator();
        exports
            .call_run(&mut *store, self.function.as_str(), &self.input.as_str().to_owned())
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_may_move_to_another_thread_between_turns() {
        fn is_send<T: Send>() {}
        is_send::<OrchestratorGuest>();
    }
}
