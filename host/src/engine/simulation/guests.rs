//! Scripts instead of components, and activities that only pretend to work.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::checkers::{Call, Watch};
use super::faults::Plan;
use super::programs::Program;
use super::rng::{self, Rng};
use super::time::SimulatedClock;
use crate::engine::StartError;
use crate::engine::guests::{ActivityCode, AnyEntity, AnyGuest, Guests};
use crate::entity::{self, EntityGuest, NewState, Step};
use crate::entropy::Entropy;
use crate::memory::Held;
use crate::model::{
    ActivityOptions, Failure, FunctionName, LogLevel, LogLine, ModuleDigest, ModuleNumber, Outcome, Payload, Started,
    TenantId, failure::types,
};
use crate::replay::tests::script::Script;
use crate::replay::{
    Budget, Directory, Execution, Guest, HostUnavailable, Ran, ResolvedActivity, ResolvedEntity, ResolvedOrchestration,
};
use crate::sandbox::{ActivityRun, Attempt, GUEST_BASE_BYTES, Traffic};
use crate::store::simulated::Disk;

/// The version with all programs.
const ORCHESTRATIONS: ModuleNumber = ModuleNumber(1);
/// The version with the entity.
const ENTITIES: ModuleNumber = ModuleNumber(3);
/// The version with all activities.
const ACTIVITIES: ModuleNumber = ModuleNumber(2);

/// Runs programs as guests.
pub(super) struct ScriptedGuests {
    programs: Arc<Vec<Program>>,
    state: Arc<State>,
}

struct State {
    watch: Arc<Watch>,
    disk: Disk,
    clock: Arc<SimulatedClock>,
    chance: Mutex<Chance>,
}

struct Chance {
    rng: Rng,
    plan: Plan,
    /// Ends the host when it is notified.
    ends_host: Arc<Notify>,
    /// Times at which attempts end, so that no two end at once where order matters.
    ends_at: Option<BTreeSet<Duration>>,
    /// Whether failing activities succeed.
    repaired: bool,
    /// Outcomes that may be delivered again.
    produced: Vec<(Call, Payload)>,
}

impl ScriptedGuests {
    pub(super) fn new(
        seed: u64,
        programs: Arc<Vec<Program>>,
        watch: Arc<Watch>,
        disk: Disk,
        clock: Arc<SimulatedClock>,
    ) -> Self {
        let chance = Chance {
            rng: Rng::new(seed, "guests"),
            plan: Plan::calm(),
            ends_host: Arc::default(),
            ends_at: None,
            repaired: false,
            produced: Vec::new(),
        };
        Self {
            programs,
            state: Arc::new(State {
                watch,
                disk,
                clock,
                chance: Mutex::new(chance),
            }),
        }
    }

    /// Begins a run of the host under this plan.
    pub(super) fn begin(&self, plan: &Plan, ends_host: Arc<Notify>) {
        self.set_plan(plan);
        self.state.lock().ends_host = ends_host;
    }

    /// Sets the plan of faults.
    pub(super) fn set_plan(&self, plan: &Plan) {
        self.state.lock().plan = plan.clone();
    }

    /// From now on, no two attempts end in the same millisecond.
    pub(super) fn one_at_a_time(&self) {
        self.state.lock().ends_at = Some(BTreeSet::new());
    }

    /// From now on, no activity fails. Not in a world in which attempts end one at a time: it would depend on what happened
    /// before.
    pub(super) fn repair(&self) {
        let mut chance = self.state.lock();
        chance.repaired = chance.ends_at.is_none();
    }

    /// A past outcome of some attempt, to be delivered again.
    pub(super) fn produced(&self) -> Option<(Call, Payload)> {
        let mut chance = self.state.lock();
        let Chance { rng, produced, .. } = &mut *chance;
        (!produced.is_empty()).then(|| rng.pick(produced).clone())
    }
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, Chance> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self) -> Result<(), HostUnavailable> {
        let mut chance = self.lock();
        let no_room = chance.plan.no_room;
        match chance.rng.per_mille(no_room) {
            true => Err(HostUnavailable::NoRoom("simulated".into())),
            false => Ok(()),
        }
    }

    fn module(&self) -> Result<(), HostUnavailable> {
        let mut chance = self.lock();
        let no_module = chance.plan.no_module;
        match chance.rng.per_mille(no_module) {
            true => Err(HostUnavailable::Module("simulated".into())),
            false => Ok(()),
        }
    }

    /// Ends the host if the attempt is deadly. Returns whether it does.
    fn ends_host(&self, attempt: &Attempt) -> bool {
        let mut chance = self.lock();
        let deadly = chance.plan.deadly;
        let ends = attempt.function.as_str() == "deadly" && chance.rng.per_mille(deadly);
        if ends {
            chance.ends_host.notify_one();
        }
        ends
    }

    /// How long an attempt takes.
    fn duration(&self, attempt: &Attempt) -> Duration {
        let mut chance = self.lock();
        let most_ms = match attempt.function.as_str() {
            "slow" => 6_000,
            _ => 60,
        };
        let Some(mut taken) = chance.ends_at.take() else {
            let slowness = chance.plan.slowness;
            return Duration::from_millis(chance.rng.below(most_ms * slowness));
        };
        // Depends only on the attempt, not on what happened before.
        let own = rng::hash(u64::from(attempt.number), attempt.idempotency_key.as_bytes());
        let now = self.clock.uptime();
        let mut end = now + Duration::from_millis(1 + own % most_ms);
        while !taken.insert(end) {
            end += Duration::from_millis(1);
        }
        chance.ends_at = Some(taken);
        end - now
    }
}

/// The outcome of an attempt: the same whenever it is repeated, until failing activities are repaired.
fn outcome(attempt: &Attempt, repaired: bool) -> Outcome {
    let luck = rng::hash(u64::from(attempt.number), attempt.idempotency_key.as_bytes());
    match attempt.function.as_str() {
        _ if repaired => Ok(Payload::of(&(luck % 1_000))),
        "flaky" if luck.is_multiple_of(2) => Err(Failure::new("Busy", "try later")),
        "failing" => Err(Failure::new("Busy", "always")),
        "declined" => Err(Failure::new("Declined", "no").permanent()),
        _ => Ok(Payload::of(&(luck % 1_000))),
    }
}

impl Guests for ScriptedGuests {
    fn directory(self: Arc<Self>, _: TenantId) -> Arc<dyn Directory> {
        Arc::new(Functions(self.programs.clone()))
    }

    fn to_start<'a>(
        &'a self,
        _: TenantId,
        name: &'a FunctionName,
        input: &'a Payload,
    ) -> BoxFuture<'a, Result<ModuleNumber, StartError>> {
        let found = Functions(self.programs.clone()).orchestration(name, input, &mut 0);
        let found = found
            .map(|found| found.module)
            .map_err(|_| StartError::UnknownFunction {
                name: name.clone(),
                near: Vec::new(),
            });
        Box::pin(async { found })
    }

    fn orchestrator<'a>(
        &'a self,
        module: ModuleNumber,
        started: &'a Started,
        memory: Held,
    ) -> BoxFuture<'a, Result<AnyGuest, HostUnavailable>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.state.module()?;
            self.state.room()?;
            assert_eq!(
                module, ORCHESTRATIONS,
                "an orchestration runs on the version that offers it"
            );
            let program = self.programs.iter().find(|program| program.name == started.function);
            let script = program.expect("only known programs are started").script(&started.input);
            let state = self.state.clone();
            Ok(Box::new(SimulatedGuest {
                script,
                memory,
                bytes: GUEST_BASE_BYTES,
                state,
            }) as AnyGuest)
        })
    }

    fn entity(&self, module: ModuleNumber, memory: Held) -> BoxFuture<'_, Result<AnyEntity, HostUnavailable>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.state.module()?;
            self.state.room()?;
            assert_eq!(module, ENTITIES, "an entity runs on the version that offers it");
            let state = self.state.clone();
            Ok(Box::new(Cell { memory, state }) as AnyEntity)
        })
    }

    fn activities(&self, module: ModuleNumber) -> BoxFuture<'_, Result<Box<dyn ActivityCode>, HostUnavailable>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.state.module()?;
            assert_eq!(module, ACTIVITIES, "an activity runs on the version that offers it");
            Ok(Box::new(SimulatedActivities(self.state.clone())) as Box<dyn ActivityCode>)
        })
    }

    fn digest(&self, _: ModuleNumber) -> Option<ModuleDigest> {
        Some(ModuleDigest([1; 32]))
    }
}

struct SimulatedGuest {
    script: Script,
    memory: Held,
    /// What the guest holds, in bytes.
    bytes: u64,
    state: Arc<State>,
}

impl Guest for SimulatedGuest {
    fn resume(&mut self, execution: &mut Execution, budget: Budget) -> Result<Ran, HostUnavailable> {
        self.state.room()?;
        self.bytes += GROWTH_BYTES;
        let missing = self.bytes.saturating_sub(self.memory.bytes());
        if !self.memory.try_grow(missing) {
            return Err(HostUnavailable::NoMemory { needed: self.bytes });
        }
        self.script.resume(execution, budget)
    }
}

/// An entity whose state is the list of inputs that were added to it.
struct Cell {
    memory: Held,
    state: Arc<State>,
}

impl EntityGuest for Cell {
    fn run(&mut self, step: &mut Step) -> Result<entity::Ran, HostUnavailable> {
        self.state.room()?;
        let needed = GUEST_BASE_BYTES + GROWTH_BYTES;
        let missing = needed.saturating_sub(self.memory.bytes());
        if !self.memory.try_grow(missing) {
            return Err(HostUnavailable::NoMemory { needed });
        }
        let mut tokens: Vec<String> = step
            .state()
            .map(|state| serde_json::from_str(state.as_str()).expect("the state is a list"))
            .unwrap_or_default();
        let mut fuel = 0;
        while let Ok(Some(operation)) = step.next_operation() {
            fuel += 2;
            let token: String = serde_json::from_str(operation.input.as_str()).expect("the input is a text");
            match operation.name.as_str() {
                "fail" => drop(step.complete(Err(Failure::new("Refused", "as written")))),
                "trap" => {
                    let broke = Some(Failure::new(types::TRAP, "as written"));
                    return Ok(entity::Ran { fuel, broke });
                }
                name => {
                    if name == "tell" {
                        let told = format!("\"told {token}\"");
                        let _ = step.signal("cell", "told", "add", &told, None);
                    }
                    tokens.push(token);
                    let text = serde_json::to_string(&tokens).expect("a list of texts");
                    let _ = step.complete(Ok(("null", NewState::Set(&text))));
                }
            }
        }
        Ok(entity::Ran { fuel, broke: None })
    }
}

/// How much a guest grows each time that it runs, in bytes.
const GROWTH_BYTES: u64 = 10_000;

struct SimulatedActivities(Arc<State>);

impl ActivityCode for SimulatedActivities {
    fn module_name(&self) -> &'static str {
        "simulated"
    }

    fn run(&self, attempt: Attempt, mut memory: Held) -> BoxFuture<'_, Result<ActivityRun, HostUnavailable>> {
        let state = self.0.clone();
        Box::pin(async move {
            state.room()?;
            let bytes = rng::hash(0, attempt.idempotency_key.as_bytes()) % 300_000;
            if memory.bytes() < bytes && !memory.try_grow(bytes - memory.bytes()) {
                return Err(HostUnavailable::NoMemory { needed: bytes });
            }
            let (call, _running) = state.watch.attempt_starts(&attempt, &state.disk.content());
            attempt.meter.show(3);
            let duration = state.duration(&attempt);
            if state.ends_host(&attempt) {
                std::future::pending::<()>().await;
            }
            if matches!(attempt.function.as_str(), "slow" | "flaky") {
                state.watch.attempt_reports(&attempt);
                let details = format!("\"{}/{}\"", attempt.idempotency_key, attempt.number);
                let _ = attempt.control.beat(Some(&details), 1_000);
            }
            let allowed = attempt.timeout.unwrap_or(Duration::MAX);
            let worked = attempt.control.supervise(allowed, tokio::time::sleep(duration)).await;
            let outcome = worked.and_then(|()| {
                let repaired = state.lock().repaired;
                outcome(&attempt, repaired)
            });
            if let (Some(call), Ok(output)) = (call, &outcome) {
                state.lock().produced.push((call, output.clone()));
            }
            let line = LogLine {
                at: attempt.now,
                execution: attempt.execution,
                task: Some(attempt.task),
                attempt: Some(attempt.number),
                level: LogLevel::Info,
                message: "worked".into(),
            };
            Ok(ActivityRun {
                outcome,
                fuel: 3,
                traffic: Traffic::default(),
                logs: vec![line],
            })
        })
    }
}

/// The functions of the generated programs.
pub(super) struct Functions(pub(super) Arc<Vec<Program>>);

impl Functions {
    fn unknown() -> Failure {
        Failure::new(types::UNKNOWN_FUNCTION, "no module offers it")
    }
}

impl Directory for Functions {
    fn activity(&self, name: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedActivity, Failure> {
        if name.as_str() == "nowhere" {
            return Err(Self::unknown());
        }
        Ok(ResolvedActivity {
            module: ACTIVITIES,
            defaults: ActivityOptions::default(),
        })
    }

    fn entity_module(&self, _: &FunctionName) -> Result<ResolvedEntity, Failure> {
        Ok(ResolvedEntity { module: ENTITIES })
    }

    fn orchestration(&self, name: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedOrchestration, Failure> {
        let known = self.0.iter().any(|program| program.name == *name);
        match known {
            true => Ok(ResolvedOrchestration { module: ORCHESTRATIONS }),
            false => Err(Self::unknown()),
        }
    }
}

/// Random bytes that are the same in every run of a seed.
pub(super) struct SeededEntropy(Mutex<Rng>);

impl SeededEntropy {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Rng::new(seed, "entropy")))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in buffer.chunks_mut(8) {
            let bytes = rng.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
