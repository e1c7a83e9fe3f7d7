//! Compiled schemas of stored modules, compiled on first use and kept while there is memory for them.
//!
//! Modules are stored with the text of their schemas. Nothing is compiled when the host starts, so no stored module can
//! keep it from starting. A compiled schema takes memory of its tenant's share; if there is none, the schemas that were
//! used longest ago are dropped, and if that is not enough, the schema is compiled for each use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::{Held, Pool};
use crate::model::{FunctionKind, FunctionName, ModuleNumber, Payload, TenantId};
use crate::schema::{SchemaValidator, Violation};

/// A schema of a stored module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SchemaKey {
    /// The input of a function.
    Input(ModuleNumber, FunctionKind, FunctionName),
    /// An event, by its folded name.
    Event(ModuleNumber, FunctionName, String),
}

/// The compiled schemas. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Schemas {
    kept: Arc<Mutex<Kept>>,
    pool: Pool,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: BTreeMap<SchemaKey, Entry>,
    /// From the one that was used longest ago.
    by_use: BTreeMap<u64, (TenantId, SchemaKey)>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    /// `None` if this host cannot compile the schema.
    schema: Option<Arc<SchemaValidator>>,
    used: u64,
    _memory: Held,
}

/// The fuel of a visit of a schema to a part of a value: about what a guest uses in the same time.
const FUEL_PER_VISIT: u64 = 20;

/// What is taken for a schema besides its own estimate, in bytes.
const ENTRY_BYTES: u64 = 1 << 10;

impl Schemas {
    /// Starts without compiled schemas.
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            kept: Arc::default(),
            pool,
        }
    }

    /// Validates a payload, and adds the cost to `fuel`. The schema was checked at upload; one that this host cannot
    /// compile any more accepts everything.
    ///
    /// # Errors
    /// Where and why the payload does not match.
    pub(super) fn validate(
        &self,
        tenant: TenantId,
        key: SchemaKey,
        schema: &str,
        payload: &Payload,
        fuel: &mut u64,
    ) -> Result<(), Violation> {
        let Some(schema) = self.compiled(tenant, key, schema, fuel) else {
            return Ok(());
        };
        let check = schema.check(payload);
        charge(fuel, check.visits());
        check.run()
    }

    fn compiled(&self, tenant: TenantId, key: SchemaKey, schema: &str, fuel: &mut u64) -> Option<Arc<SchemaValidator>> {
        if let Some(known) = self.lock().use_again(&key) {
            return known;
        }
        let compiled = SchemaValidator::compile(schema).ok().map(Arc::new);
        charge(fuel, compiled.as_ref().map_or(0, |schema| schema.compile_visits()));
        let bytes = ENTRY_BYTES + compiled.as_ref().map_or(0, |schema| schema.bytes());
        if let Some(memory) = self.memory(tenant, bytes) {
            self.lock().keep(tenant, key, compiled.clone(), memory);
        }
        compiled
    }

    /// Takes memory for a schema. Drops others if necessary.
    fn memory(&self, tenant: TenantId, bytes: u64) -> Option<Held> {
        loop {
            if let Some(memory) = self.pool.try_take(tenant, bytes) {
                return Some(memory);
            }
            let gives_way = self.pool.gives_way(tenant, bytes);
            let dropped = self.lock().drop_oldest_of(gives_way)?;
            drop(dropped);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the cost of so many visits.
fn charge(fuel: &mut u64, visits: u64) {
    *fuel = fuel.saturating_add(visits.saturating_mul(FUEL_PER_VISIT));
}

impl Kept {
    /// The schema of a key, if it is kept.
    fn use_again(&mut self, key: &SchemaKey) -> Option<Option<Arc<SchemaValidator>>> {
        let entry = self.by_key.get_mut(key)?;
        self.uses += 1;
        let user = self.by_use.remove(&entry.used).expect("each entry is in both maps");
        entry.used = self.uses;
        self.by_use.insert(self.uses, user);
        Some(entry.schema.clone())
    }

    fn keep(&mut self, tenant: TenantId, key: SchemaKey, schema: Option<Arc<SchemaValidator>>, memory: Held) {
        self.uses += 1;
        let entry = Entry {
            schema,
            used: self.uses,
            _memory: memory,
        };
        // Another thread may have compiled it meanwhile.
        if let Some(before) = self.by_key.insert(key.clone(), entry) {
            self.by_use.remove(&before.used);
        }
        self.by_use.insert(self.uses, (tenant, key));
    }

    /// Drops the schema of a tenant that was used longest ago. Returns what it held, to be dropped without the lock.
    fn drop_oldest_of(&mut self, tenant: TenantId) -> Option<Entry> {
        let oldest = self.by_use.iter().find(|(_, (user, _))| *user == tenant);
        let used = *oldest?.0;
        let (_, key) = self.by_use.remove(&used)?;
        self.by_key.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(1);

    fn key(number: u32) -> SchemaKey {
        SchemaKey::Input(ModuleNumber(number), FunctionKind::Activity, "a".parse().unwrap())
    }

    fn kept(schemas: &Schemas) -> Vec<SchemaKey> {
        schemas.lock().by_key.keys().cloned().collect()
    }

    #[test]
    fn a_schema_is_compiled_once_while_there_is_memory_for_it() {
        let schema = r#"{"type": "string"}"#;
        let bytes = ENTRY_BYTES + SchemaValidator::compile(schema).unwrap().bytes();
        // A tenant gets four fifths.
        let schemas = Schemas::new(Pool::new(bytes * 5 / 2 + 5));
        let compiled = |number| schemas.compiled(TENANT, key(number), schema, &mut 0).unwrap();
        let first = compiled(1);
        compiled(2);
        assert!(Arc::ptr_eq(&first, &compiled(1)));
        compiled(3);
        assert_eq!(kept(&schemas), [key(1), key(3)], "2 was used longest ago");
        let payload = Payload::parse("7", 10).unwrap();
        assert!(schemas.validate(TENANT, key(3), schema, &payload, &mut 0).is_err());
        // The other tenant holds nothing, so the first one gives way.
        schemas.compiled(TenantId(2), key(4), schema, &mut 0);
        assert_eq!(kept(&schemas), [key(3), key(4)]);
    }

    #[test]
    fn a_check_costs_fuel_in_proportion_and_compiling_costs_once() {
        let schemas = Schemas::new(Pool::new(1 << 30));
        let schema = r#"{"items": {"type": "integer"}}"#;
        let fuel = |count: usize| {
            let payload = Payload::parse(&format!("[{}1]", "1,".repeat(count)), usize::MAX).unwrap();
            let mut fuel = 0;
            let checked = schemas.validate(TENANT, key(1), schema, &payload, &mut fuel);
            assert_eq!(checked, Ok(()));
            fuel
        };
        let (first, again, long) = (fuel(10), fuel(10), fuel(10_000));
        assert!(first > 2 * again, "{first}, {again}");
        assert!((500 * again..1_500 * again).contains(&long), "{again}, {long}");
    }

    #[test]
    fn without_memory_a_schema_is_compiled_for_each_use() {
        let schemas = Schemas::new(Pool::new(100));
        let _all = schemas.pool.take_beyond_limit(TENANT, 100);
        let payload = Payload::parse("7", 10).unwrap();
        for _ in 0..2 {
            let checked = schemas.validate(TENANT, key(1), r#"{"type": "string"}"#, &payload, &mut 0);
            assert!(checked.is_err());
        }
        assert_eq!(schemas.validate(TENANT, key(2), "not JSON", &payload, &mut 0), Ok(()));
        assert_eq!(kept(&schemas), []);
    }
}
