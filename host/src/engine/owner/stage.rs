//! How much an owner knows of its instance.

use crate::store::Creation;

/// How much an owner knows of its instance.
///
/// The owner of a stored instance begins in [`TakingOver`](Stage::TakingOver) and becomes [`Ready`](Stage::Ready) when
/// a turn is due. If the history cannot be read, the instance is stuck and its owner [`Unreadable`](Stage::Unreadable)
/// until a client resumes it; then the owner takes over again.
#[derive(Debug)]
pub(super) enum Stage {
    /// The instance is not stored; the owner's first commit creates it.
    NotStored {
        creation: Box<Creation>,
        /// Create it without its first turn, because that turn cannot run now or may end the host.
        turn_later: bool,
    },
    /// The owner is reading the instance. It has not resumed outstanding activity calls yet.
    TakingOver {
        /// The store has attempts of outstanding tasks that were not read yet.
        attempts_unread: bool,
    },
    /// The owner knows all outstanding tasks and has resumed the activity calls.
    Ready,
    /// The history cannot be read to its end, so the outstanding tasks are unknown.
    Unreadable,
}

impl Stage {
    /// Whether the store has attempts of outstanding tasks that were not read yet.
    pub(super) fn has_unread_attempts(&self) -> bool {
        matches!(self, Self::TakingOver { attempts_unread: true })
    }

    /// Notes that the attempts were read.
    pub(super) fn attempts_read(&mut self) {
        if let Self::TakingOver { attempts_unread } = self {
            *attempts_unread = false;
        }
    }

    /// Returns what the next commit needs to create the instance, if it is not stored yet. Such an instance has nothing
    /// to read, so its owner becomes ready.
    pub(super) fn create(&mut self) -> Option<Box<Creation>> {
        match std::mem::replace(self, Self::Ready) {
            Self::NotStored { creation, .. } => Some(creation),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Notes that the history is unreadable. An instance that is not stored has no history and keeps its stage.
    pub(super) fn cannot_be_read(&mut self) {
        if !matches!(self, Self::NotStored { .. }) {
            *self = Self::Unreadable;
        }
    }

    /// Starts again if the history was unreadable.
    pub(super) fn read_again(&mut self) {
        if matches!(self, Self::Unreadable) {
            *self = Self::TakingOver { attempts_unread: true };
        }
    }
}
