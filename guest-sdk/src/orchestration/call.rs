//! [`Call`] and [`SubCall`]: an activity or a sub-orchestration that was asked for.
//!
//! The call is made where it is written, as users of Durable Functions expect: calls made in a loop and awaited
//! afterwards run in parallel. It is handed to the host a moment later, at the next thing that is asked of the host or
//! when the orchestration waits, so that options can be chained to it without a separate `start`.

use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::FusedFuture;
use serde::de::DeserializeOwned;

use crate::backend::{Backend, TaskId};
use crate::executor::Core;
use crate::failure::{Failure, Result};
use crate::payload::decode;
use crate::retry::{ActivityOptions, Retry, SubOrchestrationOptions};

/// A call of an activity, made by [`Orchestration::call`](crate::Orchestration::call): a future of its output.
///
/// Options are set in the same statement as the call, before anything else is asked of the context. Dropping it does
/// not cancel the activity; [`cancel`](Call::cancel) does.
#[must_use = "the activity is called, but its outcome is lost unless this is awaited"]
pub struct Call<T>(Requested<T>);

impl<T> Call<T> {
    pub(crate) fn new(core: &Rc<Core>, name: &str, input: Result<String>) -> Self {
        let options = ActivityOptions::default();
        Self(Requested::new(
            core,
            Request::Draft {
                name: name.into(),
                input,
                options: Options::Activity(options),
            },
        ))
    }

    /// Repeats failed attempts. Without it, the activity's own default applies, else there is one attempt.
    pub fn retry(self, retry: Retry) -> Self {
        self.0.set(|options| options.activity().retry = Some(retry));
        self
    }

    /// Longest time one attempt may run, counted from its start.
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        self.0.set(|options| options.activity().attempt_timeout = Some(timeout));
        self
    }

    /// Longest time from the call to the final outcome, all attempts and the waits between them included. When it is
    /// over, the outcome is the failure `windlass.timeout`.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.0.set(|options| options.activity().timeout = Some(timeout));
        self
    }

    /// Asks the host to stop the activity. Unless it ended before, the outcome is the failure `windlass.cancelled`.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

/// A sub-orchestration, made by [`Orchestration::sub_orchestration`](crate::Orchestration::sub_orchestration): a
/// future of its output.
///
/// Options are set in the same statement as the call, before anything else is asked of the context. Dropping it does
/// not end the child; [`cancel`](SubCall::cancel) does.
#[must_use = "the child is started, but its outcome is lost unless this is awaited"]
pub struct SubCall<T>(Requested<T>);

impl<T> SubCall<T> {
    pub(crate) fn new(core: &Rc<Core>, name: &str, input: Result<String>) -> Self {
        let options = SubOrchestrationOptions::default();
        let options = Options::SubOrchestration(options);
        Self(Requested::new(
            core,
            Request::Draft {
                name: name.into(),
                input,
                options,
            },
        ))
    }

    /// The child's instance id, not `.` or `..`. Without it the host derives one that is unique and stable over replays.
    pub fn instance_id(self, id: impl Into<String>) -> Self {
        self.0
            .set(|options| options.sub_orchestration().instance_id = Some(id.into()));
        self
    }

    /// Starts a new child when one fails. Without it there is one.
    pub fn retry(self, retry: Retry) -> Self {
        self.0.set(|options| options.sub_orchestration().retry = Some(retry));
        self
    }

    /// Longest time from the call to the final outcome. A child still running then is terminated, and the outcome is
    /// the failure `windlass.timeout`.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.0
            .set(|options| options.sub_orchestration().timeout = Some(timeout));
        self
    }

    /// Terminates the child. Unless it ended before, the outcome is the failure `windlass.cancelled`.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl<T: DeserializeOwned> Future for Call<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.0.poll(cx)
    }
}

impl<T: DeserializeOwned> FusedFuture for Call<T> {
    fn is_terminated(&self) -> bool {
        self.0.finished
    }
}

impl<T: DeserializeOwned> Future for SubCall<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.0.poll(cx)
    }
}

impl<T: DeserializeOwned> FusedFuture for SubCall<T> {
    fn is_terminated(&self) -> bool {
        self.0.finished
    }
}

/// Where a call stands on its way to the host.
pub(crate) enum Request {
    /// Made; its options can still be set.
    Draft {
        name: String,
        input: Result<String>,
        options: Options,
    },
    /// In the host's hands.
    HandedOver(TaskId),
    /// Its input could not be written as JSON, so the host never saw it.
    Refused(Failure),
}

pub(crate) enum Options {
    Activity(ActivityOptions),
    SubOrchestration(SubOrchestrationOptions),
}

impl Options {
    fn activity(&mut self) -> &mut ActivityOptions {
        let Self::Activity(options) = self else {
            unreachable!("a `Call` is made with an activity's options")
        };
        options
    }

    fn sub_orchestration(&mut self) -> &mut SubOrchestrationOptions {
        let Self::SubOrchestration(options) = self else {
            unreachable!("a `SubCall` is made with a child's options")
        };
        options
    }
}

impl Request {
    /// Gives a draft to the host; the task, if one came of it.
    pub(crate) fn hand_over(&mut self, host: &dyn Backend) -> Option<TaskId> {
        let Self::Draft { name, input, options } = self else {
            return None;
        };
        *self = match (input, options) {
            (Err(failure), _) => Self::Refused(failure.clone()),
            (Ok(input), Options::Activity(options)) => Self::HandedOver(host.call_activity(name, input, options)),
            (Ok(input), Options::SubOrchestration(options)) => {
                Self::HandedOver(host.call_sub_orchestration(name, input, options))
            }
        };
        match self {
            Self::HandedOver(task) => Some(*task),
            _ => None,
        }
    }
}

/// What both kinds of call have in common.
struct Requested<T> {
    core: Rc<Core>,
    request: Rc<RefCell<Request>>,
    finished: bool,
    output: PhantomData<fn() -> T>,
}

impl<T> Requested<T> {
    fn new(core: &Rc<Core>, request: Request) -> Self {
        let request = Rc::new(RefCell::new(request));
        core.add_draft(request.clone());
        Self {
            core: core.clone(),
            request,
            finished: false,
            output: PhantomData,
        }
    }

    fn set(&self, change: impl FnOnce(&mut Options)) {
        match &mut *self.request.borrow_mut() {
            Request::Draft { options, .. } => change(options),
            _ => self.core.break_with(Failure::new(
                "OptionsTooLate",
                "an option was set after its call was handed to the host: set it in the same statement as the call",
            )),
        }
    }

    fn cancel(&self) {
        let host = self.core.host();
        if let Request::HandedOver(task) = *self.request.borrow() {
            host.cancel_task(task);
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<T>>
    where
        T: DeserializeOwned,
    {
        self.core.hand_over_drafts();
        let outcome = match &*self.request.borrow() {
            Request::HandedOver(task) => ready!(self.core.poll_task(*task, cx)),
            Request::Refused(failure) => Err(failure.clone()),
            Request::Draft { .. } => unreachable!("all drafts were handed over"),
        };
        self.finished = true;
        Poll::Ready(outcome.and_then(|payload| decode("the output is not what the caller asks for", &payload)))
    }
}

impl<T> Drop for Requested<T> {
    fn drop(&mut self) {
        if let Request::HandedOver(task) = *self.request.borrow() {
            self.core.forget(task);
        }
    }
}
