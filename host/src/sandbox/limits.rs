//! The limit on the memories and tables of one guest, and what they take from the memory budget of the host.

use crate::memory::Held;
use wasmtime::{ResourceLimiter, Result};

use super::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// The size of a table element in bytes: a reference on a 64-bit host.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// What the host needs for a guest besides its memories and tables, in bytes: its stack and the state of its imports.
pub const BASE_BYTES: u64 = 128 << 10;

/// The budget of the host has no memory for the guest to grow.
#[derive(Debug, thiserror::Error)]
#[error("the host has no memory for a guest of {needed} bytes now")]
pub(super) struct NoMemory {
    /// What the guest would hold after it has grown, in bytes.
    pub(super) needed: u64,
}

/// Limits the sum of all memories and tables of a store. If the limiter has a share of the host's budget, growth takes
/// from it. A guest for which the budget has no memory is stopped with [`NoMemory`], because a guest that merely saw its
/// growth refused could take another path than on replay.
///
/// Wasmtime's own `StoreLimits` limits each memory separately, so a guest with four memories would get four times as much.
#[derive(Debug)]
pub(super) struct MemoryLimiter {
    limit: u64,
    used: u64,
    denied: bool,
    /// The bytes taken from the budget: at least [`BASE_BYTES`] and `used`.
    held: Option<Held>,
}

impl MemoryLimiter {
    /// Creates a limiter for `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            denied: false,
            held: None,
        }
    }

    /// Takes what the guest needs from the budget of the host; `held` was taken in advance.
    #[must_use]
    pub(super) fn taking_from(mut self, held: Held) -> Self {
        self.held = Some(held);
        self
    }

    /// What was taken from the budget of the host, after the guest has ended.
    pub(super) fn into_held(self) -> Option<Held> {
        self.held
    }

    /// Gives back what was taken in advance and is not used.
    pub(super) fn give_back_unused(&mut self) {
        let used = self.used + BASE_BYTES;
        if let Some(held) = self.held.as_mut().filter(|held| held.bytes() > used) {
            held.resize(used);
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

    fn grow(&mut self, growth: u64) -> Result<bool> {
        let Some(used) = self.used.checked_add(growth).filter(|used| *used <= self.limit) else {
            self.denied = true;
            return Ok(false);
        };
        let needed = used + BASE_BYTES;
        if let Some(held) = &mut self.held
            && needed > held.bytes()
            && !held.try_grow(needed - held.bytes())
        {
            return Err(NoMemory { needed }.into());
        }
        self.used = used;
        Ok(true)
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.denied = false;
        self.grow(desired.saturating_sub(current) as u64)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        // The host's limit first, because `maximum` is the smaller of the guest's own maximum and that of the pool.
        self.denied = desired > MAX_TABLE_ELEMENTS;
        if self.denied || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow((desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT_BYTES))
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
    use crate::memory::Pool;
    use crate::model::TenantId;

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

    #[test]
    fn growth_takes_from_the_budget_of_the_host() {
        let (pool, tenant) = (Pool::new(2_000_000), TenantId(1));
        let held = pool.try_take(tenant, 400_000).unwrap();
        let mut limiter = MemoryLimiter::new(u64::MAX).taking_from(held);
        assert!(limiter.memory_growing(0, 131_072, None).unwrap());
        assert_eq!(pool.usage_of(tenant).used, 400_000, "taken in advance");
        limiter.give_back_unused();
        assert_eq!(pool.usage_of(tenant).used, 131_072 + BASE_BYTES);
        assert!(limiter.memory_growing(131_072, 1_048_576, None).unwrap());
        assert_eq!(pool.usage_of(tenant).used, 1_048_576 + BASE_BYTES);
        let error = limiter.memory_growing(1_048_576, 2_097_152, None).unwrap_err();
        assert_eq!(error.downcast_ref::<NoMemory>().unwrap().needed, 2_097_152 + BASE_BYTES);
        drop(limiter);
        assert_eq!(pool.usage_of(tenant).used, 0);
    }
}
