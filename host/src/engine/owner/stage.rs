//! How far an owner is in taking over its instance.

use crate::store::Creation;

/// What of an instance is known to its owner.
///
/// Those that are stored begin as [taken over](Stage::TakingOver); when a turn is to run, they become
/// [ready](Stage::Ready). Those that cannot be read are stuck until somebody resumes them; then they are taken over again.
#[derive(Debug)]
pub(super) enum Stage {
    /// The instance is not stored: the owner's first commit creates it.
    NotStored {
        creation: Box<Creation>,
        /// Create it without its first turn, which takes long or may be dangerous.
        turn_later: bool,
    },
    /// It is being read. Outstanding activity calls were not resumed yet.
    TakingOver {
        /// Attempts of outstanding tasks are noted in the store and not known here.
        attempts_unread: bool,
    },
    /// What is outstanding is known, and has been resumed.
    Ready,
    /// The history cannot be read to its end; what is outstanding is not known.
    Unreadable,
}

impl Stage {
    /// Whether attempts of outstanding tasks are noted and not known.
    pub(super) fn has_unread_attempts(&self) -> bool {
        matches!(self, Self::TakingOver { attempts_unread: true })
    }

    /// The attempts were read.
    pub(super) fn attempts_read(&mut self) {
        if let Self::TakingOver { attempts_unread } = self {
            *attempts_unread = false;
        }
    }

    /// The next commit creates the instance, if it is not stored yet; then nothing of it is left to be read.
    pub(super) fn create(&mut self) -> Option<Box<Creation>> {
        match std::mem::replace(self, Self::Ready) {
            Self::NotStored { creation, .. } => Some(creation),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The history cannot be read to its end. (Of an instance that is not stored there is none.)
    pub(super) fn cannot_be_read(&mut self) {
        if !matches!(self, Self::NotStored { .. }) {
            *self = Self::Unreadable;
        }
    }

    /// What could not be read is to be read again.
    pub(super) fn read_again(&mut self) {
        if matches!(self, Self::Unreadable) {
            *self = Self::TakingOver { attempts_unread: true };
        }
    }
}
