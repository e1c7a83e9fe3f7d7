//! Runs one attempt of an activity in a fresh guest, with limits on fuel, time and memory.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use wasmtime::{Store, component::HasSelf, component::Linker};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p2::bindings as wasi};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::grants::{ActivityLimits, Grants};
use crate::memory::Held;
use crate::model::{ExecutionNumber, FunctionName, InstanceId, LogLevel, LogLine, Outcome, Payload, TaskId, Timestamp};
use crate::replay::HostUnavailable;
use crate::tls::ExtraRoots;

use super::{
    bindings::{
        activity::{
            ActivityModulePre,
            windlass::durable::activity_context::{self, AttemptInfo},
        },
        wit,
    },
    convert,
    egress::{Reach, Routes, Traffic, connect::Connector, request::Egress},
    imports,
    limits::MemoryLimiter,
    trap::{self, Evidence},
};

pub(super) mod control;
pub(super) mod log;
pub(super) mod mask;
mod meter;

use log::ActivityLog;
use mask::Mask;
use meter::Metered;

pub use control::{
    Completions, Control, ControlOptions, DEFAULT_CANCELLATION_GRACE, GivenToken, Heartbeats, MAX_HEARTBEAT_BYTES,
};
pub use meter::Meter;

/// Bytes that one host call may copy out of the guest in addition to a payload.
const HOSTCALL_BYTES_BEYOND_PAYLOAD: usize = 2 << 20;

/// Maximum handles of a guest (streams, pollables, requests). Bounds the host memory of a guest: even with the largest
/// handles only, it is less than the memory limit of the guest itself.
const MAX_HANDLES: usize = 2_000;

/// Maximum bytes of the header fields of one request, approximately as they are in memory.
const MAX_FIELDS_BYTES: usize = 32 << 10;

/// The fuel after which a guest updates the fuel of its store, in Wasmtime units: some milliseconds.
const FUEL_PORTION: u64 = 10_000_000;

/// Maximum random bytes of one call.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

/// One attempt of an activity call.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The calling instance.
    pub instance_id: InstanceId,
    /// The execution of the calling instance.
    pub execution: ExecutionNumber,
    /// The name of the activity.
    pub function: FunctionName,
    /// The task of the call.
    pub task: TaskId,
    /// The number of the attempt, from 1.
    pub number: u32,
    /// A key that is the same for all attempts of the call.
    pub idempotency_key: String,
    /// The input of the call.
    pub input: Payload,
    /// When the attempt starts, by the host's clock. The times of log lines are relative to it.
    pub now: Timestamp,
    /// The wall-clock timeout of the call. The limit of the grants applies if it is shorter.
    pub timeout: Option<Duration>,
    /// The grants of the tenant and the module.
    pub grants: Arc<Grants>,
    /// Reports the fuel that the attempt uses.
    pub meter: Meter,
    /// Heartbeats and cancellation.
    pub control: Control,
}

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityRun {
    /// The output or the failure.
    pub outcome: Outcome,
    /// The fuel it used, in Wasmtime units.
    pub fuel: u64,
    /// The traffic of its outgoing requests, including failed ones.
    pub traffic: Traffic,
    /// Its log lines.
    pub logs: Vec<LogLine>,
}

/// The data in an activity's store.
pub(super) struct ActivityState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    egress: Egress,
    table: wasmtime::component::ResourceTable,
    limiter: MemoryLimiter,
    log: Arc<Mutex<ActivityLog>>,
    /// The attempt; `None` while the guest describes itself.
    context: Option<AttemptContext>,
    /// Whether the guest is instantiated.
    instantiated: bool,
}

/// The data of an attempt that its guest can query.
struct AttemptContext {
    info: AttemptInfo,
    control: Control,
    payload_bytes: usize,
    grants: Arc<Grants>,
}

impl WasiView for ActivityState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for ActivityState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.egress,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl imports::http_requests::Notes for ActivityState {
    fn note(&mut self, line: &str) {
        lock(&self.log).line(LogLevel::Warn, line);
    }
}

/// Links everything that an activity may import.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<ActivityState>> {
    use wasmtime_wasi::{
        cli::{WasiCli, WasiCliView},
        clocks::{WasiClocks, WasiClocksView},
        filesystem::{WasiFilesystem, WasiFilesystemView},
        random::WasiRandom,
    };
    type State = ActivityState;
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    // Like `wasmtime_wasi::p2::add_to_linker_async`, but of the sockets only the types are linked, without functions.
    wasi::io::error::add_to_linker::<State, HasTable>(l, |state| &mut state.table)?;
    wasi::io::poll::add_to_linker::<State, HasTable>(l, |state| &mut state.table)?;
    wasi::io::streams::add_to_linker::<State, HasTable>(l, |state| &mut state.table)?;
    wasi::clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    wasi::clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    wasi::random::random::add_to_linker::<State, WasiRandom>(l, |state| state.wasi.random())?;
    wasi::random::insecure::add_to_linker::<State, WasiRandom>(l, |state| state.wasi.random())?;
    wasi::random::insecure_seed::add_to_linker::<State, WasiRandom>(l, |state| state.wasi.random())?;
    wasi::cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    wasi::filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    wasi::filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    imports::inert::add_sockets(l)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
    imports::http_requests::bound(l)?;
    activity_context::add_to_linker::<State, HasSelf<State>>(l, |state| state)?;
    Ok(linker)
}

/// For WASI interfaces that only need the table of handles.
struct HasTable;

impl wasmtime::component::HasData for HasTable {
    type Data<'a> = &'a mut wasmtime::component::ResourceTable;
}

impl activity_context::Host for ActivityState {
    fn info(&mut self) -> wasmtime::Result<AttemptInfo> {
        Ok(self.context()?.info.clone())
    }

    fn config(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.context()?.grants.config.get(&name).cloned())
    }

    fn secret(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let secret = self.context()?.grants.secrets.get(&name);
        // The bindings copy this string into the guest's memory and drop it. This copy is not zeroized.
        Ok(secret.map(|secret| secret.expose().to_owned()))
    }

    fn heartbeat(&mut self, details: Option<String>) -> wasmtime::Result<Result<bool, wit::Failure>> {
        let AttemptContext {
            control, payload_bytes, ..
        } = self.context()?;
        let beat = control.beat(details.as_deref(), *payload_bytes);
        Ok(beat.map_err(convert::guest_failure))
    }

    fn heartbeat_details(&mut self) -> wasmtime::Result<Option<String>> {
        let previous = self.context()?.control.previous();
        Ok(previous.map(|details| details.as_str().to_owned()))
    }

    async fn complete_later(&mut self) -> wasmtime::Result<Result<activity_context::CompletionToken, wit::Failure>> {
        let control = self.context()?.control.clone();
        let given = control.complete_later().await.map_err(convert::guest_failure);
        Ok(given.map(|GivenToken { token, url }| activity_context::CompletionToken { token, url }))
    }

    fn is_cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.context()?.control.ask())
    }

    fn log(&mut self, level: wit::LogLevel, message: String) -> wasmtime::Result<()> {
        lock(&self.log).logged(convert::log_level(level), &message);
        Ok(())
    }
}

/// The guest queried its attempt in `describe`.
#[derive(Debug, thiserror::Error)]
#[error("the attempt is not available in `describe`")]
struct NoAttempt;

impl ActivityState {
    /// Creates the state of a guest that describes itself, without an attempt.
    pub(super) fn for_description(memory_bytes: u64) -> Self {
        let log = Arc::<Mutex<ActivityLog>>::default();
        let connector = Arc::new(Connector::system(ExtraRoots::none()));
        let egress = Egress::new(Reach::nowhere(), connector, log.clone(), &ActivityLimits::default());
        Self::new(MemoryLimiter::new(memory_bytes), log, egress, None)
    }

    fn context(&self) -> wasmtime::Result<&AttemptContext> {
        self.context.as_ref().ok_or_else(|| NoAttempt.into())
    }

    fn new(
        limiter: MemoryLimiter,
        log: Arc<Mutex<ActivityLog>>,
        egress: Egress,
        context: Option<AttemptContext>,
    ) -> Self {
        let mut table = wasmtime::component::ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let wasi = WasiCtx::builder()
            .stdout(log::Stream::stdout(&log))
            .stderr(log::Stream::stderr(&log))
            .max_random_size(MAX_RANDOM_BYTES)
            // The linker has no sockets. If one is ever added, it still cannot connect.
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS_BYTES);
        Self {
            wasi,
            http,
            egress,
            table,
            limiter,
            log,
            context,
            instantiated: false,
        }
    }

    /// The limit on the store's memory.
    pub(super) fn limiter(&mut self) -> &mut MemoryLimiter {
        &mut self.limiter
    }

    /// Collects what the host knows about a guest that failed.
    pub(super) fn evidence(&self, fuel: u64, hostcall_bytes: usize) -> Evidence {
        let memory_denied = self.limiter.denied().then_some(self.limiter.limit());
        Evidence {
            memory_denied,
            panic: lock(&self.log).take_panic(),
            fuel,
            starting: !self.instantiated,
            hostcall_bytes,
        }
    }
}

/// Locks the log. Poisoning is ignored, because a panic can at worst leave a truncated line.
pub(super) fn lock(log: &Mutex<ActivityLog>) -> std::sync::MutexGuard<'_, ActivityLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one attempt.
///
/// # Cancel safety
/// Dropping the future stops the guest immediately and frees its slot.
pub(super) async fn run(
    code: &ActivityModulePre<ActivityState>,
    host: &ActivityLimits,
    routes: &Routes,
    attempt: Attempt,
    memory: Held,
) -> Result<ActivityRun, HostUnavailable> {
    let limits = &attempt.grants.limits.within(host);
    let timeout = attempt
        .timeout
        .map_or(limits.timeout, |timeout| timeout.min(limits.timeout));
    let log = Arc::new(Mutex::new(ActivityLog::new(&attempt, Instant::now(), limits.log_bytes)));
    let Routes { operator, connector } = routes;
    let reach = Reach::new(operator.clone(), attempt.grants.clone());
    let egress = Egress::new(reach, connector.clone(), log.clone(), limits);
    let traffic = egress.traffic();
    let context = AttemptContext {
        info: info(&attempt, timeout, limits),
        control: attempt.control.clone(),
        payload_bytes: limits.payload_bytes,
        grants: attempt.grants.clone(),
    };
    let state = ActivityState::new(
        MemoryLimiter::new(limits.memory_bytes).taking_from(memory),
        log.clone(),
        egress,
        Some(context),
    );
    let mut store = Store::new(code.engine(), state);
    store.limiter(|state| &mut state.limiter);
    let hostcall_bytes = limits.payload_bytes.saturating_add(HOSTCALL_BYTES_BEYOND_PAYLOAD);
    store.set_hostcall_fuel(hostcall_bytes);
    // A guest counts fuel in a register, and updates the store when a portion is used up (and yields then, too). So the
    // fuel of an attempt that is stopped is short by less than one portion.
    if let Err(error) = store.fuel_async_yield_interval(Some(FUEL_PORTION)) {
        tracing::error!(error = format!("{error:#}"), "cannot set the fuel yield interval");
    }
    // The guest yields after each epoch, because it shares its thread. Fuel is counted even if the attempt is dropped.
    let metered = Metered::new(store, attempt.meter.clone(), limits.fuel);
    let mut metered = metered.map_err(|error| HostUnavailable::Module(format!("{error:#}")))?;
    let call = call(code, &mut metered.store, &attempt);
    let called = attempt.control.supervise(timeout, call).await;
    let fuel = metered.fuel();
    lock(&log).finish();
    let outcome = match called {
        Err(stopped) => Err(stopped),
        Ok(Ok(returned)) => convert::outcome(returned, limits.payload_bytes),
        Ok(Err(error)) => match trap::host_trouble(&error, metered.store.data().instantiated) {
            Some(trouble) => return Err(trouble),
            None => Err(trap::failure(
                &error,
                metered.store.data().evidence(limits.fuel, hostcall_bytes),
            )),
        },
    };
    let outcome = outcome.map_err(|failure| Mask::new(attempt.grants).cover_failure(failure));
    // Dropping the store closes its connections, so that almost all traffic is counted below.
    drop(metered);
    let traffic = traffic.read();
    let logs = lock(&log).take();
    Ok(ActivityRun {
        outcome,
        fuel,
        traffic,
        logs,
    })
}

async fn call(
    code: &ActivityModulePre<ActivityState>,
    store: &mut Store<ActivityState>,
    attempt: &Attempt,
) -> wasmtime::Result<Result<String, wit::Failure>> {
    let instance = code.instantiate_async(&mut *store).await?;
    store.data_mut().instantiated = true;
    let exports = instance.windlass_durable_activity();
    exports
        .call_run(store, attempt.function.as_str(), &attempt.input.as_str().to_owned())
        .await
}

fn info(attempt: &Attempt, timeout: Duration, limits: &ActivityLimits) -> AttemptInfo {
    AttemptInfo {
        instance_id: attempt.instance_id.as_str().to_owned(),
        execution: attempt.execution.0,
        function: attempt.function.as_str().to_owned(),
        attempt: attempt.number,
        idempotency_key: attempt.idempotency_key.clone(),
        deadline_ms: attempt.now.after(timeout).0,
        max_payload_bytes: limits.payload_bytes as u64,
    }
}
