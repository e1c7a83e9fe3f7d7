//! One simulated world: a host that is started, disturbed, crashed and started again over one disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::broadcasts::Broadcasts;
use super::checkers::entities::unfinished;
use super::checkers::{MAX_CUT_OFFS, Watch};
use super::disturbances;
use super::faults::{Faults, Plan};
use super::guests::{ScriptedGuests, SeededEntropy};
use super::operators;
use super::programs::{EVENTS, Program, numbered, programs};
use super::retention::{self, Retention};
use super::rng::Rng;
use super::schedules::Schedules;
use super::time::SimulatedClock;
use super::workload::{Client, Workload};
use crate::clock::Clock;
use crate::engine::flight_recorder::{EndsInARow, Flight, FlightRecorder, LeftFlight, Phase, SLOT_BYTES, slot_of};
use crate::engine::guests::NoModules;
use crate::engine::{CoreParts, Engine, EngineOptions, FunctionShare, Message, Rate, Share};
use crate::entity::StepLimits;
use crate::memory::Memory;
use crate::model::{EntityId, InstanceNumber, InstanceStatus, ObservableLimits, TenantId};
use crate::replay::TurnLimits;
use crate::store::Store;
use crate::store::simulated::{Disk, InstanceRow, PlantedBug};
use crate::tenancy::Tenancy;

/// How often the world is checked after the faults have stopped; by then, everything must have ended.
const LAST_LOOKS: u64 = 400;

/// The maximum number of tenants.
const MAX_TENANTS: u32 = 3;

/// The time between two checks. Longer than any interval after which the engine checks something by itself.
const LOOK_EVERY: Duration = Duration::from_secs(65);

/// The settings of a world.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub seed: u64,
    pub plan: Plan,
    pub planted_bug: Option<PlantedBug>,
    /// A fixed number of hot guests, and no two things at once: two runs that differ only in this number must be alike.
    pub steady: Option<usize>,
}

/// Everything that survives a host.
pub(super) struct World {
    setting: Setting,
    rng: Rng,
    pub clock: Arc<SimulatedClock>,
    pub watch: Arc<Watch>,
    pub disk: Disk,
    faults: Arc<Faults>,
    programs: Arc<Vec<Program>>,
    pub guests: Arc<ScriptedGuests>,
    entropy: Arc<SeededEntropy>,
    workload: Arc<Workload>,
    schedules: Arc<Schedules>,
    retention: Arc<Retention>,
    broadcasts: Arc<Broadcasts>,
    /// The bytes of the flight recorder.
    flights: Arc<Mutex<Vec<u8>>>,
}

/// One run of the host.
struct Round {
    plan: Plan,
    options: EngineOptions,
    /// The memory budget, in bytes.
    memory: u64,
    /// How long it runs with faults.
    length: Duration,
    /// What happens afterwards, unless the host ends before.
    then: Then,
}

/// How a run of the host continues after its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Crashes,
    Stops,
    /// The faults stop, and every instance must end.
    Recovers,
}

impl Setting {
    /// The settings of a seed.
    pub(super) fn of(seed: u64) -> Self {
        Self {
            seed,
            plan: Plan::of(seed),
            planted_bug: None,
            steady: None,
        }
    }
}

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let seed = setting.seed;
        let watch = Watch::new();
        let clock = Arc::new(SimulatedClock::new());
        let faults = Arc::new(Faults::new(seed, watch.clone()));
        let disk = Disk::new(faults.clone(), setting.planted_bug);
        if setting.steady.is_none() {
            disk.read_few_events();
        }
        let programs = Arc::new(programs(seed, setting.steady.is_some()));
        let within_ms = setting.plan.rounds.max(1) * setting.plan.round_ms;
        let tenants = match setting.steady {
            Some(_) => 1,
            None => u32::try_from(Rng::new(seed, "tenants").between(1, MAX_TENANTS.into())).expect("few"),
        };
        let workload = Workload::of(seed, tenants, &programs, within_ms);
        let schedules = match setting.steady {
            Some(_) => Schedules::none(),
            None => Schedules::of(seed, &programs, within_ms),
        };
        let retention = match setting.steady {
            Some(_) => Retention::none(),
            None => Retention::of(seed, &programs),
        };
        let broadcasts = match setting.steady {
            Some(_) => Broadcasts::none(),
            None => Broadcasts::of(seed, tenants, setting.plan.round_ms),
        };
        let guests = ScriptedGuests::new(seed, programs.clone(), watch.clone(), disk.clone(), clock.clone());
        if setting.steady.is_some() {
            guests.one_at_a_time();
        }
        Self {
            rng: Rng::new(seed, "world"),
            clock,
            watch,
            disk,
            faults,
            programs,
            guests: Arc::new(guests),
            entropy: Arc::new(SeededEntropy::new(seed)),
            workload: Arc::new(workload),
            schedules: Arc::new(schedules),
            retention: Arc::new(retention),
            broadcasts: Arc::new(broadcasts),
            flights: Arc::default(),
            setting,
        }
    }

    /// Runs the world to its end.
    pub(super) fn run(&mut self) {
        let rounds = self.setting.plan.rounds;
        for number in 1..=rounds {
            let round = self.round(number == rounds);
            self.host(&round);
            if !self.watch.is_content() {
                return;
            }
        }
        let last = Round {
            plan: Plan::calm(),
            options: self.options(),
            memory: self.memory(),
            length: Duration::ZERO,
            then: Then::Recovers,
        };
        self.host(&last);
        if self.watch.is_content() {
            self.workload.check_starts(&self.watch);
            self.schedules.check(&self.disk.content(), &self.watch);
            self.watch.at_the_end(&self.disk.content(), &self.programs);
        }
    }

    fn round(&mut self, is_last: bool) -> Round {
        let mut plan = self.setting.plan.clone();
        let stops = self.rng.per_mille(plan.stops);
        let then = match (is_last && plan.recovers, stops) {
            (true, _) => Then::Recovers,
            (false, true) => Then::Stops,
            (false, false) => Then::Crashes,
        };
        if then == Then::Recovers {
            // The host must survive until its faults stop.
            (plan.ends_before_commit, plan.ends_after_commit, plan.deadly) = (0, 0, 0);
        }
        Round {
            options: self.options(),
            memory: self.memory(),
            length: Duration::from_millis(self.rng.between(1, plan.round_ms)),
            then,
            plan,
        }
    }

    /// The memory budget, in bytes: often so little that only a few guests fit.
    fn memory(&mut self) -> u64 {
        match self.setting.steady {
            Some(_) => 1 << 40,
            None => *self.rng.pick(&[2 << 20, 4 << 20, 1 << 40]),
        }
    }

    fn options(&mut self) -> EngineOptions {
        let rng = &mut self.rng;
        let (hot_guests, hot_idle) = match self.setting.steady {
            Some(hot_guests) => (hot_guests, Duration::from_secs(1_000_000)),
            None => (
                *rng.pick(&[0, 1, 2, 1_000]),
                Duration::from_millis(*rng.pick(&[1, 100, 10_000])),
            ),
        };
        EngineOptions {
            hot_guests,
            hot_idle,
            cancellation_grace: Duration::from_millis(*rng.pick(&[0, 5, 1_000])),
            public_url: None,
            activity_slots: if self.setting.steady.is_some() {
                64
            } else {
                *rng.pick(&[1, 2, 64])
            },
            max_queued: 1_000,
            step_limits: StepLimits::default(),
            max_entity_state: 256 << 10,
            max_cut_offs: MAX_CUT_OFFS,
            max_unclean_ends: 3,
            // An event that is not in memory may arrive one turn later.
            known_event_bytes: match self.setting.steady {
                Some(_) => 8 << 20,
                None => *rng.pick(&[0, 300, 8 << 20]),
            },
            mailbox_bytes: match self.setting.steady {
                Some(_) => 4 << 20,
                None => *rng.pick(&[0, 600, 4 << 20]),
            },
            untaken_bytes: match self.setting.steady {
                Some(_) => 16 << 20,
                None => *rng.pick(&[0, 300, 16 << 20]),
            },
            left_out: *rng.pick(&[1, 20_000]),
            turn_limits: TurnLimits {
                turns: *rng.pick(&[8, 1_000_000, 1_000_000, 1_000_000]),
                ..TurnLimits::default()
            },
            observable: ObservableLimits {
                memory_bytes: 1 << 20,
                payload_bytes: 10_000,
            },
            guest_threads: 1,
            stop_timeout: Duration::from_millis(rng.between(1, 5_000)),
        }
    }

    /// Runs the host once, on its own runtime, which drops everything in memory at the end.
    fn host(&mut self, round: &Round) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let ends = self.faults.begin(&round.plan);
        self.guests.begin(&round.plan, ends.clone());
        runtime.block_on(async {
            self.clock.boot();
            tokio::select! {
                biased;
                () = ends.notified() => tracing::info!("the host ends at a commit or in an activity"),
                () = self.serve(round) => {}
            }
            self.clock.halt();
        });
        // Guests that are dropped with the runtime clear their slots; a crash would not.
        let flights = self.lock_flights().clone();
        self.watch.host_ended();
        drop(runtime);
        *self.lock_flights() = flights;
        self.disk.crash();
        if self.rng.per_mille(round.plan.turn_at_end) {
            self.pretend_turn();
        }
    }

    fn lock_flights(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pretends that the host ended during a turn. Turns take no time here, so it never really does.
    fn pretend_turn(&mut self) {
        let content = self.disk.content();
        let live: Vec<_> = content
            .existing()
            .filter(|(_, row, _)| !row.status.has_ended())
            .collect();
        if let Some((number, row, _)) = (!live.is_empty()).then(|| self.rng.pick(&live)) {
            let flight = Flight {
                instance: *number,
                execution: row.execution,
                task: None,
            };
            let phase = *self
                .rng
                .pick(&[Phase::Normal, Phase::QuietPeriod, Phase::EarlierPeriod]);
            let alone = u8::try_from(self.rng.below(3)).expect("few");
            let ends = EndsInARow { all: alone, alone };
            let left = LeftFlight { flight, phase, ends };
            let mut flights = self.lock_flights();
            let whole = flights.len() / SLOT_BYTES * SLOT_BYTES;
            flights.truncate(whole);
            flights.extend(slot_of(left));
        }
    }

    async fn serve(&self, round: &Round) {
        let Ok((store, service)) = Store::open_simulated(&self.disk).await else {
            return;
        };
        let stop = CancellationToken::new();
        let writer = tokio::spawn(service.run(stop.clone()));
        let (recorder, flights) = FlightRecorder::in_memory(self.flights.clone());
        let parts = CoreParts {
            tenancy: Tenancy::of_one(store.clone(), self.clock.clone(), self.entropy.clone()),
            store: store.clone(),
            guests: self.guests.clone(),
            modules: Arc::new(NoModules),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            recorder,
            flights,
            memory: Memory::new(round.memory),
            runtime: tokio::runtime::Handle::current(),
        };
        let engine = match Engine::start_core(parts, round.options.clone(), None).await {
            Ok(engine) => engine,
            Err(error) => return tracing::info!(%error, "the host does not start"),
        };
        let client = Client {
            engine: engine.clone(),
            workload: self.workload.clone(),
            clock: self.clock.clone(),
            watch: self.watch.clone(),
            guests: self.guests.clone(),
            disk: self.disk.clone(),
            reads_are_sound: round.plan.disk_fails == 0,
            impatient: self.setting.steady.is_none(),
        };
        if self.setting.steady.is_none() {
            self.set_shares(&engine);
        }
        client.carry_out_all();
        let (schedules, at, watch) = (self.schedules.clone(), engine.clone(), self.watch.clone());
        let retention = self.retention.clone();
        let creation = tokio::spawn(async move {
            schedules.create(&at, &watch).await;
            retention.set(&at, &watch).await;
        });
        let (broadcasts, at, watch) = (self.broadcasts.clone(), engine.clone(), self.watch.clone());
        let sending = tokio::spawn(async move { broadcasts.send(&at, &watch).await });
        let rng = Rng::new(self.rng.clone().next(), "disturbances");
        let disturbances = disturbances::begin(rng, round.plan.clone(), self, &engine);
        let operator =
            (self.setting.steady.is_none()).then(|| operators::begin(self.setting.seed, &self.disk, &engine));
        tokio::time::sleep(round.length).await;
        if let Some(operator) = operator {
            operator.abort();
        }
        if round.then == Then::Recovers {
            disturbances.abort();
            self.faults.cease();
            self.guests.set_plan(&Plan::calm());
            // A schedule that is created later would not be paused.
            creation.await.expect("the client does not panic");
            self.schedules.pause(&engine, &self.watch).await;
            sending.await.expect("the client does not panic");
            self.wait_for_the_end(&engine).await;
            if !self.retention.is_none() {
                let now = self.clock.now();
                tokio::time::sleep(retention::TIME_TO_DELETE).await;
                self.retention.check(&self.disk.content(), now, &self.watch);
            }
        }
        if round.then != Then::Crashes {
            engine.stop().await;
            drop((engine, store, client));
            stop.cancel();
            if let Err(error) = writer.await.expect("the writer does not panic") {
                tracing::info!(%error, "the store was not closed properly");
            }
        }
    }

    /// Gives each tenant a different share, for all runs.
    fn set_shares(&self, engine: &Engine) {
        let mut rng = Rng::new(self.setting.seed, "shares");
        for tenant in 1..=MAX_TENANTS {
            let mut limit = |chance| rng.per_mille(chance).then(|| rng.between(1, 3));
            let few = |limit: Option<u64>| limit.map(|most| u32::try_from(most).expect("few"));
            let max_activities = few(limit(300));
            let slow = FunctionShare {
                max_activities: few(limit(300)),
                rate: limit(300).and_then(|starts| Rate::per_second(starts as f64)),
            };
            let share = Share {
                weight: u32::try_from(rng.between(1, Share::MAX_WEIGHT.into())).expect("a weight"),
                max_activities,
                functions: BTreeMap::from([("slow".parse().expect("a name"), slow)]),
            };
            engine.set_share(TenantId(tenant), share);
        }
    }

    /// Lets every instance end: resumes those that are suspended or stuck, and raises the events that the others wait
    /// for. But an instance that has something to do must not need this.
    async fn wait_for_the_end(&self, engine: &Engine) {
        let mut seen = None;
        while !engine.0.shared.quiet_periods.are_over() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        for look in 0..LAST_LOOKS {
            tokio::time::sleep(LOOK_EVERY).await;
            let (content, now) = (self.disk.content(), self.clock.now());
            let live: Vec<_> = content
                .existing()
                .filter(|(_, row, rows)| match EntityId::of(&row.id) {
                    Some(_) => unfinished(row, rows).is_some(),
                    None => !row.status.has_ended(),
                })
                .collect();
            if live.is_empty() && self.workload.is_settled() && Broadcasts::have_ended(&content) {
                // Give the sweeper time to delete what ended instances leave behind.
                tokio::time::sleep(LOOK_EVERY).await;
                return;
            }
            let quiet = !self.watch.is_working() && seen == Some(self.watch.trace());
            if quiet {
                // Check all of them at the same moment: pushing one takes a while, in which others continue.
                for (number, row, rows) in &live {
                    self.watch.not_stalled(*number, row, rows, now);
                }
                for (number, row, _) in live {
                    self.push(engine, look, number, row).await;
                }
            }
            seen = Some(self.watch.trace());
        }
    }

    async fn push(&self, engine: &Engine, look: u64, number: InstanceNumber, row: &InstanceRow) {
        if let Some(stuck) = &row.stuck {
            self.judge_stuck(stuck);
        }
        let messages = match row.status {
            InstanceStatus::Suspended | InstanceStatus::Stuck => vec![Message::Resume { reason: String::new() }],
            _ if EntityId::of(&row.id).is_some() => Vec::new(),
            _ => {
                let all = EVENTS.iter().zip(1..);
                let payload = |event: u64| look * 1_000_000_000 + number.0 * 10 + event;
                all.map(|(event, n)| Message::Event(numbered(event, payload(n))))
                    .collect()
            }
        };
        for message in messages {
            // One at a time, so that runs can be compared. The instance may have ended since.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = engine.send(row.tenant, &row.id, message, None).await;
        }
    }

    /// Checks that a fault of the plan made the instance stuck.
    fn judge_stuck(&self, stuck: &crate::model::StuckReason) {
        let plan = &self.setting.plan;
        let expected = match stuck.code.as_str() {
            "took-host-down" => plan.turn_at_end > 0,
            "module-unavailable" => plan.no_module > 0,
            "turn-too-large" => plan.max_turn_bytes > 0,
            _ => false,
        };
        if !expected {
            self.watch.violation(format!("an instance is stuck: {stuck:?}"));
        }
    }
}
