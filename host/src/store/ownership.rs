//! Which partitions a writer owns, and since when.

use crate::model::{InstanceNumber, Partition};

/// Counts the owners of a set of partitions. A database accepts the transactions of the newest owner only, so a writer that
/// was paused while another host took over cannot commit late.
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

/// What a writer owns: partitions, under an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ownership {
    /// A bit for each partition, the lowest for the first.
    partitions: u64,
    epoch: Epoch,
}

impl Ownership {
    /// Of all partitions.
    pub(super) fn of_all(epoch: Epoch) -> Self {
        const { assert!(Partition::COUNT as u32 == u64::BITS) };
        Self {
            partitions: u64::MAX,
            epoch,
        }
    }

    /// Since when.
    pub(super) fn epoch(self) -> Epoch {
        self.epoch
    }

    /// Whether the rows of an instance belong to it.
    pub(super) fn owns(self, instance: InstanceNumber) -> bool {
        self.partitions & (1 << instance.partition().number()) != 0
    }
}
