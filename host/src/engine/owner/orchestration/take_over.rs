//! Takes over the outstanding activity calls of a stored instance.

use std::collections::BTreeSet;

use crate::engine::owner::ActivityChanges;
use crate::engine::owner::inbox::Inbox;
use crate::engine::owner::instance::Instance;
use crate::model::TaskId;
use crate::replay::Guest;

use super::Orchestration;

/// The maximum number of calls that are resumed at once.
const RESUMED_AT_ONCE: usize = 1_000;

/// Whether the owner has resumed the outstanding activity calls.
#[derive(Debug)]
pub(super) enum TakeOver {
    /// The owner is reading the instance.
    Begun {
        /// The store has attempts of outstanding tasks that were not read yet.
        attempts_unread: bool,
        /// The last task whose call was resumed.
        resumed_to: Option<TaskId>,
    },
    /// The owner knows all outstanding tasks and has resumed the activity calls.
    Done,
}

impl TakeOver {
    /// Whether the store has attempts of outstanding tasks that were not read yet.
    pub(super) fn has_unread_attempts(&self) -> bool {
        matches!(
            self,
            Self::Begun {
                attempts_unread: true,
                ..
            }
        )
    }

    /// Begins, or begins again.
    pub(super) fn begin(attempts_unread: bool) -> Self {
        Self::Begun {
            attempts_unread,
            resumed_to: None,
        }
    }

    /// Notes that the attempts were read.
    pub(super) fn attempts_read(&mut self) {
        if let Self::Begun { attempts_unread, .. } = self {
            *attempts_unread = false;
        }
    }
}

impl<G: Guest> Orchestration<G> {
    /// Some of the outstanding activity calls to start, in order, when all outstanding tasks and the outcomes that have
    /// arrived are known. Nothing once all of them were returned.
    pub(super) fn calls_to_resume(&mut self, instance: &Instance, inbox: &Inbox) -> ActivityChanges {
        let TakeOver::Begun { resumed_to, .. } = self.take_over else {
            return ActivityChanges::default();
        };
        // Unread messages may contain outcomes of activities. In that case the owner that reads them resumes the calls.
        if inbox.has_more() {
            return ActivityChanges::default();
        }
        let execution = instance.position.execution;
        let ended = self.tasks_that_ended(instance, inbox);
        let start = self
            .execution
            .calls_to_resume(execution, resumed_to, &ended, RESUMED_AT_ONCE);
        match start.last() {
            Some(last) if start.len() == RESUMED_AT_ONCE => {
                self.take_over = TakeOver::Begun {
                    attempts_unread: false,
                    resumed_to: Some(last.task),
                };
            }
            _ => self.calls_resumed(),
        }
        ActivityChanges {
            start,
            resumes: true,
            ..ActivityChanges::default()
        }
    }

    /// The tasks of the current execution whose outcomes have arrived.
    pub(super) fn tasks_that_ended(&self, instance: &Instance, inbox: &Inbox) -> BTreeSet<TaskId> {
        let execution = instance.position.execution;
        let at_hand = self.results.iter().filter(|result| result.execution == execution);
        let ended = at_hand.map(|result| result.task);
        let kept = self.execution.ledger.kept_tasks().iter().copied();
        ended.chain(inbox.tasks_that_ended(execution)).chain(kept).collect()
    }

    /// Resumes no more calls.
    pub(super) fn calls_resumed(&mut self) {
        self.take_over = TakeOver::Done;
        self.execution.attempts.forget_calls();
    }
}
