//! [`Sleep`], a durable timer, and [`Elapsed`], the error of a timeout.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures::future::FusedFuture;

use crate::backend::TaskId;
use crate::executor::Core;
use crate::time::Timestamp;

/// A durable timer, created by [`Orchestration::sleep`](crate::Orchestration::sleep). It starts when it is created, not
/// when it is first awaited, and survives crashes.
///
/// # Cancel safety
/// Dropping it withdraws the timer.
#[must_use = "dropping it withdraws the timer at once"]
pub struct Sleep {
    core: Rc<Core>,
    /// `None` once it fired.
    task: Option<TaskId>,
}

impl Sleep {
    pub(crate) fn new(core: &Rc<Core>, until: Timestamp) -> Self {
        let task = core.host().create_timer(until.for_host());
        core.expect(task);
        Self {
            core: core.clone(),
            task: Some(task),
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = self.task else { return Poll::Pending };
        let outcome = ready!(self.core.poll_task(task, cx));
        self.task = None;
        match outcome {
            Ok(_) => Poll::Ready(()),
            // The host refuses a timer only because of a limit. The execution fails, because returning here would be
            // too early.
            Err(failure) => {
                self.core.break_with(failure);
                Poll::Pending
            }
        }
    }
}

impl FusedFuture for Sleep {
    fn is_terminated(&self) -> bool {
        self.task.is_none()
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            self.core.withdraw(task);
        }
    }
}

/// The error of [`Orchestration::timeout`](crate::Orchestration::timeout) when the time limit expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit has expired")
    }
}

impl std::error::Error for Elapsed {}
