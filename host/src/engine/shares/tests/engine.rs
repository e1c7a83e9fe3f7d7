//! Two tenants on one engine, over a simulated disk. The tests count; they do not measure time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::engine::flight_recorder::FlightRecorder;
use crate::engine::guests::{ActivityCode, AnyGuest, Guests, NoModules};
use crate::engine::shares::Share;
use crate::engine::simulation::SimulatedClock;
use crate::engine::{CoreParts, Engine, EngineOptions, StartAnswer, StartError, StartRequest};
use crate::entropy::SystemEntropy;
use crate::memory::{Held, Memory};
use crate::model::{ActivityOptions, FunctionName, ModuleDigest, ModuleNumber, Payload, Started, TenantId};
use crate::replay::tests::script::{Functions, Op, Script};
use crate::replay::{Budget, Directory, Execution, Guest, HostUnavailable, Ran};
use crate::sandbox::{ActivityRun, Attempt, Traffic};
use crate::store::simulated::{Content, Disk, FaultPlan, Step, Treatment};
use crate::store::{Days, Store, StoreOptions};
use crate::tenancy::Tenancy;

const NOISY: TenantId = TenantId::DEFAULT;
const QUIET: TenantId = TenantId(2);
const SLOTS: usize = 8;
const FLOOD: usize = 10_000;
const STEPS: usize = 5;
const TURNS: usize = 60;
/// The fuel of each attempt.
const FUEL: u64 = 5;
/// The timeout of the activities of a crowd.
const CROWD_MS: u64 = 10_000;

/// A disk without faults.
struct Smooth;

impl FaultPlan for Smooth {
    fn of(&self, _: Step) -> Treatment {
        Treatment::SMOOTH
    }

    fn committed(&self, _: &Content, _: &Content) {}
}

/// A guest that counts its turns and reports a fixed amount of fuel.
struct Counted {
    script: Script,
    turns: Arc<AtomicUsize>,
    fuel: u64,
}

impl Guest for Counted {
    fn resume(&mut self, execution: &mut Execution, budget: Budget) -> Result<Ran, HostUnavailable> {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let ran = self.script.resume(execution, budget)?;
        Ok(Ran { fuel: self.fuel, ..ran })
    }
}

/// Guests for the orchestrations `flood` and `chain`, whose activities take a moment, and `crowd`, for whose activities
/// the host never has room.
#[derive(Default)]
struct TwoPrograms {
    attempts: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    most_running: Arc<AtomicUsize>,
    begun: Arc<Notify>,
    /// Turns of `long`, new and replayed.
    turns: Arc<AtomicUsize>,
    /// How often a guest for `late` was requested.
    late: Arc<AtomicUsize>,
}

/// Longer than a start request waits for the first turn.
const LATE: Duration = Duration::from_secs(10);

struct Activities {
    counted: Arc<TwoPrograms>,
}

impl ActivityCode for Activities {
    fn module_name(&self) -> &str {
        "activities"
    }

    fn run(&self, attempt: Attempt, _: Held) -> BoxFuture<'_, Result<ActivityRun, HostUnavailable>> {
        Box::pin(async move {
            if attempt.function.as_str() == "too large" {
                return Err(HostUnavailable::NoRoom("as written".into()));
            }
            attempt.meter.show(FUEL);
            self.counted.attempts.fetch_add(1, Ordering::Relaxed);
            let running = self.counted.running.fetch_add(1, Ordering::Relaxed) + 1;
            self.counted.most_running.fetch_max(running, Ordering::Relaxed);
            self.counted.begun.notify_one();
            let work = match attempt.function.as_str() {
                "endless" => Duration::MAX,
                "slow" => Duration::from_millis(100),
                _ => Duration::from_millis(1),
            };
            tokio::time::sleep(work).await;
            self.counted.running.fetch_sub(1, Ordering::Relaxed);
            Ok(ActivityRun {
                outcome: Ok(Payload::null()),
                fuel: FUEL,
                traffic: Traffic::default(),
                logs: Vec::new(),
            })
        })
    }
}

impl Guests for TwoPrograms {
    fn directory(self: Arc<Self>, _: TenantId) -> Arc<dyn Directory> {
        Arc::new(Functions)
    }

    fn to_start<'a>(
        &'a self,
        _: TenantId,
        _: &'a FunctionName,
        _: &'a Payload,
    ) -> BoxFuture<'a, Result<ModuleNumber, StartError>> {
        Box::pin(async { Ok(ModuleNumber(1)) })
    }

    fn orchestrator<'a>(
        &'a self,
        _: ModuleNumber,
        started: &'a Started,
        _: Held,
    ) -> BoxFuture<'a, Result<AnyGuest, HostUnavailable>> {
        let call = || Op::Call("work".into());
        let too_large = || {
            let options = ActivityOptions {
                timeout_ms: Some(CROWD_MS),
                ..ActivityOptions::default()
            };
            Op::CallWith("too large".into(), options)
        };
        let strands = match started.function.as_str() {
            "flood" => (0..FLOOD).map(|_| vec![call()]).collect(),
            "crowd" => (0..2 * SLOTS).map(|_| vec![too_large()]).collect(),
            "race" => vec![vec![Op::CallOrCall("work".into(), "endless".into())]],
            "hurry" => vec![vec![Op::Call("slow".into())], vec![Op::Sleep(1), Op::Fail]],
            "long" => vec![(0..TURNS).map(|_| call()).collect()],
            _ => vec![(0..STEPS).map(|_| call()).collect()],
        };
        let script = Script::new(strands);
        let guest: AnyGuest = match started.function.as_str() {
            "long" => Box::new(Counted {
                script,
                turns: self.turns.clone(),
                fuel: 2_000_000,
            }),
            _ => Box::new(script),
        };
        let is_late = started.function.as_str() == "late" && self.late.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(async move {
            if is_late {
                tokio::time::sleep(LATE).await;
                return Err(HostUnavailable::NoRoom("as written".into()));
            }
            Ok(guest)
        })
    }

    fn activities(&self, _: ModuleNumber) -> BoxFuture<'_, Result<Box<dyn ActivityCode>, HostUnavailable>> {
        let counted = Arc::new(Self {
            attempts: self.attempts.clone(),
            running: self.running.clone(),
            most_running: self.most_running.clone(),
            begun: self.begun.clone(),
            turns: self.turns.clone(),
            late: self.late.clone(),
        });
        Box::pin(async { Ok(Box::new(Activities { counted }) as Box<dyn ActivityCode>) })
    }

    fn digest(&self, _: ModuleNumber) -> Option<ModuleDigest> {
        Some(ModuleDigest([1; 32]))
    }
}

/// An engine, and its guests with their counters.
struct Host {
    engine: Engine,
    guests: Arc<TwoPrograms>,
    stop: CancellationToken,
}

impl Host {
    async fn start(max_queued: usize) -> Self {
        let options = EngineOptions {
            max_queued,
            ..EngineOptions::default()
        };
        Self::start_with(options).await
    }

    async fn start_with(options: EngineOptions) -> Self {
        let disk = Disk::new(Arc::new(Smooth), None);
        let (store, service) = Store::open_simulated(&disk).await.expect("the disk is smooth");
        let stop = CancellationToken::new();
        tokio::spawn(service.run(stop.clone()));
        Self::start_over(store, stop, options).await
    }

    async fn start_over(store: Store, stop: CancellationToken, options: EngineOptions) -> Self {
        let guests = Arc::new(TwoPrograms::default());
        let clock = SimulatedClock::new();
        clock.boot();
        let (clock, entropy) = (Arc::new(clock), Arc::new(SystemEntropy));
        let (recorder, flights) = FlightRecorder::in_memory(Arc::default());
        let parts = CoreParts {
            tenancy: Tenancy::of_one(store.clone(), clock.clone(), entropy.clone()),
            store,
            guests: guests.clone(),
            modules: Arc::new(NoModules),
            clock,
            entropy,
            recorder,
            flights,
            memory: Memory::unlimited(),
            runtime: tokio::runtime::Handle::current(),
        };
        let options = EngineOptions {
            activity_slots: SLOTS,
            guest_threads: 1,
            ..options
        };
        let engine = Engine::start_core(parts, options, None)
            .await
            .expect("the disk is smooth");
        Self { engine, guests, stop }
    }

    async fn begin(&self, tenant: TenantId, function: &str) -> Result<StartAnswer, StartError> {
        let request = StartRequest {
            watch: true,
            ..StartRequest::new(tenant, function.parse().expect("a name"), Payload::null())
        };
        self.engine.start(request).await
    }

    async fn run(&self, tenant: TenantId, function: &str) {
        let started = self.begin(tenant, function).await.expect("it is accepted");
        started.end.expect("it was asked for").end().await;
    }

    /// Starts a flood and waits until it fills the slots.
    async fn flood(&self) {
        self.begin(NOISY, "flood").await.expect("it is accepted");
        while self.engine.share_use(NOISY).waiting < FLOOD / 2 {
            self.guests.begun.notified().await;
        }
    }

    fn attempts(&self) -> usize {
        self.guests.attempts.load(Ordering::Relaxed)
    }

    async fn stop(self) {
        self.engine.stop().await;
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_beside_a_flood_waits_for_only_a_few_attempts_of_it() {
    let host = Host::start(usize::MAX).await;
    host.flood().await;
    let before = host.attempts();
    host.run(QUIET, "chain").await;
    let others = host.attempts() - before - STEPS;
    let used = host.engine.share_use(NOISY);
    assert!(used.waiting > FLOOD / 4, "the flood goes on: {used:?}");
    // Each step waits for at most one attempt and takes as long as one; during that time, each of the other slots runs
    // one.
    assert!(
        others <= STEPS * SLOTS * 3,
        "{others} attempts of the flood while a chain ran"
    );
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_runs_no_more_activities_than_its_share_allows_and_leaves_the_rest_to_others() {
    let host = Host::start(usize::MAX).await;
    let share = Share {
        max_activities: Some(2),
        ..Share::default()
    };
    host.engine.set_share(NOISY, share);
    host.flood().await;
    assert_eq!(host.engine.share_use(NOISY).running, 2);
    host.run(QUIET, "chain").await;
    let most = host.guests.most_running.load(Ordering::Relaxed);
    assert!(most <= 3, "two of one tenant and one of the other, not {most}");
    host.engine.set_share(NOISY, Share::default());
    assert_eq!(host.engine.share_use(NOISY).running, SLOTS);
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_without_room_hold_no_slots_and_end_in_time() {
    let host = Host::start(usize::MAX).await;
    let crowd = host.begin(NOISY, "crowd").await.expect("it is accepted");
    while host.engine.activity_calls() < 2 * SLOTS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let crowd_ends = async {
        let chain = tokio::time::timeout(Duration::from_secs(1), host.run(QUIET, "chain"));
        chain.await.expect("there are slots");
        crowd.end.expect("it was asked for").end().await;
    };
    let in_time = tokio::time::timeout(Duration::from_millis(CROWD_MS + 1), crowd_ends);
    in_time.await.expect("no slot is idle");
    let attempts = &host.engine.stats().attempts;
    assert_eq!((attempts.running.get(), attempts.waiting.get()), (0, 0));
    assert_eq!(attempts.dropped.get(), 0, "attempts without room did not run");
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_with_too_much_work_refuses_starts_of_the_tenant_that_causes_it() {
    let host = Host::start(100).await;
    host.flood().await;
    let refused = host.begin(NOISY, "chain").await;
    assert!(matches!(refused, Err(StartError::Overloaded)), "{refused:?}");
    host.run(QUIET, "chain").await;
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_stored_by_its_request_runs_once_there_is_a_guest() {
    let host = Host::start(usize::MAX).await;
    let in_time = tokio::time::timeout(2 * LATE, host.run(QUIET, "late"));
    in_time.await.expect("its owner continues with what is stored");
    assert_eq!(host.guests.late.load(Ordering::Relaxed), 2);
    host.stop().await;
}

/// Lets all other ready tasks run.
async fn go_round() {
    let mut is_back = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_back, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The maximum number of turns of `long` that run without another task in between, until `until` turns have run. Needs
/// a clock that is not paused, because it is never idle.
async fn most_at_a_time(host: &Host, until: usize) -> usize {
    host.begin(NOISY, "long").await.expect("it is accepted");
    let turns = host.guests.turns.clone();
    // A spawned task, because the task of the test itself is polled less often.
    let watch = tokio::spawn(async move {
        let (mut before, mut most) = (0, 0);
        while before < until {
            go_round().await;
            let now = turns.load(Ordering::Relaxed);
            most = most.max(now - before);
            before = now;
        }
        most
    });
    watch.await.expect("it does not panic")
}

/// A host that keeps no guest in memory, so that every turn replays the previous ones.
async fn forgetful() -> Host {
    Host::start_with(EngineOptions {
        hot_guests: 0,
        ..EngineOptions::default()
    })
    .await
}

#[tokio::test]
async fn a_long_replay_lets_others_in_between() {
    let host = forgetful().await;
    let most = most_at_a_time(&host, (1..=TURNS + 1).sum()).await;
    // One piece of the replay has three turns; the last one is followed by a new turn.
    assert!((2..=4).contains(&most), "{most} turns at a time");
    host.stop().await;
}

#[tokio::test]
async fn a_long_replay_stops_with_the_host() {
    let host = forgetful().await;
    // In the middle of one of the last replays.
    let middle = (1..=TURNS - 3).sum::<usize>() + TURNS / 4;
    most_at_a_time(&host, middle).await;
    let turns = host.guests.turns.clone();
    let before = turns.load(Ordering::Relaxed);
    host.stop().await;
    let after = turns.load(Ordering::Relaxed);
    assert!(after - before <= 4, "{} turns after the end", after - before);
}

#[tokio::test]
async fn the_usage_of_attempts_without_a_waiting_task_is_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = Store::open(&StoreOptions::new(folder.path())).await;
    let (store, service) = opened.expect("the folder is new");
    let stop = CancellationToken::new();
    tokio::spawn(service.run(stop.clone()));
    let host = Host::start_over(store, stop, EngineOptions::default()).await;
    // One is cancelled while it runs, the other outlives its instance.
    host.run(QUIET, "race").await;
    host.run(QUIET, "hurry").await;
    while host.engine.activity_calls() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let of_activities = async || {
        let tenant = host.engine.store().tenant(QUIET);
        let usage = tenant
            .usage(Days::between(None, None), None, 100)
            .await
            .expect("it is read");
        let amounts = usage
            .functions
            .into_iter()
            .map(|usage| (usage.function.to_string(), usage.amount));
        let mut amounts: Vec<_> = amounts
            .map(|(name, amount)| (name, amount.count, amount.failed, amount.fuel))
            .collect();
        amounts.retain(|(name, ..)| ["endless", "slow", "work"].contains(&&**name));
        amounts
    };
    let expected = [("endless", 1, 1), ("slow", 1, 0), ("work", 1, 0)];
    let expected = expected.map(|(name, count, failed)| (name.to_owned(), count, failed, FUEL));
    let in_time = tokio::time::timeout(Duration::from_secs(10), async {
        while of_activities().await != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    if in_time.await.is_err() {
        assert_eq!(of_activities().await, expected);
    }
    host.stop().await;
}
