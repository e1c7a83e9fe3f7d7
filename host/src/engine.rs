//! The engine: runs every instance to its end.
//!
//! Each active instance has an [`owner`], a pure state machine that decides what to make durable, and a loop around it,
//! [`owner_loop`], that does the I/O. [`owners`] is the table of owners, [`activities`] runs activity calls, [`shares`]
//! divides slots and guest threads between tenants, [`timers`] wakes sleeping instances, [`catalogue`] holds modules
//! and functions, and [`recovery`] resumes what the previous run of the host left. All of them use the [`environment`];
//! owners also use [`shared`]. Only the engine works with both the store and the sandbox; it knows nothing of HTTP.

pub mod activities;
pub mod api;
pub mod catalogue;
pub mod flight_recorder;
pub mod guests;
pub mod mail;
pub mod owner;
pub mod owners;
pub mod shares;
pub mod verify;

mod admission;
mod blame;
mod broadcasts;
mod bulk;
mod check_places;
mod compiled_code;
mod complete;
mod completions;
mod creation;
mod declared_events;
mod due_schedules;
mod entity_states;
mod environment;
mod events;
mod held_tenants;
mod hot_instances;
mod left_out;
mod long_turns;
mod lru_cache;
mod mailbox;
mod moves;
mod old_versions;
mod operations;
mod options;
mod owner_loop;
mod quiet_periods;
mod recorded_guest;
mod recovery;
mod requests;
mod restarts;
mod retention;
mod retention_state;
mod rewinds;
mod schedule_requests;
mod schedules;
mod schemas;
mod shared;
mod starts;
mod stats;
mod sweeper;
mod timers;
mod waiters;
mod waiting_for;
mod waiting_operations;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::api::{
    BroadcastAnswer, BroadcastError, BroadcastRequest, BulkDone, BulkRequest, ControlAction, Message, MessageError,
    MoveError, MoveRequest, Moved, OperateAnswer, OperateError, OperateRequest, Origin, PurgeError, PutModuleError,
    PutSchedule, RestartAs, RestartError, RestartRequest, RewindError, RewindRequest, ScheduleError, SetStateRequest,
    StartAnswer, StartError, StartRequest, StartTime, StoredModule,
};
pub use self::broadcasts::LIVE;
pub use self::complete::CompleteError;
pub use self::options::EngineOptions;
pub use self::retention::{RetentionError, RetentionPreview, RetentionPreviewGroup};
pub use self::retention_state::RetentionRun;
pub use self::shares::{FunctionShare, Rate, Share, ShareUse};
pub use self::stats::{AttemptStats, BroadcastStats, EngineStats, EntityStats, RetentionStats, ScheduleStats};
pub use self::waiters::{End, Waiter};
pub use self::waiting_for::{
    ActivityState, Attempts, Described, MAX_DESCRIBED, Section, WaitingActivity, WaitingCancellation, WaitingChild,
    WaitingEntityCall, WaitingEvent, WaitingFor, WaitingTimer,
};
pub use self::waiting_operations::OperationWaiter;
use self::{
    activities::Activities,
    catalogue::Catalogue,
    due_schedules::DueSchedules,
    environment::Environment,
    flight_recorder::FlightRecorder,
    guests::{Guests, Modules},
    held_tenants::HeldTenants,
    left_out::LeftOut,
    long_turns::LongTurns,
    owners::Owners,
    quiet_periods::QuietPeriods,
    shared::Shared,
    shares::{FOR_LIGHT_TENANTS, Gate, Slots},
    timers::Timers,
    waiters::Waiters,
    waiting_operations::WaitingOperations,
};
use crate::clock::Clock;
use crate::entropy::{Entropy, SystemEntropy};
use crate::memory::{Memory, Part};
use crate::model::{TenantId, Timestamp};
use crate::priority;
use crate::sandbox::{ConnectionCounts, Sandbox};
use crate::store::{Error as StoreError, Store};
use crate::tenancy::{Tenancy, Vault};

/// How many instances may be loaded from the store at once.
const LOADING_AT_ONCE: usize = 8;

/// What the engine is built from.
pub struct EngineParts {
    /// The store of all durable state.
    pub store: Store,
    /// Runs guests.
    pub sandbox: Sandbox,
    /// The source of the current time.
    pub clock: Arc<dyn Clock>,
    /// Records running turns and attempts.
    pub recorder: FlightRecorder,
    /// What was running when the previous run of the host ended uncleanly.
    pub flights: Vec<flight_recorder::LeftFlight>,
    /// Encrypts secrets.
    pub vault: Vault,
    /// The memory budget of the host.
    pub memory: Memory,
}

/// What the core of the engine is built from; a simulation passes its own.
struct CoreParts {
    store: Store,
    tenancy: Tenancy,
    guests: Arc<dyn Guests>,
    modules: Arc<dyn Modules>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    recorder: FlightRecorder,
    flights: Vec<flight_recorder::LeftFlight>,
    memory: Memory,
    /// The runtime of owners and attempts.
    runtime: tokio::runtime::Handle,
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The threads for guests could not be started.
    #[error("the threads for guests could not be started")]
    Threads(#[source] std::io::Error),
}

/// The running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    owners: Owners,
    /// Whether the previous run ended uncleanly in the first turn of an instance that was not stored yet. Its client
    /// may retry the start, so instances are now stored before their first turn: only stored instances count unclean
    /// ends.
    cautious: bool,
    threads: std::sync::Mutex<Option<GuestThreads>>,
}

/// The threads for guests. They are shut down in the background: an engine may be dropped inside a runtime, where
/// waiting for another runtime would panic.
struct GuestThreads(Option<tokio::runtime::Runtime>);

impl Drop for GuestThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Engine {
    /// Starts the engine and resumes the instances of the previous run. The engine can serve requests when this
    /// returns.
    ///
    /// # Errors
    /// If the store fails or threads cannot be started.
    pub async fn start_up(parts: EngineParts, options: EngineOptions) -> Result<Self, EngineError> {
        let EngineParts {
            store,
            sandbox,
            clock,
            recorder,
            flights,
            vault,
            memory,
        } = parts;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.guest_threads + FOR_LIGHT_TENANTS)
            .thread_name("windlass-guest")
            .on_thread_start(priority::give_way_to_commits)
            .enable_all()
            .build()
            .map_err(EngineError::Threads)?;
        let handle = runtime.handle().clone();
        let threads = GuestThreads(Some(runtime));
        let entropy = Arc::new(SystemEntropy);
        let tenancy = Tenancy::open(store.clone(), clock.clone(), entropy.clone(), vault).await?;
        let catalogue = Arc::new(Catalogue::open(store.clone(), sandbox, clock.clone(), &memory).await?);
        let core = CoreParts {
            tenancy,
            guests: catalogue.clone(),
            modules: catalogue,
            store,
            clock,
            entropy,
            recorder,
            flights,
            memory,
            runtime: handle,
        };
        Self::start_core(core, options, Some(threads)).await
    }

    async fn start_core(
        parts: CoreParts,
        options: EngineOptions,
        threads: Option<GuestThreads>,
    ) -> Result<Self, EngineError> {
        let CoreParts {
            store,
            tenancy,
            guests,
            modules,
            clock,
            entropy,
            recorder,
            flights,
            memory,
            runtime,
        } = parts;
        let environment = Arc::new(Environment {
            store,
            tenancy,
            guests,
            modules,
            clock,
            entropy,
            memory,
            quiet_periods: QuietPeriods::none(recorder.clone()),
            recorder,
            stats: EngineStats::default(),
            runtime,
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        });
        let ends = recovery::UncleanEnds {
            left: &flights,
            max_in_a_row: options.max_unclean_ends,
            max_cut_offs: options.max_cut_offs,
        };
        let recovery::Noted { not_stored, groups } = recovery::note_flights(&environment, ends).await?;
        let slots = Slots::new(options.activity_slots, environment.clock.clone());
        let clock = environment.clock.clone();
        let gate = Gate::new(options.guest_threads, FOR_LIGHT_TENANTS, clock, &environment.runtime);
        let loading = Slots::new(LOADING_AT_ONCE, environment.clock.clone());
        environment.tenancy.add_observer(shares::Follower {
            gate: gate.clone(),
            loading: loading.clone(),
            slots: slots.clone(),
            memory: environment.memory.clone(),
            modules: environment.modules.clone(),
        });
        let all_mailboxes = environment.memory.part(Part::Mailboxes).clone();
        let mailboxes = mailbox::Budget::new(options.mailbox_bytes, all_mailboxes);
        let shared = Arc::new(Shared {
            activities: Activities::new(environment.clone(), slots, gate.clone(), &options),
            long_turns: LongTurns::new(gate.clone(), environment.shutdown.clone()),
            gate,
            timers: Timers::new(),
            held_tenants: HeldTenants::new(environment.tenancy.clone()),
            waiters: Waiters::default(),
            operations: WaitingOperations::default(),
            hot_instances: hot_instances::HotInstances::default(),
            left_out: LeftOut::new(options.left_out),
            broadcasts: Notify::new(),
            retention: retention_state::RetentionState::default(),
            loading,
            due_schedules: DueSchedules::default(),
            environment,
            options,
        });
        let owners = Owners::new(shared.shutdown.clone(), mailboxes, start_of_owners(&shared));
        spawn_services(&shared);
        if groups.is_empty() {
            recovery::wake(&shared.store, &owners).await?;
            spawn_wakers(&shared, &owners);
        } else {
            let work = after_quiet_periods(shared.clone(), owners.clone(), groups);
            shared.tracker.spawn(work);
        }
        Ok(Self(Arc::new(Inner {
            shared,
            owners,
            cautious: not_stored,
            threads: std::sync::Mutex::new(threads),
        })))
    }

    /// Stops the engine: running turns are completed and written; attempts are dropped and run again at the next start.
    pub async fn stop(&self) {
        let shared = &self.0.shared;
        shared.recorder.close();
        shared.shutdown.cancel();
        shared.activities.stop();
        shared.tracker.close();
        let stopped = tokio::time::timeout(shared.options.stop_timeout, shared.tracker.wait());
        if stopped.await.is_err() {
            tracing::warn!("some turns were still running when the host stopped; they run again at the next start");
        }
        let threads = self
            .0
            .threads
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        drop(threads);
    }

    /// The current time, by the clock of the engine.
    pub fn now(&self) -> Timestamp {
        self.0.shared.clock.now()
    }

    /// The store, for queries.
    pub fn store(&self) -> &Store {
        &self.0.shared.store
    }

    /// The tenants and keys of the host.
    pub fn tenancy(&self) -> &Tenancy {
        &self.0.shared.tenancy
    }

    /// How many instances have an owner in memory.
    pub fn active_instances(&self) -> usize {
        self.0.owners.active()
    }

    /// Counters since the host started.
    pub fn stats(&self) -> &EngineStats {
        &self.0.shared.stats
    }

    /// How many activity calls are running, or waiting for a slot or their next attempt.
    pub fn activity_calls(&self) -> usize {
        self.0.shared.activities.count()
    }

    /// How many instances have work, but wait in the store for memory.
    pub fn instances_without_memory(&self) -> usize {
        self.0.shared.left_out.count()
    }

    /// How many instances have activity calls that wait for memory.
    pub fn instances_without_memory_for_calls(&self) -> usize {
        self.0.shared.activities.instances_left_out()
    }

    /// Counters of the connections of activities.
    pub fn connections(&self) -> ConnectionCounts {
        self.0.shared.guests.connections()
    }

    /// The memory budget of the host.
    pub fn memory(&self) -> &Memory {
        &self.0.shared.memory
    }

    /// How many wake-ups are in memory. Later ones are in the store only.
    pub fn timers_in_memory(&self) -> usize {
        self.0.shared.timers.in_memory()
    }

    /// Checks that the store can be written. (The engine itself is ready once [`Self::start_up`] has returned.)
    ///
    /// # Errors
    /// If a write fails.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.0.shared.store.probe().await
    }

    /// Overrides the share of a tenant, regardless of its quotas.
    #[cfg(test)]
    fn set_share(&self, tenant: TenantId, share: Share) {
        let shared = &self.0.shared;
        shared.gate.set_weight(tenant, share.weight);
        shared.activities.slots().set_share(tenant, share);
    }

    /// How much of the activity slots a tenant uses now.
    pub fn share_use(&self, tenant: TenantId) -> ShareUse {
        self.0.shared.activities.slots().used_by(tenant)
    }
}

/// How owners start.
fn start_of_owners(shared: &Arc<Shared>) -> owners::Start {
    let (spawning, leaving_out) = (shared.clone(), shared.clone());
    owners::Start {
        spawn: Box::new(move |owners, new| owner_loop::spawn(&spawning, owners, new)),
        leave_out: Box::new(move |owners, tenant, instance| {
            admission::leave_out(&leaving_out, owners, tenant, instance);
        }),
        pool: shared.memory.part(Part::Instances).clone(),
    }
}

/// Resumes the instances of the previous run, suspects of its unclean end first.
async fn after_quiet_periods(shared: Arc<Shared>, owners: Owners, groups: Vec<Vec<recovery::Suspect>>) {
    let work = async {
        recovery::run_suspects(&shared, &owners, groups).await;
        if recovery::wake_after_quiet_periods(&shared.store, &owners).await {
            spawn_wakers(&shared, &owners);
        }
    };
    shared.shutdown.run_until_cancelled(work).await;
}

/// Starts the background tasks that run until shutdown.
fn spawn_services(shared: &Shared) {
    let tracker = &shared.tracker;
    tracker.spawn(shared.activities.slots().clone().run(shared.shutdown.clone()));
    tracker.spawn(sweeper::run(shared.environment.clone()));
}

/// Starts the background tasks that wake instances and run until shutdown.
fn spawn_wakers(shared: &Arc<Shared>, owners: &Owners) {
    let (tracker, environment) = (&shared.tracker, &shared.environment);
    tracker.spawn(broadcasts::run(shared.clone(), owners.clone()));
    tracker.spawn(retention::run(shared.clone()));
    let (timers, held_tenants) = (shared.timers.clone(), shared.held_tenants.clone());
    let held = {
        let held_tenants = held_tenants.clone();
        move || held_tenants.held()
    };
    let waits = shared.activities.waits();
    tracker.spawn(completions::run(environment.clone(), owners.clone(), waits));
    tracker.spawn(timers.clone().run(environment.clone(), owners.clone(), held));
    tracker.spawn(schedules::run(shared.clone(), owners.clone()));
    let released = move || timers.read_again();
    tracker.spawn(held_tenants.run(environment.clone(), owners.clone(), released));
}
