//! [`Sleep`]: a durable timer; and [`Elapsed`], what a time limit answers when it is over.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures::future::FusedFuture;

use crate::backend::TaskId;
use crate::executor::Core;
use crate::time::Timestamp;

/// A durable timer, made by [`Orchestration::sleep`](crate::Orchestration::sleep). It runs from where it was made,
/// not from where it is first awaited, and survives any crash.
///
/// # Cancel safety
/// Dropping it withdraws the timer.
#[must_use = "dropping it withdraws the timer at once"]
pub struct Sleep {
    core: Rc<Core>,
    /// None once it fired.
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
            // Only a limit of the host refuses a timer. To return would be to wake too early, so the execution fails.
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

/// The time limit given to [`Orchestration::timeout`](crate::Orchestration::timeout) is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit is over")
    }
}

impl std::error::Error for Elapsed {}
