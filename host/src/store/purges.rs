//! What a purge looks up before it deletes: the descendants of an instance.

use crate::model::{InstanceId, InstanceNumber, InstanceStatus};

/// The maximum number of instances to report because they have not ended.
pub(super) const MAX_NAMED: usize = 20;

/// An instance and its descendants: its sub-orchestrations, theirs, and so on.
pub(super) struct Tree {
    /// The status of the root; `None` if it does not exist.
    pub(super) status: Option<InstanceStatus>,
    /// All instances of the tree that have ended, including the root. Children come before their parents, so the rest
    /// stays connected whatever prefix of the list is deleted.
    pub(super) ended: Vec<InstanceNumber>,
    /// Some of the instances that have not ended.
    pub(super) live: Vec<InstanceId>,
}

impl Tree {
    /// Sets the ended instances, given the depth of each below the root.
    pub(super) fn set_ended(&mut self, mut ended: Vec<(u64, InstanceNumber)>) {
        ended.sort_unstable_by(|a, b| b.cmp(a));
        self.ended = ended.into_iter().map(|(_, number)| number).collect();
    }
}
