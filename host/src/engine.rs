//! The engine: carries every instance to its end.
//!
//! An active instance has one [`owner`], a pure state machine that says what to make durable; the loop in [`task`] does
//! it. [`hub`] knows the owners, [`activities`] the attempts under way, [`timers`] who sleeps, [`catalogue`] the modules
//! and functions, [`recovery`] what the last host left. The engine is the only place that sees both the store and the
//! sandbox; it knows nothing of HTTP.

pub mod activities;
pub mod api;
pub mod catalogue;
pub mod flight_recorder;
pub mod guests;
pub mod hub;
pub mod owner;
pub mod verify;

mod heat;
mod outbox;
mod recorded;
mod recovery;
mod stats;
mod sweeper;
mod task;
mod timers;
mod waiters;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::api::{
    Message, MessageError, PurgeError, PutModuleError, StartAnswer, StartError, StartRequest, StoredModule,
};
pub use self::stats::{AttemptStats, EngineStats};
pub use self::waiters::{End, Waiter};
use self::{
    activities::{Activities, ActivitiesParts},
    catalogue::Catalogue,
    flight_recorder::FlightRecorder,
    guests::Guests,
    hub::{Claim, Hub, Mail, Newborn, RaisedEvent, Taken},
    task::Shared,
    timers::Timers,
    waiters::Waiters,
};
use crate::clock::Clock;
use crate::entropy::{Entropy, SystemEntropy};
use crate::model::{
    Event, ExecutionNumber, InboxItem, InstanceId, InstanceNumber, InstanceStatus, ObservableLimits, Started, TenantId,
    Timestamp,
};
use crate::replay::TurnLimits;
use crate::sandbox::Sandbox;
use crate::store::{
    AppendOutcome, Birth, Error as StoreError, IdempotencyKey, InboxAppend, NewInstance, PurgeMany, PurgeOutcome,
    StartOutcome, Store, TurnCommit,
};

/// How many instances are loaded from the store at once.
const LOADING_AT_ONCE: usize = 64;

/// How long a client waits for a turn that would store its request along with its own row. After that the request is
/// stored by itself.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many instances are purged in one transaction.
const PURGED_AT_ONCE: u32 = 500;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Most guests kept in memory between turns; 0 replays every turn.
    pub hot_guests: usize,
    /// How long an idle guest is kept.
    pub hot_idle: Duration,
    /// Attempts of activities that run at once.
    pub activity_slots: usize,
    /// New instances are refused while that many activity calls run or wait.
    pub max_queued: usize,
    /// How often in a row the end of the host may cut a call off before it fails as poisonous.
    pub max_cut_offs: u32,
    /// At how many unclean ends of the host in a row a turn of an instance may have been running before it is stuck.
    pub max_unclean_ends: u32,
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
}

/// What the engine's core is built on: everything that a simulation brings itself.
struct CoreParts {
    store: Store,
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
    guests: Arc<dyn Guests>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    hub: Hub,
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
        } = parts;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.guest_threads)
            .thread_name("windlass-guest")
            .enable_all()
            .build()
            .map_err(EngineError::Threads)?;
        let handle = runtime.handle().clone();
        let threads = GuestThreads(Some(runtime));
        let core = CoreParts {
            guests: Arc::new(Catalogue::open(store.clone(), sandbox, clock.clone()).await?),
            store,
            clock,
            entropy: Arc::new(SystemEntropy),
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
            now: clock.now(),
        };
        let cautious = recovery::note_flights(&store, &recorder, &stats, ends).await?;
        let (shutdown, tracker) = (CancellationToken::new(), TaskTracker::new());
        let activities = Activities::new(ActivitiesParts {
            store: store.clone(),
            guests: guests.clone(),
            clock: clock.clone(),
            recorder: recorder.clone(),
            stats: stats.clone(),
            slots: options.activity_slots,
            max_cut_offs: options.max_cut_offs,
            runtime: runtime.clone(),
            tracker: tracker.clone(),
        });
        let (timers, waiters) = (Timers::new(), Waiters::default());
        let hub = Hub::new(Arc::new(Shared {
            store: store.clone(),
            guests: guests.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            recorder,
            stats: stats.clone(),
            activities,
            timers: timers.clone(),
            waiters: waiters.clone(),
            heat: heat::Heat::default(),
            loading: Semaphore::new(LOADING_AT_ONCE),
            runtime,
            tracker: tracker.clone(),
            shutdown: shutdown.clone(),
            hot_cap: options.hot_guests,
            hot_idle: options.hot_idle,
            turn_limits: options.turn_limits,
            observable: options.observable,
        }));
        let woken = recovery::wake(&store, &hub).await?;
        if woken > 0 {
            tracing::info!(instances = woken, "took up what the last host left");
        }
        tracker.spawn(
            timers
                .clone()
                .run(hub.clone(), store.clone(), clock.clone(), shutdown.clone()),
        );
        tracker.spawn(sweeper::run(store.clone(), clock.clone(), shutdown.clone()));
        Ok(Self(Arc::new(Inner {
            store,
            guests,
            clock,
            entropy,
            hub,
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
        self.0.shutdown.cancel();
        self.0.hub.shared().activities.stop();
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

    /// Longest payload, in bytes.
    pub fn payload_limit(&self) -> usize {
        usize::try_from(self.0.observable.payload_bytes).unwrap_or(usize::MAX)
    }

    /// How many instances are being worked on or kept hot.
    pub fn active_instances(&self) -> usize {
        self.0.hub.active()
    }

    /// What was counted since the host started.
    pub fn stats(&self) -> &EngineStats {
        &self.0.stats
    }

    /// How many activity calls run, wait for a slot, or wait for their next attempt.
    pub fn activity_calls(&self) -> usize {
        self.0.hub.shared().activities.count()
    }

    /// How many wake-ups are in memory: those up to the horizon, not all.
    pub fn timers_in_memory(&self) -> usize {
        self.0.timers.in_memory()
    }

    /// Starts an orchestration. When this returns, it is durable.
    ///
    /// # Errors
    /// Why it was refused; then nothing was started.
    pub async fn start(&self, request: StartRequest) -> Result<StartAnswer, StartError> {
        let StartRequest {
            tenant,
            function,
            input,
            instance_id,
            idempotency,
            watch,
        } = request;
        if self.0.hub.shared().activities.count() >= self.0.max_queued {
            return Err(StartError::Overloaded);
        }
        let module = self.0.guests.to_start(tenant, &function, &input)?;
        let id = match instance_id {
            Some(id) => id,
            None => drawn_id(self.0.clock.now(), &*self.0.entropy),
        };
        let instance = NewInstance {
            tenant,
            id: id.clone(),
            module,
            started: Started {
                execution: ExecutionNumber::FIRST,
                function,
                input,
                seed: self.0.entropy.seed(),
                limits: self.0.observable,
                parent: None,
                events: Vec::new(),
                not_before: None,
            },
            created_at: self.0.clock.now(),
        };
        let number = self.0.store.new_number();
        let end = watch.then(|| self.0.waiters.register(number));
        let birth = Birth {
            instance,
            key: idempotency,
        };
        match self.bear(number, birth).await? {
            StartOutcome::Created(_) => {
                self.0.stats.started_by_clients.increment();
                Ok(StartAnswer {
                    instance_id: id,
                    repeated: false,
                    end,
                })
            }
            StartOutcome::Repeated(instance_id) => Ok(StartAnswer {
                instance_id,
                repeated: true,
                end: None,
            }),
            StartOutcome::AlreadyExists(status) => Err(StartError::AlreadyExists(status)),
            StartOutcome::KeyReused => Err(StartError::KeyReused),
        }
    }

    /// Creates an instance: with its first turn, or without it if that takes long or may be dangerous.
    async fn bear(&self, number: InstanceNumber, birth: Birth) -> Result<StartOutcome, StoreError> {
        let (reply, mut answer) = oneshot::channel();
        let newborn = Newborn {
            birth: birth.clone(),
            reply,
            turn_later: self.0.cautious,
            claim: Claim::default(),
        };
        let claim = newborn.claim.clone();
        self.0.hub.bear(number, newborn);
        if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut answer).await {
            return answer.map_err(|_| StoreError::Closed)?;
        }
        // Either its owner has not begun, and need not any more, or it has and will find the instance stored. In a task of
        // its own: a client who goes away in between must not leave an instance behind that nobody wakes.
        claim.take();
        let (store, hub) = (self.0.store.clone(), self.0.hub.clone());
        let stored = self.0.tracker.spawn(async move {
            let created = store.commit(TurnCommit::of_birth(number, birth)).await?;
            if let Some(refused) = created.refused {
                return Ok(refused);
            }
            // Also if the owner has begun: it may have failed, and looked for the instance too early.
            hub.deliver(number, Mail::Wake);
            Ok(StartOutcome::Created(number))
        });
        stored.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Raises an event for an instance, or controls it. When this returns, it is durable.
    ///
    /// # Errors
    /// Why it was refused; then nothing was delivered.
    pub async fn send(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        message: Message,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<(), MessageError> {
        let item = match message {
            Message::Event(event) if idempotency.is_none() => {
                match self.raise(tenant, id, event.clone()).await? {
                    Taken::Yes => return Ok(()),
                    Taken::Failed(error) => return Err(error.into()),
                    // Nobody took it. The store says why, or keeps it for whoever has the id now.
                    Taken::No => InboxItem::Event(event),
                }
            }
            Message::Event(event) => InboxItem::Event(event),
            Message::Terminate { reason } => InboxItem::Terminate { reason },
            Message::Suspend { reason } => InboxItem::Suspend { reason },
            Message::Resume { reason } => InboxItem::Resume { reason },
        };
        let append = InboxAppend {
            tenant,
            id: id.clone(),
            item,
            at: self.0.clock.now(),
        };
        match self.append(append, idempotency).await? {
            AppendOutcome::Appended(..) | AppendOutcome::Repeated => Ok(()),
            AppendOutcome::Unknown => Err(MessageError::Unknown),
            AppendOutcome::Ended(status) => Err(MessageError::Ended(status)),
            AppendOutcome::KeyReused => Err(MessageError::KeyReused),
        }
    }

    /// Appends a message and tells the owner of the instance. In a task of its own: a client who goes away in between must
    /// not leave a message behind that nobody knows of.
    async fn append(&self, append: InboxAppend, key: Option<IdempotencyKey>) -> Result<AppendOutcome, StoreError> {
        let (store, hub) = (self.0.store.clone(), self.0.hub.clone());
        let appended = self.0.tracker.spawn(async move {
            let outcome = store.append(append, key).await?;
            if let AppendOutcome::Appended(number, row) = &outcome {
                hub.deliver(*number, Mail::Inbox(row.clone()));
            }
            Ok(outcome)
        });
        appended.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Gives an event to the owner of the instance, so that it is stored by the turn that takes it.
    async fn raise(&self, tenant: TenantId, id: &InstanceId, event: Event) -> Result<Taken, StoreError> {
        let Some(number) = self.0.store.tenant(tenant).number(id).await? else {
            return Ok(Taken::No);
        };
        let (raised, claim, mut taken) = RaisedEvent::new(event);
        self.0.hub.deliver(number, Mail::Event(raised));
        let taken = match tokio::time::timeout(PATIENCE, &mut taken).await {
            Ok(taken) => taken,
            // The owner is busy with something else and has not looked at it: it is stored for later.
            Err(_) if claim.take() => return Ok(Taken::No),
            Err(_) => taken.await,
        };
        taken.map_err(|_| StoreError::Closed)
    }

    /// Deletes an instance that has ended, with its history and log.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn purge(&self, tenant: TenantId, id: &InstanceId) -> Result<(), PurgeError> {
        match self.0.store.purge(tenant, id.clone()).await? {
            PurgeOutcome::Purged => Ok(()),
            PurgeOutcome::Unknown => Err(PurgeError::Unknown),
            PurgeOutcome::NotEnded(status) => Err(PurgeError::NotEnded(status)),
        }
    }

    /// Deletes all instances that are in one of those ended states and ended before that time; says how many.
    ///
    /// # Errors
    /// When the store fails; what was deleted by then stays deleted.
    pub async fn purge_many(
        &self,
        tenant: TenantId,
        ended_before: Timestamp,
        statuses: Vec<InstanceStatus>,
    ) -> Result<u64, StoreError> {
        let (mut after, mut purged) = (None, 0);
        loop {
            let piece = PurgeMany {
                tenant,
                statuses: statuses.clone(),
                ended_before,
                after,
                limit: PURGED_AT_ONCE,
            };
            let done = self.0.store.purge_many(piece).await?;
            purged += done.purged;
            after = done.next;
            if after.is_none() {
                return Ok(purged);
            }
        }
    }

    /// Takes in a module and makes it the current version of its name.
    ///
    /// # Errors
    /// Why it was refused; what was there before stays.
    pub async fn put_module(&self, tenant: TenantId, name: &str, bytes: Bytes) -> Result<StoredModule, PutModuleError> {
        self.0.guests.put(tenant, name, bytes).await
    }

    /// Takes a module's name and functions away; says whether it was there. What runs on it goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_module(&self, tenant: TenantId, name: &str) -> Result<bool, StoreError> {
        self.0.guests.delete(tenant, name).await
    }

    /// Returns when the instance has ended or there is none of that id, or after the timeout.
    pub async fn wait_for_end(&self, tenant: TenantId, id: &InstanceId, timeout: Duration) {
        let ended = tokio::time::timeout(timeout, self.ended(tenant, id)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(instance_id = %id, %error, "could not look whether an instance has ended");
        }
    }

    async fn ended(&self, tenant: TenantId, id: &InstanceId) -> Result<(), StoreError> {
        let Some(number) = self.0.store.tenant(tenant).number(id).await? else {
            return Ok(());
        };
        loop {
            let waiter = self.0.waiters.register(number);
            let summary = self.0.store.tenant(tenant).summary(id).await?;
            if summary.is_none_or(|summary| summary.number != number || summary.status.has_ended()) {
                return Ok(());
            }
            waiter.end().await;
        }
    }

    /// Whether the store can be written. (The engine itself is ready once [`Self::start_up`] has returned.)
    ///
    /// # Errors
    /// When it cannot.
    pub async fn ready(&self) -> Result<(), StoreError> {
        // An empty piece of the regular clean-up is a transaction like any other.
        self.0.store.sweep(self.0.clock.now(), 1).await.map(|_| ())
    }
}

/// A new id: a UUID of version 7 (RFC 9562), which begins with the time, so that ids drawn one after the other are
/// neighbours in the index of ids and share its pages.
fn drawn_id(now: Timestamp, entropy: &dyn Entropy) -> InstanceId {
    let mut bytes = [0; 10];
    entropy.fill(&mut bytes);
    let uuid = uuid::Builder::from_unix_timestamp_millis(now.0, &bytes).into_uuid();
    let id = uuid.simple().to_string();
    id.parse().expect("a UUID is a valid instance id")
}
