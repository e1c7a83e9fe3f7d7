//! What a purge looks up before it deletes: ended instances by age, and the descendants of an instance.

use std::ops::Range;

use crate::model::{InstanceId, InstanceNumber, InstanceStatus, Timestamp};

/// The maximum number of instances to report because they have not ended.
pub(super) const MAX_NAMED: usize = 20;

/// One page of the instances that match an [`EndedFilter`].
pub(super) struct Ended {
    /// The instances, in ascending order.
    pub(super) instances: Vec<InstanceNumber>,
    /// Where to continue: after this instance. `None` if there are no more.
    pub(super) next: Option<InstanceNumber>,
}

/// Selects the instances that a purge deletes.
pub(super) struct EndedFilter {
    /// The allowed states. An instance has ended in each of them.
    pub(super) statuses: Vec<InstanceStatus>,
    /// Only instances that ended before this time.
    pub(super) before: Timestamp,
    /// Only instances that were created in this range.
    pub(super) created: Range<Timestamp>,
    /// Only instances after this one.
    pub(super) after: Option<InstanceNumber>,
    /// The maximum number of instances.
    pub(super) limit: u32,
}

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
