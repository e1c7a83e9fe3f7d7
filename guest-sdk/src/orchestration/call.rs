//! [`Call`] and [`SubCall`]: an activity or a sub-orchestration that is about to be called.
//!
//! A call is a value until it is awaited or started: that is when the host hears of it, with all its options. So an
//! option cannot be set too late, and the order of decisions is the order of `start` and `await` in the code.

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
use crate::retry::{ActivityOptions, Retry, SubOrchestrationOptions};

/// A call of an activity that has not been made yet, from [`Orchestration::call`](crate::Orchestration::call).
///
/// `.await` makes it and waits for its outcome. [`start`](Self::start) makes it and gives a [`Task`], which runs beside
/// whatever the orchestration does next.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
/// # #[activity] fn reserve(article: String) -> Result<()> { Ok(()) }
/// # async fn example(ctx: Orchestration) -> Result<()> {
/// let receipt = ctx.call(charge, &995).timeout(mins(1)).await?;
///
/// let reservation = ctx.call(reserve, &"rope".to_owned()).start();
/// let deposit = ctx.call(charge, &100).await?; // meanwhile, the article is reserved
/// reservation.await?;
/// # Ok(()) }
/// ```
///
/// What was started has no options any more:
///
/// ```compile_fail,E0599
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn charge(cents: u64) -> Result<String> { Ok(cents.to_string()) }
/// # async fn example(ctx: Orchestration) -> Result<String> {
/// ctx.call(charge, &995).start().timeout(mins(1)).await
/// # }
/// ```
///
/// What was not started is no future. [`join_all`](crate::prelude::join_all), [`join!`](crate::join!) and
/// [`timeout`](crate::Orchestration::timeout) start what they are given; `select!` and the other combinators of
/// `futures` take a [`Task`]:
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

    /// Repeats failed attempts. Without it, the activity's own default applies, else there is one attempt.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = Some(retry);
        self
    }

    /// Longest time one attempt may run, counted from its start.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.options.attempt_timeout = Some(timeout);
        self
    }

    /// Longest time from the call to the final outcome, all attempts and the waits between them included. When it is
    /// over, the outcome is the failure `windlass.timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Makes the call. It runs whether or not the task is awaited, and even if it is dropped.
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
/// `.await` calls it and waits for its end. [`start`](Self::start) calls it and gives a [`Task`], which runs beside
/// whatever the orchestration does next.
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

    /// The child's instance id, not `.` or `..`. Without it the host derives one that is unique and stable over replays.
    pub fn id(mut self, id: impl Into<InstanceId>) -> Self {
        self.options.instance_id = Some(id.into());
        self
    }

    /// Starts a new child when one fails. Without it there is one.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = Some(retry);
        self
    }

    /// Longest time from the call to the final outcome. A child still running then is terminated, and the outcome is
    /// the failure `windlass.timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Calls the child. It runs whether or not the task is awaited, and even if it is dropped.
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
