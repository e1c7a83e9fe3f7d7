//! Requests to cancel the instance: waits for them, and the check without a wait.
//!
//! A request is an arrival like others: it is applied when the guest waits and nothing is ready, so that the guest sees
//! it at the same point on replay. From then on it stays requested. Unlike an event, it is not used up: every wait
//! completes with it.

use std::collections::BTreeSet;

use super::{Applied, Execution, Interrupt, Waiting};
use crate::model::{Decision, Payload, TaskId};

/// The request to cancel the instance, or the waits for it.
#[derive(Debug, Default)]
pub(super) struct Cancellation {
    /// The reason of the first request.
    reason: Option<String>,
    /// The waits; empty once cancellation is requested.
    waits: BTreeSet<TaskId>,
}

impl Execution {
    /// Waits for a request to cancel the instance. The task completes with the reason, at once if the request has
    /// arrived.
    ///
    /// # Errors
    /// When the guest must be stopped.
    pub fn wait_for_cancellation(&mut self) -> Result<TaskId, Interrupt> {
        let task = self.new_task()?;
        self.schedule(task, Waiting::Cancellation, Decision::WaitForCancellation { task })?;
        match &self.cancellation.reason {
            Some(reason) => {
                let reason = Payload::of(reason);
                self.settle(task, Ok(reason));
            }
            None => drop(self.cancellation.waits.insert(task)),
        }
        Ok(task)
    }

    /// The reason of the request to cancel the instance, if one has arrived. It does not change between two waits.
    ///
    /// # Errors
    /// Outside a turn.
    pub fn cancellation_requested(&mut self) -> Result<Option<&str>, Interrupt> {
        self.turn()?;
        Ok(self.cancellation.reason.as_deref())
    }

    /// Applies a request, which completes all waits. A later one changes nothing.
    pub(super) fn cancel_arrives(&mut self, reason: String) -> Applied {
        if self.cancellation.reason.is_some() {
            return Applied::Nothing;
        }
        let waits: Vec<TaskId> = std::mem::take(&mut self.cancellation.waits).into_iter().collect();
        for task in &waits {
            self.settle(*task, Ok(Payload::of(&reason)));
        }
        self.cancellation.reason = Some(reason);
        Applied::SettledAll(waits)
    }

    /// Withdraws a wait that has not completed.
    pub(super) fn withdraw_cancellation_wait(&mut self, task: TaskId) {
        self.cancellation.waits.remove(&task);
        self.forget(task);
    }
}
