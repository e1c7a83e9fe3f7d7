//! An LRU cache, bounded by entries and bytes.
//!
//! The caller reports the size of a value once it is known.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Values by key.
pub(super) struct LruCache<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    limits: Limits,
    /// The sum of the reported sizes.
    bytes: u64,
    uses: u64,
}

/// The limits of the cache. A single value may be larger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub entries: usize,
    pub bytes: u64,
}

struct Entry<V> {
    value: Arc<V>,
    bytes: u64,
    /// The number of the last use.
    used: u64,
}

impl<K: Ord + Copy, V: Default> LruCache<K, V> {
    /// Creates an empty cache.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            entries: BTreeMap::new(),
            limits,
            bytes: 0,
            uses: 0,
        }
    }

    /// Returns the value of a key, or inserts a default one, and counts it as used.
    pub(super) fn take_up(&mut self, key: K) -> Arc<V> {
        self.uses += 1;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            value: Arc::default(),
            bytes: 0,
            used: 0,
        });
        entry.used = self.uses;
        let value = entry.value.clone();
        self.drop_others(key);
        value
    }

    /// Returns a value without counting it as used.
    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.entries.get(&key).map(|entry| &*entry.value)
    }

    /// Reports the size of a value. Other values are dropped if necessary.
    pub(super) fn weigh(&mut self, key: K, bytes: u64) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        self.drop_others(key);
    }

    /// Drops a value.
    pub(super) fn forget(&mut self, key: K) {
        if let Some(dropped) = self.entries.remove(&key) {
            self.bytes -= dropped.bytes;
        }
    }

    /// Drops the least recently used values beyond the limits, except this one.
    fn drop_others(&mut self, key: K) {
        while self.entries.len() > self.limits.entries || self.bytes > self.limits.bytes {
            let others = self.entries.iter().filter(|(other, _)| **other != key);
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) else {
                return;
            };
            let dropped = self.entries.remove(&oldest).expect("it was just there");
            self.bytes -= dropped.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(entries: usize, bytes: u64) -> LruCache<u8, ()> {
        LruCache::new(Limits { entries, bytes })
    }

    fn check(kept: &LruCache<u8, ()>, expected: &[u8]) {
        assert_eq!(kept.entries.keys().copied().collect::<Vec<_>>(), expected);
        let bytes: u64 = kept.entries.values().map(|entry| entry.bytes).sum();
        assert_eq!(kept.bytes, bytes);
    }

    #[test]
    fn the_least_recently_used_value_is_dropped_first() {
        let mut kept = kept(3, u64::MAX);
        for key in [1, 2, 3, 1, 4] {
            kept.take_up(key);
        }
        check(&kept, &[1, 3, 4]);
        assert_eq!(kept.get(2), None);
    }

    #[test]
    fn a_large_value_drops_as_many_others_as_necessary_but_never_itself() {
        let mut kept = kept(100, 100);
        for key in 1..=10 {
            kept.take_up(key);
            kept.weigh(key, 10);
        }
        check(&kept, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        kept.take_up(1);
        kept.take_up(11);
        kept.weigh(11, 25);
        check(&kept, &[1, 5, 6, 7, 8, 9, 10, 11]);
        kept.weigh(11, 1_000);
        check(&kept, &[11]);
        // Was dropped in the meantime, so its size is not counted.
        kept.weigh(1, 50);
        kept.take_up(12);
        check(&kept, &[12]);
        kept.forget(12);
        kept.forget(12);
        check(&kept, &[]);
    }
}
