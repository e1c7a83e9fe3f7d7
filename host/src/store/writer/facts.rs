//! What the writer knows of instances: from its cache, from the database, and from the batch it is working on.
//!
//! The writer is the only one that writes, so what it has written or read once stays true until it changes it itself.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use crate::{
    model::{InstanceId, InstanceNumber, TenantId},
    store::{
        Error,
        connection::Connection,
        instances::{ById, ByNumber, Fact},
    },
};

/// How many live instances the cache holds in each of its two generations. An entry takes about 200 bytes.
const CACHED_INSTANCES: usize = 16_384;

/// How many births are remembered, in each of two generations. A second request to create the same instance comes at most
/// a full queue and backlog of the writer later.
const REMEMBERED_BIRTHS: usize = 4 * (super::QUEUE_CAPACITY + super::MAX_BACKLOG);

type IdKey = (TenantId, InstanceId);

/// Live instances that were written or asked for lately. Holds nothing that is not committed.
pub(super) struct FactCache {
    facts: Generations<InstanceNumber, Fact>,
    numbers: Generations<IdKey, InstanceNumber>,
    born: Generations<InstanceNumber, ()>,
}

/// What a batch may ask for, and what it has changed so far.
#[derive(Default)]
pub(super) struct Facts {
    by_number: HashMap<InstanceNumber, Option<Fact>>,
    by_id: HashMap<IdKey, Option<InstanceNumber>>,
    /// Instances that were born lately, or in this batch, whatever has become of them.
    born: HashSet<InstanceNumber>,
}

/// The instances that a batch is about.
#[derive(Default)]
pub(super) struct Wanted {
    numbers: HashSet<InstanceNumber>,
    ids: HashSet<IdKey>,
    births: Vec<InstanceNumber>,
}

impl Wanted {
    /// Adds an instance that is to be born.
    pub(super) fn birth(&mut self, number: InstanceNumber) {
        self.births.push(number);
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

impl FactCache {
    /// Knows nothing yet.
    pub(super) fn new() -> Self {
        Self {
            facts: Generations::new(CACHED_INSTANCES),
            numbers: Generations::new(CACHED_INSTANCES),
            born: Generations::new(REMEMBERED_BIRTHS),
        }
    }

    /// Gathers facts for a batch, from the database if need be.
    pub(super) async fn gather(&mut self, wanted: &Wanted, connection: &mut Connection) -> Result<Facts, Error> {
        let mut facts = Facts::default();
        let born = wanted.births.iter().filter(|number| self.born.get(number).is_some());
        facts.born.extend(born.copied());
        let mut unknown_ids = Vec::new();
        for key in &wanted.ids {
            match self.numbers.get(key).and_then(|number| self.facts.get(&number)) {
                Some(fact) => facts.learn(fact),
                None => unknown_ids.push(ById(key.0, &key.1)),
            }
        }
        let mut unknown_numbers = Vec::new();
        for number in &wanted.numbers {
            match self.facts.get(number) {
                Some(fact) => facts.learn(fact),
                None => unknown_numbers.push(ByNumber(*number)),
            }
        }
        // Absent until found.
        facts
            .by_id
            .extend(unknown_ids.iter().map(|by| ((by.0, by.1.clone()), None)));
        facts.by_number.extend(unknown_numbers.iter().map(|by| (by.0, None)));
        for fact in connection.facts_by_id(&unknown_ids).await? {
            facts.learn(fact);
        }
        for fact in connection.facts_by_number(&unknown_numbers).await? {
            facts.learn(fact);
        }
        Ok(facts)
    }

    /// Whose instance it is, if it is remembered.
    pub(super) fn owner(&mut self, number: InstanceNumber) -> Option<TenantId> {
        self.facts.get(&number).map(|fact| fact.tenant)
    }

    /// Takes over what a committed batch knew in the end.
    pub(super) fn absorb(&mut self, facts: Facts) {
        for number in facts.born {
            self.born.insert(number, ());
        }
        for (key, number) in facts.by_id {
            if number.is_none() {
                self.numbers.remove(&key);
            }
        }
        for (number, fact) in facts.by_number {
            match fact {
                Some(fact) if !fact.status.has_ended() => {
                    self.numbers.insert((fact.tenant, fact.id.clone()), number);
                    self.facts.insert(number, fact);
                }
                // An entry of `numbers` without its fact is as good as none.
                Some(_) | None => self.facts.remove(&number),
            }
        }
    }
}

impl Facts {
    /// The instance of that number.
    ///
    /// # Panics
    /// When the batch did not ask for it.
    pub(super) fn by_number(&self, number: InstanceNumber) -> Option<&Fact> {
        self.by_number
            .get(&number)
            .expect("the batch asked for each instance that it names by number")
            .as_ref()
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// When the batch did not ask for it.
    pub(super) fn by_number_mut(&mut self, number: InstanceNumber) -> Option<&mut Fact> {
        self.by_number
            .get_mut(&number)
            .expect("the batch asked for each instance that it names by number")
            .as_mut()
    }

    /// The instance of that id.
    ///
    /// # Panics
    /// When the batch did not ask for it.
    pub(super) fn by_id(&self, tenant: TenantId, id: &InstanceId) -> Option<&Fact> {
        let number = self
            .by_id
            .get(&(tenant, id.clone()))
            .expect("the batch asked for each id that it names");
        number.and_then(|number| self.by_number.get(&number)?.as_ref())
    }

    /// An instance was born. Its number is never born again, even if it is gone by then.
    pub(super) fn bear(&mut self, number: InstanceNumber) {
        self.born.insert(number);
    }

    /// Whether the instance was born lately.
    pub(super) fn was_born(&self, number: InstanceNumber) -> bool {
        self.born.contains(&number)
    }

    /// An instance that exists now.
    pub(super) fn learn(&mut self, fact: Fact) {
        self.by_id.insert((fact.tenant, fact.id.clone()), Some(fact.number));
        self.by_number.insert(fact.number, Some(fact));
    }

    /// An instance that exists no more.
    pub(super) fn forget(&mut self, number: InstanceNumber) {
        if let Some(fact) = self.by_number.insert(number, None).flatten() {
            self.by_id.insert((fact.tenant, fact.id), None);
        }
    }
}

/// A map that forgets what was not asked for in a while: two maps, the older of which is dropped when the younger is
/// full. Cheaper than a true LRU list, and good enough to bound memory.
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
    fn a_cache_forgets_what_was_not_asked_for_in_a_while() {
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
