//! [`Orchestration`]: what an orchestration can do.
//!
//! A thin, typed face of the [`Backend`](crate::backend::Backend): each method encodes, asks the host, and hands out
//! a future; calls are asked for once their options are known. How the futures are driven is the [`executor`](crate::executor)'s concern.

pub(crate) mod call;
pub(crate) mod event;
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
use crate::event_declaration::{EventName, check_wait};
use crate::executor::Core;
use crate::failure::{Failure, Result};
use crate::function::{ActivitySignature, OrchestrationSignature};
use crate::instance_id::InstanceId;
use crate::logging::Level;
use crate::payload::encode;
use crate::time::Timestamp;
use crate::uuid::Uuid;
use call::{Call, SubCall};
use event::EventWait;
use start::Start;
use timer::{Elapsed, Sleep};

/// The context of a running orchestration. Clones are cheap and mean the same execution.
///
/// Everything asked of it is recorded and repeated from the record on replay, and ordinary `std` is replay-safe as
/// well: `SystemTime::now()` is the time of the turn, `HashMap` and `rand` are seeded per execution, `thread::sleep`
/// is a durable timer (that holds up all branches), `println!` is a log line that replay does not repeat.
#[derive(Clone)]
pub struct Orchestration {
    core: Rc<Core>,
}

impl Orchestration {
    pub(crate) fn new(core: Rc<Core>) -> Self {
        Self { core }
    }

    /// Calls an activity; input and output are those of its signature.
    ///
    /// It runs at least once and its outcome arrives exactly once. The call is made when it is awaited, or by
    /// [`start`](Call::start), so that it runs beside others.
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
    /// An input of another type is refused by the compiler, and so is what is no activity:
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
    /// The future gives the activity's failure, `windlass.timeout`, `windlass.cancelled`, or another failure of the
    /// host; `InvalidPayload` if an input or output does not fit its Rust type.
    pub fn call<A: ActivitySignature>(&self, activity: A, input: &A::Input) -> Call<A::Output> {
        let _ = activity;
        self.call_named(A::NAME, input)
    }

    /// Calls an activity by the name it is exposed under.
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

    /// Calls a child orchestration. As with [`call`](Self::call), that happens when it is awaited or
    /// [started](SubCall::start).
    ///
    /// # Errors
    /// The future gives the child's failure, `windlass.timeout`, `windlass.cancelled`, or another failure of the
    /// host; `InvalidPayload` if an input or output does not fit its Rust type.
    pub fn sub_orchestration<O: OrchestrationSignature>(
        &self,
        orchestration: O,
        input: &O::Input,
    ) -> SubCall<O::Output> {
        let _ = orchestration;
        self.sub_orchestration_named(O::NAME, input)
    }

    /// Calls a child orchestration by the name it is exposed under.
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

    /// Starts an orchestration that nobody awaits, once it is [sent](Start::send); returns its id.
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

    /// Starts an orchestration that nobody awaits by the name it is exposed under, once it is [sent](Start::send).
    pub fn start_named(&self, name: &str, input: &(impl Serialize + ?Sized)) -> Start {
        Start::new(&self.core, name, encode("the input cannot be written", input))
    }

    /// Waits for one external event: one that is declared with [`signatures!`](crate::signatures!), or any by its name;
    /// letter case does not matter.
    ///
    /// Events that came early are kept, and waits of one name are served in the order they were made. Dropping the
    /// wait withdraws it and loses no event.
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
    /// The future gives `InvalidPayload` if the event is not a `T`. An event that the orchestration [declares] is
    /// refused where it is raised instead. If it is declared as another type than `T`, the orchestration fails with
    /// `EventTypeMismatch`.
    ///
    /// [declares]: macro@crate::orchestrator
    pub fn event<T: DeserializeOwned + 'static>(&self, event: impl EventName<T>) -> EventWait<T> {
        let name = event.name();
        if let Err(failure) = check_wait::<T>(self.core.events, name) {
            self.core.break_with(failure);
        }
        EventWait::new(&self.core, name)
    }

    /// Raises an event for another instance. Dropped silently when there is no such instance or it has ended, and with
    /// a line in this instance's log when it does not fit what the other one declares.
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

    /// A durable timer that fires after that time, counted from here, but not after the year 9999.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// A durable timer that fires at that time, at once if it is in the past, and at the end of the year 9999 if it is
    /// later. Takes a [`Timestamp`] or a
    /// [`SystemTime`](std::time::SystemTime).
    pub fn sleep_until(&self, time: impl Into<Timestamp>) -> Sleep {
        Sleep::new(&self.core, time.into())
    }

    /// Waits for a future or a call, but no longer than that, counted from where this is awaited. What is given up is
    /// dropped: events and timers are withdrawn, activities and sub-orchestrations go on.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// match ctx.timeout(hours(72), ctx.event::<String>("approval")).await {
    ///     Ok(decision) => info!("decided: {}", decision?),
    ///     Err(Elapsed) => warn!("nobody cared"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Elapsed`] when the time is over.
    pub async fn timeout<F: IntoFuture>(&self, limit: Duration, future: F) -> std::result::Result<F::Output, Elapsed> {
        match select(pin!(future.into_future()), self.sleep(limit)).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(((), _)) => Err(Elapsed),
        }
    }

    /// Ends this execution and starts the next one under the same instance id, with this input and an empty history.
    /// Events that were not taken go on waiting. For orchestrations that would never end otherwise.
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
    /// Always: the result is there to be returned, by itself or with `?`.
    pub fn continue_as_new<T>(&self, input: &(impl Serialize + ?Sized)) -> Result<T> {
        let input = encode("the input cannot be written", input)?;
        self.core.host().continue_as_new(&input);
        Err(Failure::continue_as_new())
    }

    /// Shows a value with the instance from the end of this turn on: a sentence, or a structure with progress. A value
    /// that JSON cannot say (NaN, for example) fails the orchestration with `InvalidPayload`.
    pub fn set_custom_status(&self, status: impl Serialize) {
        if let Some(status) = self.encoded("the custom status cannot be written", &status) {
            self.core.host().set_custom_status(&status);
        }
    }

    /// The time of this turn. It stands still between two waits.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_host(self.core.host().now_ms())
    }

    /// A new random UUID, the same again on replay.
    pub fn new_uuid(&self) -> Uuid {
        Uuid::from_host(self.core.host().new_uuid())
    }

    /// The id of this instance.
    pub fn instance_id(&self) -> &InstanceId {
        &self.core.info().instance_id
    }

    /// From 1; continue-as-new counts it up under the same instance id.
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

    /// How long the history of this execution was before this turn. A history may not grow without end, so an
    /// orchestration that goes on for ever [continues as new](Self::continue_as_new) from time to time:
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

    /// When this execution started.
    pub fn started_at(&self) -> Timestamp {
        Timestamp::from_host(self.core.info().started_at_ms)
    }

    /// Payloads longer than this many bytes are refused.
    pub fn max_payload_bytes(&self) -> u64 {
        self.core.info().max_payload_bytes
    }

    /// Writes a line to the instance's log; the macros of `tracing` and `log` do the same. Replay does not repeat it.
    pub fn log(&self, level: Level, message: &str) {
        self.core.host().log(level, message);
    }

    /// JSON for a method that has no way to fail: the execution fails instead.
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
