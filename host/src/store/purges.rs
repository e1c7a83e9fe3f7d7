//! What a purge finds before it deletes: instances that ended long enough ago, and what belongs to an instance.

use crate::model::{InstanceId, InstanceNumber, InstanceStatus, Timestamp};

/// Most instances that are named because they have not ended.
pub(super) const MAX_NAMED: usize = 20;

/// Some of the instances that a purge of many deletes.
pub(super) struct Ended {
    /// Which ones, in ascending order.
    pub(super) instances: Vec<InstanceNumber>,
    /// After which to go on; none if there are no more.
    pub(super) next: Option<InstanceNumber>,
}

/// Which instances a purge of many deletes.
pub(super) struct EndedFilter {
    /// In one of these states, in which an instance has ended.
    pub(super) statuses: Vec<InstanceStatus>,
    /// Ended before this time.
    pub(super) before: Timestamp,
    /// After this one.
    pub(super) after: Option<InstanceNumber>,
    /// At most that many.
    pub(super) limit: u32,
}

/// An instance and what belongs to it: its sub-orchestrations, theirs, and so on.
pub(super) struct Tree {
    /// The state of the instance itself; none if it is gone.
    pub(super) status: Option<InstanceStatus>,
    /// All that have ended, itself included. Children come before their parents: whatever part of the list is deleted,
    /// the rest still hangs together.
    pub(super) ended: Vec<InstanceNumber>,
    /// Some of those that have not.
    pub(super) live: Vec<InstanceId>,
}

impl Tree {
    /// Takes those that have ended, with how far below the root each is.
    pub(super) fn set_ended(&mut self, mut ended: Vec<(u64, InstanceNumber)>) {
        ended.sort_unstable_by(|a, b| b.cmp(a));
        self.ended = ended.into_iter().map(|(_, number)| number).collect();
    }
}
