//! [`Orchestration`]: the API of an orchestration.
//!
//! A thin, typed layer over the [`Backend`](crate::backend::Backend): each method encodes its arguments, calls the host,
//! and returns a future. Calls reach the host once their options are known. The [`executor`](crate::executor) drives the
//! futures.

pub(crate) mod call;
pub(crate) mod cancellation;
pub(crate) mod event;
pub(crate) mod lock;
pub(crate) mod start;
pub(crate) mod task;
pub(crate) mod timer;

use std::fmt;
use std::future::IntoFuture;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::HistorySize;
use crate::entity::address::{EntityAddress, EntitySet};
use crate::entity::client::EntityClient;
use crate::event_declaration::{EventName, check_wait};
use crate::executor::Core;
use crate::failure::{Failure, Result};
use crate::failure_types;
use crate::function::{ActivitySignature, OrchestrationSignature};
use crate::instance_id::InstanceId;
use crate::logging::Level;
use crate::payload::encode;
use crate::time::Timestamp;
use crate::uuid::Uuid;
use call::{Call, SubCall};
use cancellation::{Cancellation, Cancelled};
use event::EventWait;
use lock::LockWait;
use start::Start;
use timer::{Elapsed, Sleep};

/// The maximum length of the name of a patch, in bytes, as on the host.
const MAX_PATCH_NAME_BYTES: usize = 256;

/// The context of a running orchestration. Cheap to clone; all clones refer to the same execution.
///
/// The results of its methods are recorded, and replay returns the recorded ones. Ordinary `std` is replay-safe as well:
/// `SystemTime::now()` is the time of the turn, `HashMap` and `rand` are seeded per execution, `thread::sleep` is a
/// durable timer (which blocks all branches), `println!` is a log line that replay does not repeat.
#[derive(Clone)]
pub struct Orchestration {
    core: Rc<Core>,
}

impl Orchestration {
    pub(crate) fn new(core: Rc<Core>) -> Self {
        Self { core }
    }

    /// Calls an activity, with the input and output types of its signature.
    ///
    /// The activity runs at least once, and its outcome arrives exactly once. The call is made when it is awaited, or by
    /// [`start`](Call::start), which lets it run concurrently.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
    /// # #[activity] fn ship(article: String) -> Result<()> { Ok(()) }
    /// #[orchestrator]
    /// async fn order_processing(ctx: Orchestration, articles: Vec<String>) -> Result<()> {
    ///     let receipt = ctx
    ///         .call(charge, &995)
    ///         .retry(Retry::exponential(secs(5)).max_attempts(4).non_retryable("PaymentDeclined"))
    ///         .attempt_timeout(secs(30))
    ///         .timeout(mins(10))
    ///         .await?;
    ///     info!("paid: {receipt}");
    ///
    ///     try_join_all(articles.iter().map(|article| ctx.call(ship, article))).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// An input of another type does not compile, and neither does a call of something that is not an activity:
    ///
    /// ```compile_fail,E0308
    /// # use windlass_sdk::prelude::*;
    /// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// ctx.call(charge, &"995").await?;
    /// # Ok(()) }
    /// ```
    /// ```compile_fail,E0277
    /// # use windlass_sdk::prelude::*;
    /// # #[orchestrator] async fn billing(cents: u64) -> Result<String> { Ok(cents.to_string()) }
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// ctx.call(billing, &995).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The future returns the activity's failure, `windlass.timeout`, `windlass.cancelled`, or another failure of the
    /// host; `InvalidPayload` if the input cannot be written as JSON or the output does not match its Rust type.
    pub fn call<A: ActivitySignature>(&self, activity: A, input: &A::Input) -> Call<A::Output> {
        let _ = activity;
        self.call_named(A::NAME, input)
    }

    /// Calls an activity by its name.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// let total: u64 = ctx.call_named("SumActivity", &[1, 2, 3]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_named<T: DeserializeOwned>(&self, name: &str, input: &(impl Serialize + ?Sized)) -> Call<T> {
        Call::new(&self.core, name, encode("the input cannot be written", input))
    }

    /// Calls a sub-orchestration. As with [`call`](Self::call), the call is made when it is awaited or
    /// [started](SubCall::start).
    ///
    /// # Errors
    /// The future returns the child's failure, `windlass.timeout`, `windlass.cancelled`, or another failure of the
    /// host; `InvalidPayload` if the input cannot be written as JSON or the output does not match its Rust type.
    pub fn sub_orchestration<O: OrchestrationSignature>(
        &self,
        orchestration: O,
        input: &O::Input,
    ) -> SubCall<O::Output> {
        let _ = orchestration;
        self.sub_orchestration_named(O::NAME, input)
    }

    /// Calls a sub-orchestration by its name.
    ///
    /// # Errors
    /// As [`sub_orchestration`](Self::sub_orchestration).
    pub fn sub_orchestration_named<T: DeserializeOwned>(
        &self,
        name: &str,
        input: &(impl Serialize + ?Sized),
    ) -> SubCall<T> {
        SubCall::new(&self.core, name, encode("the input cannot be written", input))
    }

    /// Prepares the start of an independent orchestration, which this one does not await. [`send`](Start::send) starts it
    /// and returns its id.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # #[orchestrator] async fn ship(order_id: String) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Orchestration, order_id: String) -> Result<()> {
    /// ctx.start(ship, &order_id).id("shipment-1").send();
    /// # Ok(()) }
    /// ```
    pub fn start<O: OrchestrationSignature>(&self, orchestration: O, input: &O::Input) -> Start {
        let _ = orchestration;
        self.start_named(O::NAME, input)
    }

    /// Like [`start`](Self::start), by the name of the orchestration.
    pub fn start_named(&self, name: &str, input: &(impl Serialize + ?Sized)) -> Start {
        Start::new(self.core.clone(), name, encode("the input cannot be written", input))
    }

    /// An entity that this orchestration calls and signals, given by its type and key or by an
    /// [`EntityId`](crate::EntityId).
    ///
    /// A call is made when it is awaited or [started](crate::EntityCall::start). Operations that this instance sends to one
    /// entity are applied in the order in which it sends them.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # windlass_sdk::signatures! { #[entity] trait Account { fn deposit(cents: i64) -> i64; } }
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// let balance = ctx.entity(Account::at("ada")).deposit(&500).await?;
    /// ctx.entity(Account::at("ada")).signal().deposit(&500);
    /// ctx.entity(Account::at("ada")).signal().after(days(30)).deposit(&500);
    ///
    /// let balance: i64 = ctx.entity(EntityId::new("Account", "ada")).call("deposit", &500).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// An operation that the entity does not have, or an input of another type, does not compile:
    ///
    /// ```compile_fail,E0599
    /// # use windlass_sdk::prelude::*;
    /// # windlass_sdk::signatures! { #[entity] trait Account { fn deposit(cents: i64) -> i64; } }
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// ctx.entity(Account::at("ada")).withdraw(&500).await?;
    /// # Ok(()) }
    /// ```
    /// ```compile_fail,E0308
    /// # use windlass_sdk::prelude::*;
    /// # windlass_sdk::signatures! { #[entity] trait Account { fn deposit(cents: i64) -> i64; } }
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// ctx.entity(Account::at("ada")).deposit(&"500").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// A signal without an operation is a warning:
    ///
    /// ```compile_fail
    /// # #![deny(unused_must_use)]
    /// # use windlass_sdk::prelude::*;
    /// # windlass_sdk::signatures! { #[entity] trait Account { fn deposit(cents: i64) -> i64; } }
    /// # fn example(ctx: Orchestration) {
    /// ctx.entity(Account::at("ada")).signal();
    /// # }
    /// ```
    pub fn entity<A: EntityAddress>(&self, entity: A) -> EntityClient<A::Entity> {
        EntityClient::new(self.core.clone(), entity.into_id())
    }

    /// Locks entities, one or several: waits until no other operation of theirs runs and nobody else has locked them, and
    /// keeps others out until the [`CriticalSection`](crate::CriticalSection) is dropped.
    ///
    /// The host locks in one order, whatever the order here, so that two orchestrations never wait for each other. In a
    /// critical section, an orchestration calls entities that it has locked, one call of each at a time. It cannot call
    /// others (`windlass.not-locked`), call sub-orchestrations (`windlass.in-critical-section`), or lock again
    /// (`windlass.locked-already`); a signal to an entity that it has locked is refused. Activities, timers, events and
    /// signals to other entities work as usual.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # windlass_sdk::signatures! {
    /// #     #[entity] trait Account { fn withdraw(cents: i64) -> Result<()>; fn deposit(cents: i64); }
    /// #     #[entity] trait Ledger { fn record(line: String); }
    /// # }
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// let both = ctx.lock([Account::at("ada"), Account::at("bob")]).await?;
    /// ctx.entity(Account::at("ada")).withdraw(&500).await?;
    /// ctx.entity(Account::at("bob")).deposit(&500).await?;
    /// drop(both);
    ///
    /// let _section = ctx.lock((Account::at("ada"), Ledger::at("2026"))).await?; // of different types
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The future returns `windlass.locked-already` in a critical section, `windlass.invalid-argument` for no entities,
    /// `windlass.unknown-function` if one is unknown, and `windlass.limit` for too many.
    pub fn lock(&self, entities: impl EntitySet) -> LockWait {
        LockWait::new(&self.core, entities.into_ids())
    }

    /// Waits for one external event: one that is declared with [`signatures!`](crate::signatures!), or any event by its
    /// name. Names are case-insensitive.
    ///
    /// The host buffers events that arrive early, and serves waits for the same name in the order they were made.
    /// Dropping the wait withdraws it and loses no event.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// windlass_sdk::signatures! {
    ///     #[event]
    ///     fn approval(approved: bool);
    /// }
    ///
    /// #[orchestrator(events(approval))]
    /// async fn purchase(ctx: Orchestration, request: String) -> Result<bool> {
    ///     select! {
    ///         approved = ctx.event(approval) => approved,
    ///         reason = ctx.event::<String>("withdrawn") => Err(Failure::new("Withdrawn", reason?)),
    ///         () = ctx.sleep(hours(72)) => Ok(false),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// The future returns `InvalidPayload` if the event is not a `T`. If the orchestration [declares] the event, the host
    /// rejects such an event when it is raised instead. If the event is declared with a type other than `T`, the
    /// orchestration fails with `EventTypeMismatch`.
    ///
    /// [declares]: macro@crate::orchestrator
    pub fn event<T: DeserializeOwned + 'static>(&self, event: impl EventName<T>) -> EventWait<T> {
        let name = event.name();
        if let Err(failure) = check_wait::<T>(self.core.events, name) {
            self.core.break_with(failure);
        }
        EventWait::new(&self.core, name)
    }

    /// Waits until somebody asks this instance to cancel itself, with `windlass cancel` for example.
    ///
    /// The code decides what follows: it may clean up, and ends as it likes. If it fails with the request (or with
    /// another failure of the type `windlass.cancelled`), the instance is shown as `Canceled` instead of `Failed`. Code
    /// that never looks at the request goes on. A request stays: it completes every wait, also of a later execution, and
    /// of several requests the first counts. Activities and sub-orchestrations are not cancelled with the instance.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::testing::World;
    /// # #[activity] fn book_hotel(city: String) -> Result<()> { Ok(()) }
    /// # #[activity] fn cancel_hotel(city: String) -> Result<()> { Ok(()) }
    /// #[orchestrator]
    /// async fn trip(ctx: Orchestration, city: String) -> Result<()> {
    ///     ctx.call(book_hotel, &city).await?;
    ///     select! {
    ///         () = ctx.sleep(days(30)) => Ok(()),
    ///         cancellation = ctx.cancelled() => {
    ///             ctx.call(cancel_hotel, &city).await?;
    ///             Err(cancellation.into())
    ///         }
    ///     }
    /// }
    ///
    /// let run = World::new()
    ///     .activity(book_hotel, |_| Ok(()))
    ///     .activity(cancel_hotel, |_| Ok(()))
    ///     .cancel(days(2), "no time")
    ///     .run(trip, &"Lisbon".into());
    /// assert!(run.failure().is(failure_types::CANCELLED));
    /// assert_eq!(run.called_names(), ["book_hotel", "cancel_hotel"]);
    /// ```
    pub fn cancelled(&self) -> Cancelled {
        Cancelled::new(&self.core)
    }

    /// The request to cancel this instance, if one has arrived. It does not change between two waits.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # #[activity] fn send(letter: String) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Orchestration, letters: Vec<String>) -> Result<()> {
    /// for letter in &letters {
    ///     if let Some(cancellation) = ctx.cancellation_requested() {
    ///         return Err(cancellation.into());
    ///     }
    ///     ctx.call(send, letter).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn cancellation_requested(&self) -> Option<Cancellation> {
        self.core.host().cancellation_requested().map(Cancellation::new)
    }

    /// Whether a change of this code applies to this execution. For code that instances of an older version may go on
    /// with, after they were moved to this one.
    ///
    /// True if the execution comes to this point for the first time; the history gets a marker, and replay returns true as
    /// well. False if the execution passed this point before, with the code before the change. The first answer for a
    /// name stays until the end of the execution. Names have 1 to 256 bytes, and an execution has at most 256 of them.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
    /// # #[activity] fn check_fraud(cents: u64) -> Result<()> { Ok(()) }
    /// #[orchestrator]
    /// async fn purchase(ctx: Orchestration, cents: u64) -> Result<String> {
    ///     if ctx.patched("check-fraud") {
    ///         ctx.call(check_fraud, &cents).await?; // new
    ///     }
    ///     ctx.call(charge, &cents).await
    /// }
    /// ```
    ///
    /// Once no instance of the old code is left, only the new branch stays, and [`deprecate_patch`](Self::deprecate_patch)
    /// in the place of this call. [`World::without_patch`](crate::testing::World::without_patch) tests the old branch.
    pub fn patched(&self, name: &str) -> bool {
        self.checks_patch(name) && self.core.host().patched(name)
    }

    /// Retires a [patch](Self::patched): the code has no old branch any more. Call it where `patched` was called, or
    /// earlier. It can be removed when no instance is left whose history has the marker of `patched`.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
    /// # #[activity] fn check_fraud(cents: u64) -> Result<()> { Ok(()) }
    /// #[orchestrator]
    /// async fn purchase(ctx: Orchestration, cents: u64) -> Result<String> {
    ///     ctx.deprecate_patch("check-fraud");
    ///     ctx.call(check_fraud, &cents).await?;
    ///     ctx.call(charge, &cents).await
    /// }
    /// ```
    pub fn deprecate_patch(&self, name: &str) {
        if self.checks_patch(name) {
            self.core.host().deprecate_patch(name);
        }
    }

    /// Fails the execution, like the host, if the name of a patch is not valid.
    fn checks_patch(&self, name: &str) -> bool {
        let is_valid = (1..=MAX_PATCH_NAME_BYTES).contains(&name.len());
        if !is_valid {
            let message = format!("the name of a patch has 1 to {MAX_PATCH_NAME_BYTES} bytes");
            self.core
                .break_with(Failure::new(failure_types::LIMIT, message).non_retryable());
        }
        is_valid
    }

    /// Raises an event for another instance. If that instance does not exist or has ended, the host drops the event
    /// silently. If the event does not match the declaration of that instance, the host drops it and writes a line to
    /// this instance's log.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # windlass_sdk::signatures! { #[event] fn approval(approved: bool); }
    /// # fn example(ctx: Orchestration) {
    /// ctx.send_event("purchase-1", approval, &true);
    /// ctx.send_event("purchase-1", "withdrawn", "no longer needed");
    /// # }
    /// ```
    ///
    /// A declared event with another payload does not compile:
    ///
    /// ```compile_fail
    /// # use windlass_sdk::prelude::*;
    /// # windlass_sdk::signatures! { #[event] fn approval(approved: bool); }
    /// # fn example(ctx: Orchestration) {
    /// ctx.send_event("purchase-1", approval, "yes");
    /// # }
    /// ```
    pub fn send_event<T: Serialize + ?Sized>(
        &self,
        instance_id: impl AsRef<str>,
        event: impl EventName<T>,
        payload: &T,
    ) {
        if let Some(payload) = self.encoded("the event cannot be written", payload) {
            self.core
                .host()
                .send_event(instance_id.as_ref(), event.name(), &payload);
        }
    }

    /// Creates a durable timer that fires after `duration`, counted from now, and at the latest at the end of the year
    /// 9999.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Creates a durable timer that fires at `time`: immediately if that is in the past, and at the latest at the end of
    /// the year 9999. Takes a [`Timestamp`] or a [`SystemTime`](std::time::SystemTime).
    pub fn sleep_until(&self, time: impl Into<Timestamp>) -> Sleep {
        Sleep::new(&self.core, time.into())
    }

    /// Waits for a future or a call for at most `limit`, counted from the first poll. On timeout the future is dropped:
    /// event waits and timers are withdrawn, activities and sub-orchestrations continue.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// match ctx.timeout(hours(72), ctx.event::<String>("approval")).await {
    ///     Ok(decision) => info!("decided: {}", decision?),
    ///     Err(Elapsed) => warn!("no decision after three days"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Elapsed`] on timeout.
    pub async fn timeout<F: IntoFuture>(&self, limit: Duration, future: F) -> std::result::Result<F::Output, Elapsed> {
        match select(pin!(future.into_future()), self.sleep(limit)).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(((), _)) => Err(Elapsed),
        }
    }

    /// Ends this execution and starts the next one under the same instance id, with this input and an empty history.
    /// Events that were not taken stay available to the next execution. Use it in orchestrations that run forever.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # #[activity] fn clean_up() -> Result<u64> { Ok(1) }
    /// #[orchestrator]
    /// async fn periodic_cleanup(ctx: Orchestration, removed: u64) -> Result<()> {
    ///     let removed = removed + ctx.call(clean_up, &()).await?;
    ///     ctx.sleep(hours(1)).await;
    ///     ctx.continue_as_new(&removed)
    /// }
    /// ```
    ///
    /// # Errors
    /// Always. Return the result from the orchestration, as it is or with `?`.
    pub fn continue_as_new<T>(&self, input: &(impl Serialize + ?Sized)) -> Result<T> {
        let input = encode("the input cannot be written", input)?;
        self.core.host().continue_as_new(&input);
        Err(Failure::continue_as_new())
    }

    /// Sets the custom status of the instance, for example a sentence or a structure with progress. Clients see it after
    /// this turn. A value that JSON cannot represent (NaN, for example) fails the orchestration with `InvalidPayload`.
    pub fn set_custom_status(&self, status: impl Serialize) {
        if let Some(status) = self.encoded("the custom status cannot be written", &status) {
            self.core.host().set_custom_status(&status);
        }
    }

    /// The current time, which does not advance between two waits.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_host(self.core.host().now_ms())
    }

    /// A new random UUID. Replay returns the same one.
    pub fn new_uuid(&self) -> Uuid {
        Uuid::from_host(self.core.host().new_uuid())
    }

    /// The id of this instance.
    pub fn instance_id(&self) -> &InstanceId {
        &self.core.info().instance_id
    }

    /// The number of this execution, from 1. Continue-as-new increments it.
    pub fn execution(&self) -> u32 {
        self.core.info().execution
    }

    /// The name of the orchestration function.
    pub fn function(&self) -> &str {
        &self.core.info().function
    }

    /// The instance that started this one as its sub-orchestration, if any.
    pub fn parent_instance_id(&self) -> Option<&InstanceId> {
        self.core.info().parent_instance_id.as_ref()
    }

    /// The size of the history of this execution before this turn. The size of a history is limited, so an
    /// orchestration that runs forever must [continue as new](Self::continue_as_new) from time to time:
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// #[orchestrator]
    /// async fn counter(ctx: Orchestration, mut count: u64) -> Result<()> {
    ///     loop {
    ///         count += ctx.event::<u64>("add").await?;
    ///         if ctx.history().turns >= 1_000 {
    ///             return ctx.continue_as_new(&count);
    ///         }
    ///     }
    /// }
    /// ```
    pub fn history(&self) -> HistorySize {
        self.core.host().history()
    }

    /// The time at which this execution started.
    pub fn started_at(&self) -> Timestamp {
        Timestamp::from_host(self.core.info().started_at_ms)
    }

    /// The maximum size of a payload in bytes. The host refuses longer ones.
    pub fn max_payload_bytes(&self) -> u64 {
        self.core.info().max_payload_bytes
    }

    /// Writes a line to the instance's log, like the macros of `tracing` and `log`. Replay does not repeat it.
    pub fn log(&self, level: Level, message: &str) {
        self.core.host().log(level, message);
    }

    /// Encodes a value for a method that returns no error: if that fails, the execution fails.
    fn encoded(&self, what: &str, value: &(impl Serialize + ?Sized)) -> Option<String> {
        encode(what, value)
            .map_err(|failure| self.core.break_with(failure))
            .ok()
    }
}

impl fmt::Debug for Orchestration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orchestration")
            .field("function", &self.function())
            .field("instance_id", self.instance_id())
            .field("execution", &self.execution())
            .finish_non_exhaustive()
    }
}
