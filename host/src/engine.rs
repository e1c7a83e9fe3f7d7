//! The engine: carries every instance to its end.
//!
//! An active instance has one [`owner`], a pure state machine that says what to make durable; the loop in [`task`] does
//! it. [`owners`] knows the owners, [`activities`] the attempts under way, [`shares`] which of them come next, [`timers`] who
//! sleeps, [`catalogue`] the modules and functions, [`recovery`] what the last host left. The engine is the only place that
//! sees both the store and the sandbox; it knows nothing of HTTP.

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

mod events;
mod held_tenants;
mod hot_instances;
mod lru_cache;
mod mailbox;
mod old_versions;
mod owner_loop;
mod recorded_guest;
mod recovery;
mod requests;
mod shared;
mod stats;
mod sweeper;
mod timers;
mod waiters;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::api::{
    Message, MessageError, Origin, PurgeError, PutModuleError, StartAnswer, StartError, StartRequest, StoredModule,
};
pub use self::shares::{FunctionShare, Rate, Share, ShareUse};
pub use self::stats::{AttemptStats, EngineStats};
pub use self::waiters::{End, Waiter};
use self::{
    activities::{Activities, ActivitiesParts, Suspects},
    catalogue::Catalogue,
    flight_recorder::FlightRecorder,
    guests::Guests,
    held_tenants::HeldTenants,
    owner::events::KNOWN_EVENT_BYTES,
    owners::Owners,
    shared::Shared,
    shares::{Gate, Slots},
    timers::Timers,
    waiters::Waiters,
};
use crate::clock::Clock;
use crate::entropy::{Entropy, SystemEntropy};
use crate::model::ObservableLimits;
use crate::replay::TurnLimits;
use crate::sandbox::{ConnectionCounts, Sandbox};
use crate::store::{Error as StoreError, Store};
use crate::tenancy::{Tenancy, Vault};

/// How many instances are loaded from the store at once.
const LOADING_AT_ONCE: usize = 64;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Most guests kept in memory between turns; 0 replays every turn.
    pub hot_guests: usize,
    /// How long an idle guest is kept.
    pub hot_idle: Duration,
    /// Attempts of activities that run at once.
    pub activity_slots: usize,
    /// New instances are refused while that many activity calls run or wait, to tenants with an even part of them.
    pub max_queued: usize,
    /// An attempt that ran at that many unclean ends of the host in a row counts as failed. More than
    /// [`ATTEMPTS_KEPT`](crate::store::ATTEMPTS_KEPT) count as so many.
    pub max_cut_offs: u32,
    /// At how many unclean ends of the host in a row a turn of an instance may have been running before it is stuck.
    pub max_unclean_ends: u32,
    /// Most bytes of events that nobody has taken, in memory for each active instance; the others stay in the store.
    pub known_event_bytes: usize,
    /// Most bytes of messages that are on their way to one active instance; the others stay in the store.
    pub mailbox_bytes: usize,
    /// Limits on new turns.
    pub turn_limits: TurnLimits,
    /// Limits that executions which start now may observe.
    pub observable: ObservableLimits,
    /// Threads for guests, apart from those that serve HTTP and the store.
    pub guest_threads: usize,
    /// How long a stop waits for turns and attempts.
    pub stop_timeout: Duration,
}

/// What the engine is built on.
pub struct EngineParts {
    /// Where everything is kept.
    pub store: Store,
    /// What runs guests.
    pub sandbox: Sandbox,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What was running is noted here.
    pub recorder: FlightRecorder,
    /// What the last host left there.
    pub flights: Vec<flight_recorder::Flight>,
    /// What secrets are sealed with.
    pub vault: Vault,
}

/// What the engine's core is built on: everything that a simulation brings itself.
struct CoreParts {
    store: Store,
    tenancy: Tenancy,
    guests: Arc<dyn Guests>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    recorder: FlightRecorder,
    flights: Vec<flight_recorder::Flight>,
    /// Where owners and attempts run.
    runtime: tokio::runtime::Handle,
}

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The threads for guests could not be made.
    #[error("the threads for guests could not be started")]
    Threads(#[source] std::io::Error),
}

/// The running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    store: Store,
    tenancy: Tenancy,
    guests: Arc<dyn Guests>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    owners: Owners,
    timers: Timers,
    waiters: Waiters,
    stats: Arc<EngineStats>,
    observable: ObservableLimits,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    stop_timeout: Duration,
    max_queued: usize,
    /// The last host ended uncleanly in the first turn of an instance that was not stored yet. Whoever started it may well
    /// try again; then it must be there to be counted.
    cautious: bool,
    threads: std::sync::Mutex<Option<GuestThreads>>,
}

/// The threads for guests. They end in the background: an engine may be dropped inside a runtime, where waiting for
/// another runtime would panic.
struct GuestThreads(Option<tokio::runtime::Runtime>);

impl Drop for GuestThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            hot_guests: 1_000,
            hot_idle: Duration::from_secs(10),
            activity_slots: 64,
            max_queued: 20_000,
            max_cut_offs: 3,
            max_unclean_ends: 3,
            known_event_bytes: KNOWN_EVENT_BYTES,
            mailbox_bytes: mailbox::MAILBOX_BYTES,
            turn_limits: TurnLimits::default(),
            observable: ObservableLimits {
                memory_bytes: 64 << 20,
                payload_bytes: 1 << 20,
            },
            guest_threads: std::thread::available_parallelism().map_or(2, usize::from).max(2),
            stop_timeout: Duration::from_secs(5),
        }
    }
}

impl Engine {
    /// Starts the engine and takes up what the last host left. When it returns, requests can be served.
    ///
    /// # Errors
    /// When the store fails or threads cannot be made.
    pub async fn start_up(parts: EngineParts, options: EngineOptions) -> Result<Self, EngineError> {
        let EngineParts {
            store,
            sandbox,
            clock,
            recorder,
            flights,
            vault,
        } = parts;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.guest_threads)
            .thread_name("windlass-guest")
            .enable_all()
            .build()
            .map_err(EngineError::Threads)?;
        let handle = runtime.handle().clone();
        let threads = GuestThreads(Some(runtime));
        let entropy = Arc::new(SystemEntropy);
        let tenancy = Tenancy::open(store.clone(), clock.clone(), entropy.clone(), vault).await?;
        let core = CoreParts {
            tenancy,
            guests: Arc::new(Catalogue::open(store.clone(), sandbox, clock.clone()).await?),
            store,
            clock,
            entropy,
            recorder,
            flights,
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
            clock,
            entropy,
            recorder,
            flights,
            runtime,
        } = parts;
        let stats = Arc::new(EngineStats::default());
        let ends = recovery::UncleanEnds {
            flights: &flights,
            max_in_a_row: options.max_unclean_ends,
            max_cut_offs: options.max_cut_offs,
            now: clock.now(),
        };
        let cautious = recovery::note_flights(&store, &recorder, &stats, ends).await?;
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let slots = Slots::new(options.activity_slots, clock.clone());
        let suspects = Suspects::default();
        let gate = Gate::new(options.guest_threads, clock.clone(), &runtime);
        tenancy.tell(shares::Follower {
            gate: gate.clone(),
            slots: slots.clone(),
            guests: guests.clone(),
        });
        let activities = Activities::new(ActivitiesParts {
            store: store.clone(),
            guests: guests.clone(),
            clock: clock.clone(),
            tenancy: tenancy.clone(),
            recorder: recorder.clone(),
            stats: stats.clone(),
            slots: slots.clone(),
            gate: gate.clone(),
            suspects: suspects.clone(),
            runtime: runtime.clone(),
            tracker: tracker.clone(),
        });
        let (timers, waiters) = (Timers::new(), Waiters::default());
        let held_tenants = HeldTenants::new(tenancy.clone());
        let shared = Arc::new(Shared {
            store: store.clone(),
            tenancy: tenancy.clone(),
            guests: guests.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            recorder,
            stats: stats.clone(),
            activities,
            gate,
            timers: timers.clone(),
            held_tenants: held_tenants.clone(),
            waiters: waiters.clone(),
            hot_instances: hot_instances::HotInstances::default(),
            loading: Semaphore::new(LOADING_AT_ONCE),
            runtime,
            tracker: tracker.clone(),
            shutdown: shutdown.clone(),
            hot_cap: options.hot_guests,
            hot_idle: options.hot_idle,
            turn_limits: options.turn_limits,
            known_event_bytes: options.known_event_bytes,
            observable: options.observable,
        });
        let mailboxes = mailbox::Budget::new(options.mailbox_bytes, mailbox::ALL_BYTES);
        let owners = Owners::new(shared, mailboxes, owner_loop::spawn);
        let woken = recovery::wake(&store, &owners).await?;
        if woken > 0 {
            tracing::info!(instances = woken, "resumed instances of the previous run");
        }
        tracker.spawn(timers.clone().run(
            owners.clone(),
            store.clone(),
            held_tenants.clone(),
            clock.clone(),
            shutdown.clone(),
        ));
        tracker.spawn(held_tenants.run(
            owners.clone(),
            store.clone(),
            timers.clone(),
            clock.clone(),
            shutdown.clone(),
        ));
        tracker.spawn(slots.run(shutdown.clone()));
        tracker.spawn(suspects.admit_more(shutdown.clone()));
        tracker.spawn(sweeper::run(store.clone(), clock.clone(), shutdown.clone()));
        Ok(Self(Arc::new(Inner {
            store,
            tenancy,
            guests,
            clock,
            entropy,
            owners,
            timers,
            waiters,
            stats,
            observable: options.observable,
            shutdown,
            tracker,
            stop_timeout: options.stop_timeout,
            max_queued: options.max_queued,
            cautious,
            threads: std::sync::Mutex::new(threads),
        })))
    }

    /// Stops: turns under way are finished and written, attempts are dropped and run again at the next start.
    pub async fn stop(&self) {
        self.0.owners.shared().recorder.close();
        self.0.shutdown.cancel();
        self.0.owners.shared().activities.stop();
        self.0.tracker.close();
        if tokio::time::timeout(self.0.stop_timeout, self.0.tracker.wait())
            .await
            .is_err()
        {
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

    /// The store, for queries.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The tenants and keys of the host.
    pub fn tenancy(&self) -> &Tenancy {
        &self.0.tenancy
    }

    /// How many instances are being worked on or kept hot.
    pub fn active_instances(&self) -> usize {
        self.0.owners.active()
    }

    /// What was counted since the host started.
    pub fn stats(&self) -> &EngineStats {
        &self.0.stats
    }

    /// How many activity calls run, wait for a slot, or wait for their next attempt.
    pub fn activity_calls(&self) -> usize {
        self.0.owners.shared().activities.count()
    }

    /// What was done with the connections of activities.
    pub fn connections(&self) -> ConnectionCounts {
        self.0.guests.connections()
    }

    /// How many wake-ups are in memory: those up to the horizon, not all.
    pub fn timers_in_memory(&self) -> usize {
        self.0.timers.in_memory()
    }

    /// Whether the store can be written. (The engine itself is ready once [`Self::start_up`] has returned.)
    ///
    /// # Errors
    /// When it cannot.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.0.store.probe().await
    }
}
