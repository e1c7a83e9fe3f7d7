//! [`Task`]: the future of a call that was made.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures::future::FusedFuture;
use serde::de::DeserializeOwned;

use crate::backend::TaskId;
use crate::executor::Core;
use crate::failure::{Failure, Result};
use crate::payload::decode;

/// The future of an activity, a sub-orchestration or an operation of an entity that was started with
/// [`Call::start`](crate::Call::start), [`SubCall::start`](crate::SubCall::start) or
/// [`EntityCall::start`](crate::EntityCall::start).
///
/// # Cancel safety
/// Dropping it does not cancel the call: the activity or the child continues, and its outcome is lost. To end it, use
/// [`cancel`](Self::cancel).
#[must_use = "the call continues, but its outcome is lost unless this is awaited"]
pub struct Task<T> {
    core: Rc<Core>,
    state: State,
    output: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum State {
    Outstanding(TaskId),
    /// The input could not be written as JSON, so the call was not made.
    Refused(Failure),
    Finished,
}

impl<T> Task<T> {
    pub(crate) fn new(core: Rc<Core>, task: Result<TaskId>) -> Self {
        let state = match task {
            Ok(task) => {
                core.expect(task);
                State::Outstanding(task)
            }
            Err(failure) => State::Refused(failure),
        };
        Self {
            core,
            state,
            output: PhantomData,
        }
    }

    /// Stops the activity, or terminates the child (or asks it to cancel itself, if it was called with
    /// [`ParentClose::Cancel`](crate::ParentClose::Cancel)). The outcome is then the failure `windlass.cancelled`, unless the call
    /// has ended already. An operation of an entity cannot be cancelled: for it, this does nothing.
    pub fn cancel(&self) {
        if let State::Outstanding(task) = self.state {
            self.core.host().cancel_task(task);
        }
    }
}

impl<T: DeserializeOwned> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let outcome = match &self.state {
            State::Outstanding(task) => ready!(self.core.poll_task(*task, cx)),
            State::Refused(failure) => Err(failure.clone()),
            State::Finished => return Poll::Pending,
        };
        self.state = State::Finished;
        Poll::Ready(
            outcome.and_then(|payload| decode("the output does not match the type that the caller expects", &payload)),
        )
    }
}

impl<T: DeserializeOwned> FusedFuture for Task<T> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Finished)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let State::Outstanding(task) = self.state {
            self.core.forget(task);
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.state).finish()
    }
}
