//! Partitions: fixed shares of all instances, each owned by one host at a time.
//!
//! When an instance gets its number, its partition is computed from its tenant and id and becomes part of the number.
//! So a message is routed by the number alone.

use super::{InstanceId, InstanceNumber, TenantId};

/// A fixed share of all instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u16);

impl Partition {
    /// The number of partitions. Never changes, because ids would then belong to other partitions.
    pub const COUNT: u16 = 1 << InstanceNumber::PARTITION_BITS;

    /// The partition with the lowest number.
    pub const FIRST: Self = Self(0);

    /// The partition of an id: the FNV-1a hash (64 bits) of the tenant's number (four bytes, the highest first) and the
    /// bytes of the id, mixed by the last steps of SplitMix64 so that all bits count, modulo [`COUNT`](Self::COUNT).
    ///
    /// Never changes: stored numbers depend on it.
    pub fn of(tenant: TenantId, id: &InstanceId) -> Self {
        let bytes = tenant.0.to_be_bytes();
        let hash = fnv_1a(bytes.iter().chain(id.as_str().as_bytes()));
        let partition = mix(hash) % u64::from(Self::COUNT);
        Self(u16::try_from(partition).expect("less than the number of partitions"))
    }

    /// The number of the partition, from zero.
    pub fn number(self) -> u16 {
        self.0
    }
}

pub(super) fn fnv_1a<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

pub(super) fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The bits of a number, from the highest: one zero, because databases store signed integers; 57 bits for the sequence;
/// 6 bits for the partition.
///
/// The partition is in the low bits so that numbers grow with time: lists, their cursors and the indexes below them use
/// the number as the order of creation. Numbers created before partitions existed keep their order and stay below all
/// new ones; their partition follows from their low bits and may differ from that of the id.
impl InstanceNumber {
    const PARTITION_BITS: u32 = 6;

    /// Creates the number of an instance in a partition.
    ///
    /// # Panics
    /// When no numbers are left: after 2⁵⁷ instances.
    pub fn in_partition(partition: Partition, sequence: u64) -> Self {
        assert!(
            sequence < 1 << (63 - Self::PARTITION_BITS),
            "no instance numbers are left"
        );
        Self((sequence << Self::PARTITION_BITS) | u64::from(partition.0))
    }

    /// The partition of the instance. Its owner gets the messages for the instance.
    pub fn partition(self) -> Partition {
        let partition = self.0 & ((1 << Self::PARTITION_BITS) - 1);
        Partition(u16::try_from(partition).expect("6 bits"))
    }

    /// The position in the order of creation, across all partitions.
    pub fn sequence(self) -> u64 {
        self.0 >> Self::PARTITION_BITS
    }

    /// The first sequence whose numbers, in every partition, are not below this one.
    pub fn next_sequence(self) -> u64 {
        self.0.div_ceil(1 << Self::PARTITION_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tenant: u32, id: &str) -> u16 {
        Partition::of(TenantId(tenant), &id.parse().unwrap()).number()
    }

    #[test]
    fn the_partition_of_an_id_never_changes() {
        let golden = [
            (1, "a", 37),
            (1, "b", 13),
            (2, "a", 11),
            (1, "order-1", 5),
            (1, "order-2", 4),
            (1, "7f9c2ba4e88f827d616045507605853e", 15),
            (4_294_967_295, "Ärger größer", 48),
        ];
        for (tenant, id, partition) in golden {
            assert_eq!(of(tenant, id), partition, "{id:?} of tenant {tenant}");
        }
    }

    #[test]
    fn similar_ids_spread_over_all_partitions() {
        let mut counts = [0_u32; Partition::COUNT as usize];
        for number in 0..64_000 {
            counts[usize::from(of(1, &format!("order-{number}")))] += 1;
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_number_contains_its_partition_and_fits_into_a_signed_integer() {
        let last = (1 << 57) - 1;
        for partition in [0, 1, 63].map(Partition) {
            for sequence in [0, 1, last] {
                let number = InstanceNumber::in_partition(partition, sequence);
                assert_eq!((number.partition(), number.sequence()), (partition, sequence));
                assert!(i64::try_from(number.0).is_ok());
            }
        }
    }

    #[test]
    fn numbers_grow_with_time_across_partitions() {
        let older = InstanceNumber::in_partition(Partition(63), 7);
        assert!(older < InstanceNumber::in_partition(Partition(0), 8));
    }

    #[test]
    fn new_numbers_follow_those_created_before_partitions() {
        for old in [0, 1, 63, 64, 65, 10_001] {
            let old = InstanceNumber(old);
            let new = InstanceNumber::in_partition(Partition(0), old.next_sequence());
            assert!(new >= old && new.0 - old.0 < 64, "{old:?} {new:?}");
            assert!(old.partition().number() < Partition::COUNT);
        }
    }
}
