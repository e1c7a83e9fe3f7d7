//! [`Cancelled`]: the future of a request to cancel the instance, and [`Cancellation`], the request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures::future::FusedFuture;

use crate::backend::TaskId;
use crate::executor::Core;
use crate::failure::Failure;
use crate::failure_types;
use crate::payload::decode;

/// A request to cancel the instance.
///
/// Return it as the failure of the orchestration, with `Err(cancellation.into())`, to end as *cancelled*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellation {
    reason: String,
}

impl Cancellation {
    pub(crate) fn new(reason: String) -> Self {
        Self { reason }
    }

    /// The reason of the request, possibly empty.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// The failure `windlass.cancelled`, which is not retried, with the reason as its message.
impl From<Cancellation> for Failure {
    fn from(cancellation: Cancellation) -> Self {
        let Cancellation { reason } = cancellation;
        let message = if reason.is_empty() { "cancelled".into() } else { reason };
        Self::new(failure_types::CANCELLED, message).non_retryable()
    }
}

/// Waits until somebody asks the instance to cancel itself; created by
/// [`Orchestration::cancelled`](crate::Orchestration::cancelled).
///
/// # Cancel safety
/// Dropping it withdraws the wait. The request is not lost: it completes the next wait as well.
#[must_use = "dropping it withdraws the wait at once"]
pub struct Cancelled {
    core: Rc<Core>,
    /// `None` once it is over.
    task: Option<TaskId>,
}

impl Cancelled {
    pub(crate) fn new(core: &Rc<Core>) -> Self {
        let task = core.host().wait_for_cancellation();
        core.expect(task);
        Self {
            core: core.clone(),
            task: Some(task),
        }
    }
}

impl Future for Cancelled {
    type Output = Cancellation;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cancellation> {
        let Some(task) = self.task else { return Poll::Pending };
        let outcome = ready!(self.core.poll_task(task, cx));
        self.task = None;
        match outcome.and_then(|reason| decode("the reason of a cancellation is a string", &reason)) {
            Ok(reason) => Poll::Ready(Cancellation::new(reason)),
            // The host refuses a wait only because of a limit.
            Err(failure) => {
                self.core.break_with(failure);
                Poll::Pending
            }
        }
    }
}

impl FusedFuture for Cancelled {
    fn is_terminated(&self) -> bool {
        self.task.is_none()
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            self.core.withdraw(task);
        }
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}
