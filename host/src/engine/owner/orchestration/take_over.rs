//! Takes over the outstanding activity calls of a stored instance.

use crate::engine::owner::ActivityChanges;
use crate::engine::owner::inbox::Inbox;
use crate::engine::owner::instance::Instance;
use crate::replay::Guest;

use super::Orchestration;

/// Whether the owner has resumed the outstanding activity calls.
#[derive(Debug)]
pub(super) enum TakeOver {
    /// The owner is reading the instance.
    Begun {
        /// The store has attempts of outstanding tasks that were not read yet.
        attempts_unread: bool,
    },
    /// The owner knows all outstanding tasks and has resumed the activity calls.
    Done,
}

impl TakeOver {
    /// Whether the store has attempts of outstanding tasks that were not read yet.
    pub(super) fn has_unread_attempts(&self) -> bool {
        matches!(self, Self::Begun { attempts_unread: true })
    }

    /// Notes that the attempts were read.
    pub(super) fn attempts_read(&mut self) {
        if let Self::Begun { attempts_unread } = self {
            *attempts_unread = false;
        }
    }
}

impl<G: Guest> Orchestration<G> {
    /// The outstanding activity calls to start, once, when all outstanding tasks and the outcomes that have arrived are
    /// known.
    pub(super) fn calls_to_resume(&mut self, instance: &Instance, inbox: &Inbox) -> ActivityChanges {
        // Unread messages may contain outcomes of activities. In that case the owner that reads them resumes the calls.
        if matches!(self.take_over, TakeOver::Done) || inbox.has_more() {
            return ActivityChanges::default();
        }
        self.take_over = TakeOver::Done;
        let execution = instance.position.execution;
        let at_hand = self.results.iter().filter(|result| result.execution == execution);
        let ended = at_hand.map(|result| result.task);
        let ended = ended.chain(inbox.tasks_that_ended(execution)).collect();
        ActivityChanges {
            start: self.execution.calls_to_resume(execution, &ended),
            ..ActivityChanges::default()
        }
    }
}
