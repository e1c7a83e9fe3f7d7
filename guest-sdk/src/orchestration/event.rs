//! [`EventWait`]: the future of one external event.

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

/// Waits for one event; created by [`Orchestration::event`](crate::Orchestration::event).
///
/// # Cancel safety
/// Dropping it withdraws the wait. An event that was delivered to it but not taken returns to the head of its queue, for
/// the next wait for that name, even in the next execution.
#[must_use = "dropping it withdraws the wait at once"]
pub struct EventWait<T> {
    core: Rc<Core>,
    /// `None` once the event was taken.
    task: Option<TaskId>,
    event: PhantomData<fn() -> T>,
}

impl<T> EventWait<T> {
    pub(crate) fn new(core: &Rc<Core>, name: &str) -> Self {
        let task = core.host().wait_for_event(name);
        core.expect(task);
        Self {
            core: core.clone(),
            task: Some(task),
            event: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Future for EventWait<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(task) = self.task else { return Poll::Pending };
        let outcome = ready!(self.core.poll_task(task, cx));
        self.task = None;
        Poll::Ready(outcome.and_then(|_| {
            let payload = self.core.host().take_event(task);
            let payload =
                payload.ok_or_else(|| Failure::new("NoEvent", "the host has no event for a completed wait"))?;
            decode(
                "the event does not match the type that the orchestration waits for",
                &payload,
            )
        }))
    }
}

impl<T: DeserializeOwned> FusedFuture for EventWait<T> {
    fn is_terminated(&self) -> bool {
        self.task.is_none()
    }
}

impl<T> fmt::Debug for EventWait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWait")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

impl<T> Drop for EventWait<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            self.core.withdraw(task);
        }
    }
}
