//! Numbers that are never allocated twice.
//!
//! The writer reserves blocks of numbers on disk, so that a block costs one small write, and a crash loses at most the
//! rest of a block. `MAX(…) + 1` would reuse the number of a purged instance.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Error, backend::Connection, writer::Transaction};
use crate::model::{InboxSeq, InstanceId, InstanceNumber, Partition, TenantId};

/// How many numbers are reserved at a time: few enough to lose them at every start, enough to make the write rare.
const BLOCK: u64 = 10_000;

/// The next numbers to allocate.
///
/// Cloned before a batch and restored if the batch fails, because its reservations are rolled back with it.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    instances: InstanceNumbers,
    /// The first sequence of instance numbers that is not reserved. On disk it is the lowest number of that sequence.
    reserved_instances: u64,
    sequence: Counter,
}

/// Allocates numbers of instances, for the writer and for requests that create instances. A number that is not used is
/// lost. Holds the next [sequence](InstanceNumber::sequence).
#[derive(Debug, Clone)]
pub(super) struct InstanceNumbers(Arc<AtomicU64>);

#[derive(Debug, Clone)]
struct Counter {
    next: u64,
    reserved: u64,
}

impl Counters {
    /// Continues after the reservations of the previous run.
    pub(super) async fn load(connection: &mut Connection) -> Result<Self, Error> {
        let mut load = async |counter: &'static str| {
            let reserved = connection.reserved(counter).await?;
            reserved.ok_or_else(|| Error::Damaged(format!("the counter {counter:?} is missing")))
        };
        let reserved_instances = InstanceNumber(load("instance").await?).next_sequence();
        let reserved = load("sequence").await?;
        Ok(Self {
            instances: InstanceNumbers(Arc::new(AtomicU64::new(reserved_instances))),
            reserved_instances,
            sequence: Counter {
                next: reserved,
                reserved,
            },
        })
    }

    /// The allocator of instance numbers.
    pub(super) fn instances(&self) -> &InstanceNumbers {
        &self.instances
    }

    /// The next position in any inbox or log. One counter serves all: a position only has to grow.
    pub(super) fn next_seq(&mut self) -> InboxSeq {
        InboxSeq(self.sequence.take())
    }

    /// The newest position that was allocated.
    pub(super) fn newest_seq(&self) -> InboxSeq {
        InboxSeq(self.sequence.next.saturating_sub(1))
    }

    /// Reserves all allocated numbers on disk. Call it before the batch that uses them commits.
    pub(super) async fn reserve(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        let instances = self.instances.0.load(Ordering::Relaxed);
        if instances > self.reserved_instances {
            self.reserved_instances = instances + BLOCK;
            let lowest = InstanceNumber::in_partition(Partition::FIRST, self.reserved_instances);
            transaction.changing().await?.reserve("instance", lowest.0).await?;
        }
        if self.sequence.next > self.sequence.reserved {
            self.sequence.reserved = self.sequence.next + BLOCK;
            transaction
                .changing()
                .await?
                .reserve("sequence", self.sequence.reserved)
                .await?;
        }
        Ok(())
    }
}

impl InstanceNumbers {
    /// Allocates a number in the partition of the tenant and the id.
    pub(super) fn take(&self, tenant: TenantId, id: &InstanceId) -> InstanceNumber {
        InstanceNumber::in_partition(Partition::of(tenant, id), self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Counter {
    fn take(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}

/// Reserves one more number that is never used: the smallest write that shows whether the database can be written. (A
/// statement that changes nothing, or sets a row to the same values, does not reach the disk.)
pub(super) async fn skip_one(connection: &mut Connection) -> Result<(), Error> {
    const COUNTER: &str = "sequence";
    if let Some(reserved) = connection.reserved(COUNTER).await? {
        connection.reserve(COUNTER, reserved + 1).await?;
    }
    Ok(())
}
