//! Outcomes of activity calls that no turn has taken, in order. They are not durable yet.

use std::collections::VecDeque;

use crate::engine::owner::ActivityResult;

/// Results, and their size.
#[derive(Debug, Default)]
pub(super) struct Results {
    queue: VecDeque<ActivityResult>,
    bytes: u64,
}

impl Results {
    /// The size of all in memory, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ActivityResult> {
        self.queue.iter()
    }

    /// Adds one that has arrived.
    pub(super) fn push(&mut self, result: ActivityResult) {
        self.bytes += result.memory_bytes();
        self.queue.push_back(result);
    }

    /// Puts back one that was taken, before all others.
    pub(super) fn put_back(&mut self, result: ActivityResult) {
        self.bytes += result.memory_bytes();
        self.queue.push_front(result);
    }

    /// Takes the oldest.
    pub(super) fn take(&mut self) -> Option<ActivityResult> {
        let oldest = self.queue.pop_front()?;
        self.bytes -= oldest.memory_bytes();
        Some(oldest)
    }

    /// Takes all.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = ActivityResult> + use<> {
        std::mem::take(self).queue.into_iter()
    }
}
