//! Stops one call: at once, or after its running attempt has cleaned up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::sandbox::Control;

/// Stops a call. Clones stop the same call.
#[derive(Clone, Default)]
pub(super) struct CallControl(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The task of the call.
    task: Option<AbortHandle>,
    /// The attempt that is running.
    attempt: Option<Control>,
}

impl CallControl {
    /// Sets the task of the call.
    pub(super) fn runs_as(&self, task: AbortHandle) {
        self.lock().task = Some(task);
    }

    /// An attempt begins.
    pub(super) fn attempt_begins(&self, attempt: Control) {
        self.lock().attempt = Some(attempt);
    }

    /// The attempt has ended; returns whether the call was cancelled. From now on, cancelling stops the call at once.
    pub(super) fn attempt_ends(&self) -> bool {
        let attempt = self.lock().attempt.take();
        attempt.is_some_and(|attempt| attempt.is_call_cancelled())
    }

    /// Whether an attempt is running.
    pub(super) fn is_running(&self) -> bool {
        self.lock().attempt.is_some()
    }

    /// Cancels the call. Returns whether its attempt cleans up first; then the call ends by itself.
    pub(super) fn cancel(&self) -> bool {
        let cleans_up = self.lock().attempt.as_ref().is_some_and(Control::cancel);
        if !cleans_up {
            self.abort();
        }
        cleans_up
    }

    /// Stops the call at once.
    pub(super) fn abort(&self) {
        if let Some(task) = &self.lock().task {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
