//! What an execution in the simulated world knows of patches, with the rules of the host.

use std::collections::{BTreeMap, BTreeSet};

/// The patches of one execution.
#[derive(Default)]
pub(super) struct Patches {
    /// The markers in the history, and whether each is deprecated.
    markers: BTreeMap<String, bool>,
    answers: BTreeMap<String, bool>,
    deprecated: BTreeSet<String>,
}

impl Patches {
    /// The first answer for a name, if there was one.
    pub(super) fn answer(&self, name: &str) -> Option<bool> {
        self.answers.get(name).copied()
    }

    /// Answers [`patched`](crate::Orchestration::patched) for the first time. `is_old` says that the execution passed the
    /// point with the code before the change. Returns how many bytes the history grows by.
    pub(super) fn patched(&mut self, name: &str, is_old: bool) -> u64 {
        self.answers.insert(name.to_owned(), !is_old);
        if is_old { 0 } else { self.mark(name, false) }
    }

    /// The same for code that has no old branch.
    pub(super) fn deprecate(&mut self, name: &str, is_old: bool) -> u64 {
        let is_known = self.answers.contains_key(name) || self.deprecated.contains(name);
        self.deprecated.insert(name.to_owned());
        if is_known || is_old { 0 } else { self.mark(name, true) }
    }

    fn mark(&mut self, name: &str, deprecated: bool) -> u64 {
        let recorded = self.markers.get(name);
        if recorded.is_some_and(|recorded| deprecated || !recorded) {
            return 0;
        }
        self.markers.insert(name.to_owned(), deprecated);
        name.len() as u64
    }
}
