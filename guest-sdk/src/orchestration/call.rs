//! [`Call`] and [`SubCall`]: builders for the call of an activity or a sub-orchestration.
//!
//! A call reaches the host, with all its options, only when it is awaited or started. So an option cannot be set too
//! late, and the order of decisions is the order of `start` and `await` in the code.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::executor::Core;
use crate::failure::Result;
use crate::instance_id::InstanceId;
use crate::orchestration::task::Task;
use crate::retry::{ActivityOptions, ParentClose, Retry, SubOrchestrationOptions};

/// A call of an activity that has not been made yet, from [`Orchestration::call`](crate::Orchestration::call).
///
/// `.await` makes the call and waits for its outcome. [`start`](Self::start) makes it and returns a [`Task`], which runs
/// concurrently with the code that follows.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
/// # #[activity] fn reserve(article: String) -> Result<()> { Ok(()) }
/// # async fn example(ctx: Orchestration) -> Result<()> {
/// let receipt = ctx.call(charge, &995).timeout(mins(1)).await?;
///
/// let reservation = ctx.call(reserve, &"rope".to_owned()).start();
/// let deposit = ctx.call(charge, &100).await?; // runs in parallel with the reservation
/// reservation.await?;
/// # Ok(()) }
/// ```
///
/// A started call has no options any more:
///
/// ```compile_fail,E0599
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
/// # async fn example(ctx: Orchestration) -> Result<String> {
/// ctx.call(charge, &995).start().timeout(mins(1)).await
/// # }
/// ```
///
/// A call that was not started is not a future. [`join_all`](crate::prelude::join_all), [`join!`](crate::join!) and
/// [`timeout`](crate::Orchestration::timeout) start their arguments; `select!` and the other combinators of `futures`
/// need a [`Task`]:
///
/// ```compile_fail,E0277
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
/// # async fn example(ctx: Orchestration) -> Result<String> {
/// select! {
///     receipt = ctx.call(charge, &995) => receipt,
///     () = ctx.sleep(mins(1)) => Ok("too slow".into()),
/// }
/// # }
/// ```
#[must_use = "a call is made when it is awaited or started"]
pub struct Call<T> {
    core: Rc<Core>,
    name: String,
    input: Result<String>,
    options: ActivityOptions,
    output: PhantomData<fn() -> T>,
}

impl<T> Call<T> {
    pub(crate) fn new(core: &Rc<Core>, name: &str, input: Result<String>) -> Self {
        Self {
            core: core.clone(),
            name: name.into(),
            input,
            options: ActivityOptions::default(),
            output: PhantomData,
        }
    }

    /// Retries failed attempts with this policy. If unset, the default of the activity applies, or else a single attempt.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = Some(retry);
        self
    }

    /// Sets the longest time that one attempt may run, from its start.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.options.attempt_timeout = Some(timeout);
        self
    }

    /// Sets the longest time that an attempt may run without a [`heartbeat`](crate::Activity::heartbeat). After it, the
    /// attempt fails with `windlass.heartbeat-timeout`, and the retry policy applies. The time also runs from the start of
    /// the attempt to its first heartbeat. Less than a millisecond counts as a millisecond.
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Self {
        self.options.heartbeat_timeout = Some(timeout);
        self
    }

    /// Sets the longest time from the call to the final outcome, including all attempts and the waits between them. After
    /// it, the outcome is the failure `windlass.timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Makes the call. It runs even if the task is not awaited or is dropped.
    pub fn start(self) -> Task<T> {
        let Self {
            core,
            name,
            input,
            options,
            ..
        } = self;
        let task = input.map(|input| core.host().call_activity(&name, &input, &options));
        Task::new(core, task)
    }
}

/// A sub-orchestration that has not been called yet, from
/// [`Orchestration::sub_orchestration`](crate::Orchestration::sub_orchestration).
///
/// `.await` calls it and waits for its outcome. [`start`](Self::start) calls it and returns a [`Task`], which runs
/// concurrently with the code that follows.
#[must_use = "a sub-orchestration is called when this is awaited or started"]
pub struct SubCall<T> {
    core: Rc<Core>,
    name: String,
    input: Result<String>,
    options: SubOrchestrationOptions,
    output: PhantomData<fn() -> T>,
}

impl<T> SubCall<T> {
    pub(crate) fn new(core: &Rc<Core>, name: &str, input: Result<String>) -> Self {
        Self {
            core: core.clone(),
            name: name.into(),
            input,
            options: SubOrchestrationOptions::default(),
            output: PhantomData,
        }
    }

    /// Sets the child's instance id, which must not be `.` or `..`. If unset, the host derives one that is unique and the
    /// same on replay.
    pub fn id(mut self, id: impl Into<InstanceId>) -> Self {
        self.options.instance_id = Some(id.into());
        self
    }

    /// Starts a new child when one fails, according to this policy. If unset, there is only one child.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = Some(retry);
        self
    }

    /// Sets the longest time from the call to the final outcome. After it, a running child is terminated, and the outcome
    /// is the failure `windlass.timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Sets what happens to the child if it has not ended when this execution ends in any way: it completes, fails, is
    /// cancelled or terminated, or continues as new (the next execution does not get the outcome). If unset, the child is
    /// terminated if this instance is terminated, and goes on otherwise.
    ///
    /// With [`ParentClose::Cancel`], [`Task::cancel`] asks the child to cancel itself instead of terminating it.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # #[orchestrator] async fn watch(order_id: String) -> Result<()> { Ok(()) }
    /// # async fn example(ctx: Orchestration, order_id: String) -> Result<()> {
    /// let watching = ctx
    ///     .sub_orchestration(watch, &order_id)
    ///     .on_parent_close(ParentClose::Terminate)
    ///     .start();
    /// # drop(watching);
    /// # Ok(()) }
    /// ```
    pub fn on_parent_close(mut self, what: ParentClose) -> Self {
        self.options.parent_close = Some(what);
        self
    }

    /// Calls the child. It runs even if the task is not awaited or is dropped.
    pub fn start(self) -> Task<T> {
        let Self {
            core,
            name,
            input,
            options,
            ..
        } = self;
        let task = input.map(|input| core.host().call_sub_orchestration(&name, &input, &options));
        Task::new(core, task)
    }
}

impl<T: DeserializeOwned> IntoFuture for Call<T> {
    type Output = Result<T>;
    type IntoFuture = Task<T>;

    fn into_future(self) -> Task<T> {
        self.start()
    }
}

impl<T: DeserializeOwned> IntoFuture for SubCall<T> {
    type Output = Result<T>;
    type IntoFuture = Task<T>;

    fn into_future(self) -> Task<T> {
        self.start()
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("name", &self.name)
            .field("input", &self.input)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SubCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubCall")
            .field("name", &self.name)
            .field("input", &self.input)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
