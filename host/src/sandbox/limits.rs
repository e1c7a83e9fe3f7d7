//! The limit on the memories and tables of one guest.

use wasmtime::{ResourceLimiter, Result};

use super::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// The size of a table element in bytes: a reference on a 64-bit host.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// Limits the sum of all memories and tables of a store.
///
/// Wasmtime's own `StoreLimits` limits each memory separately, so a guest with four memories would get four times as much.
#[derive(Debug)]
pub(super) struct MemoryLimiter {
    limit: u64,
    used: u64,
    denied: bool,
}

impl MemoryLimiter {
    /// Creates a limiter for `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            denied: false,
        }
    }

    /// Whether the last request of the guest for memory or table elements was refused because of the host's limits.
    pub(super) fn denied(&self) -> bool {
        self.denied
    }

    /// The limit in bytes.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn grow(&mut self, growth: u64) -> bool {
        match self.used.checked_add(growth).filter(|used| *used <= self.limit) {
            Some(used) => self.used = used,
            None => self.denied = true,
        }
        !self.denied
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.denied = false;
        Ok(self.grow(desired.saturating_sub(current) as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        // The host's limit first, because `maximum` is the smaller of the guest's own maximum and that of the pool.
        self.denied = desired > MAX_TABLE_ELEMENTS;
        if self.denied || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow((desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_applies_to_all_memories_and_tables_together() {
        let mut limiter = MemoryLimiter::new(300_000);
        assert!(limiter.memory_growing(0, 131_072, None).unwrap());
        assert!(limiter.memory_growing(0, 131_072, None).unwrap());
        assert!(!limiter.memory_growing(131_072, 196_608, None).unwrap());
        assert!(limiter.denied());
        assert!(limiter.table_growing(0, 1_000, None).unwrap());
        assert!(!limiter.denied(), "a smaller request is granted and clears the refusal");
        assert!(!limiter.table_growing(1_000, 10_000, None).unwrap());
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
        assert_eq!(limiter.used, 270_144);
        assert!(limiter.memory_growing(131_072, 131_072, None).unwrap());
        assert!(!limiter.table_growing(0, 2, Some(1)).unwrap());
        assert!(
            !limiter.denied(),
            "a maximum that the guest declared is not a refusal of the host"
        );
        assert!(!limiter.table_growing(0, MAX_TABLE_ELEMENTS + 1, None).unwrap());
        assert!(limiter.denied());
    }
}
