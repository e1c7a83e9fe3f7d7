//! What the writer knows about instances: from its cache, from the database, and from the current batch.
//!
//! No one else writes, so what the writer has read or written stays correct until it changes it itself.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use crate::{
    model::{InstanceId, InstanceNumber, TenantId},
    store::{
        Error,
        backend::Connection,
        instances::{ById, ByNumber, InstanceHead},
    },
};

/// The capacity of each of the two generations of the cache, in live instances. An entry takes about 200 bytes.
const CACHED_INSTANCES: usize = 16_384;

/// The capacity of each of the two generations of remembered creations. A second request to create the same instance
/// comes after at most a full queue and a full backlog of the writer.
const REMEMBERED_CREATIONS: usize = 4 * (super::QUEUE_CAPACITY + super::MAX_BACKLOG);

type IdKey = (TenantId, InstanceId);

/// A cache of live instances that were recently written or read. Contains only committed state.
pub(super) struct HeadCache {
    heads: Generations<InstanceNumber, InstanceHead>,
    numbers: Generations<IdKey, InstanceNumber>,
    created: Generations<InstanceNumber, ()>,
}

/// The instances that a batch needs, with the changes of the batch so far.
#[derive(Default)]
pub(super) struct InstanceHeads {
    by_number: HashMap<InstanceNumber, Option<InstanceHead>>,
    by_id: HashMap<IdKey, Option<InstanceNumber>>,
    /// Instances that were created recently or in this batch, even if they are deleted by now.
    created: HashSet<InstanceNumber>,
}

/// The instances that a batch needs.
#[derive(Default)]
pub(super) struct Wanted {
    numbers: HashSet<InstanceNumber>,
    ids: HashSet<IdKey>,
    creations: Vec<InstanceNumber>,
}

impl Wanted {
    /// Adds an instance that the batch creates.
    pub(super) fn creation(&mut self, number: InstanceNumber) {
        self.creations.push(number);
    }

    /// Adds an instance by its number.
    pub(super) fn number(&mut self, number: InstanceNumber) {
        self.numbers.insert(number);
    }

    /// Adds an instance by its id.
    pub(super) fn id(&mut self, tenant: TenantId, id: &InstanceId) {
        self.ids.insert((tenant, id.clone()));
    }
}

impl HeadCache {
    /// An empty cache.
    pub(super) fn new() -> Self {
        Self {
            heads: Generations::new(CACHED_INSTANCES),
            numbers: Generations::new(CACHED_INSTANCES),
            created: Generations::new(REMEMBERED_CREATIONS),
        }
    }

    /// Collects the heads for a batch, and reads those that are not cached from the database.
    pub(super) async fn gather(
        &mut self,
        wanted: &Wanted,
        connection: &mut Connection,
    ) -> Result<InstanceHeads, Error> {
        let mut heads = InstanceHeads::default();
        let created = wanted
            .creations
            .iter()
            .filter(|number| self.created.get(number).is_some());
        heads.created.extend(created.copied());
        let mut unknown_ids = Vec::new();
        for key in &wanted.ids {
            match self.numbers.get(key).and_then(|number| self.heads.get(&number)) {
                Some(head) => heads.learn(head),
                None => unknown_ids.push(ById(key.0, &key.1)),
            }
        }
        let mut unknown_numbers = Vec::new();
        for number in &wanted.numbers {
            match self.heads.get(number) {
                Some(head) => heads.learn(head),
                None => unknown_numbers.push(ByNumber(*number)),
            }
        }
        // Absent until found.
        heads
            .by_id
            .extend(unknown_ids.iter().map(|by| ((by.0, by.1.clone()), None)));
        heads.by_number.extend(unknown_numbers.iter().map(|by| (by.0, None)));
        for head in connection.heads_by_id(&unknown_ids).await? {
            heads.learn(head);
        }
        for head in connection.heads_by_number(&unknown_numbers).await? {
            heads.learn(head);
        }
        Ok(heads)
    }

    /// The tenant that owns an instance, if the instance is cached.
    pub(super) fn owner(&mut self, number: InstanceNumber) -> Option<TenantId> {
        self.heads.get(&number).map(|head| head.tenant)
    }

    /// Takes over the final state of a committed batch.
    pub(super) fn absorb(&mut self, heads: InstanceHeads) {
        for number in heads.created {
            self.created.insert(number, ());
        }
        for (key, number) in heads.by_id {
            if number.is_none() {
                self.numbers.remove(&key);
            }
        }
        for (number, head) in heads.by_number {
            match head {
                Some(head) if !head.status.has_ended() => {
                    self.numbers.insert((head.tenant, head.id.clone()), number);
                    self.heads.insert(number, head);
                }
                // An entry of `numbers` without a head is ignored.
                Some(_) | None => self.heads.remove(&number),
            }
        }
    }
}

impl InstanceHeads {
    /// The instance with this number.
    ///
    /// # Panics
    /// When the batch did not collect it.
    pub(super) fn by_number(&self, number: InstanceNumber) -> Option<&InstanceHead> {
        self.by_number
            .get(&number)
            .expect("the batch asked for each instance that it names by number")
            .as_ref()
    }

    /// The instance with this number, to change it.
    ///
    /// # Panics
    /// When the batch did not collect it.
    pub(super) fn by_number_mut(&mut self, number: InstanceNumber) -> Option<&mut InstanceHead> {
        self.by_number
            .get_mut(&number)
            .expect("the batch asked for each instance that it names by number")
            .as_mut()
    }

    /// The instance with this id.
    ///
    /// # Panics
    /// When the batch did not collect it.
    pub(super) fn by_id(&self, tenant: TenantId, id: &InstanceId) -> Option<&InstanceHead> {
        let number = self
            .by_id
            .get(&(tenant, id.clone()))
            .expect("the batch asked for each id that it names");
        number.and_then(|number| self.by_number.get(&number)?.as_ref())
    }

    /// Records that an instance was created. Its number is never used again, even after the instance was deleted.
    pub(super) fn note_created(&mut self, number: InstanceNumber) {
        self.created.insert(number);
    }

    /// Whether the instance was created recently.
    pub(super) fn was_created(&self, number: InstanceNumber) -> bool {
        self.created.contains(&number)
    }

    /// Adds an instance that exists now.
    pub(super) fn learn(&mut self, head: InstanceHead) {
        self.by_id.insert((head.tenant, head.id.clone()), Some(head.number));
        self.by_number.insert(head.number, Some(head));
    }

    /// Removes an instance that no longer exists.
    pub(super) fn forget(&mut self, number: InstanceNumber) {
        if let Some(head) = self.by_number.insert(number, None).flatten() {
            self.by_id.insert((head.tenant, head.id), None);
        }
    }
}

/// A cache that drops entries that were not used for a while: two maps, the older of which is dropped when the younger
/// is full. Cheaper than a real LRU list, and good enough to limit memory.
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    limit: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Generations<K, V> {
    fn new(limit: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            limit,
        }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(key.clone(), value.clone());
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        self.young.insert(key, value);
        if self.young.len() >= self.limit {
            self.old = std::mem::take(&mut self.young);
        }
    }

    fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_drops_entries_that_were_not_used_for_a_while() {
        let mut cache = Generations::new(4);
        for key in 0..4 {
            cache.insert(key, key * 10);
        }
        assert_eq!(cache.get(&0), Some(0));
        for key in 10..13 {
            cache.insert(key, 0);
        }
        for key in 20..22 {
            cache.insert(key, 0);
        }
        assert_eq!(cache.get(&0), Some(0), "asked for since the last change of generations");
        assert_eq!(cache.get(&1), None);
        cache.remove(&0);
        assert_eq!(cache.get(&0), None);
        assert!(cache.young.len() + cache.old.len() <= 8);
    }
}
