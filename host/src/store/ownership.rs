//! Which partitions a writer owns, and under which epoch.

use crate::model::{InstanceNumber, Partition};

/// Counts the owners of a set of partitions. The database accepts only transactions of the newest owner, so a writer
/// that was paused while another host took over cannot commit late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch(pub u64);

impl Epoch {
    /// The epoch of a database that only one process can open at a time.
    pub(super) const ONLY: Self = Self(0);

    /// The epoch of the next owner.
    #[cfg(test)]
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The partitions that a writer owns, and the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ownership {
    /// One bit per partition; the lowest bit is the first partition.
    partitions: u64,
    epoch: Epoch,
}

impl Ownership {
    /// The ownership of all partitions.
    pub(super) fn of_all(epoch: Epoch) -> Self {
        const { assert!(Partition::COUNT as u32 == u64::BITS) };
        Self {
            partitions: u64::MAX,
            epoch,
        }
    }

    /// The epoch of this owner.
    pub(super) fn epoch(self) -> Epoch {
        self.epoch
    }

    /// Whether the instance is in one of the partitions.
    pub(super) fn owns(self, instance: InstanceNumber) -> bool {
        self.partitions & (1 << instance.partition().number()) != 0
    }
}
