//! How much an owner knows of its instance.

use crate::store::Creation;

/// How much an owner knows of its instance.
#[derive(Debug)]
pub(super) enum Stage {
    /// The instance is not stored; the owner's first commit creates it.
    NotStored {
        creation: Box<Creation>,
        /// Create it without its first turn, because that turn cannot run now or may end the host.
        turn_later: bool,
    },
    /// The instance is stored. The behaviour knows how much of it was read.
    Stored,
    /// What is stored cannot be read to its end. The instance is stuck until a client resumes it; then it is read
    /// again.
    Unreadable,
}

impl Stage {
    /// Returns what the next commit needs to create the instance, if it is not stored yet.
    pub(super) fn create(&mut self) -> Option<Box<Creation>> {
        match std::mem::replace(self, Self::Stored) {
            Self::NotStored { creation, .. } => Some(creation),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Notes that what is stored is unreadable. An instance that is not stored keeps its stage.
    pub(super) fn cannot_be_read(&mut self) {
        if !matches!(self, Self::NotStored { .. }) {
            *self = Self::Unreadable;
        }
    }

    /// Whether what is stored could not be read. It is worth another try from now on.
    pub(super) fn take_unreadable(&mut self) -> bool {
        let is_unreadable = matches!(self, Self::Unreadable);
        if is_unreadable {
            *self = Self::Stored;
        }
        is_unreadable
    }
}
