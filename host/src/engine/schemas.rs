//! Compiled schemas of stored modules, compiled on first use and kept while there is memory for them.
//!
//! Modules are stored with the text of their schemas. Nothing is compiled when the host starts, so no stored module can
//! keep it from starting. A compiled schema takes memory of its tenant's share; if there is none, the schemas that were
//! used longest ago are dropped, and if that is not enough, the schema is compiled for each use.
//!
//! Guests wait for a check of what they pass to a call, and pay for it with fuel. Everyone else checks
//! [elsewhere](Schemas::check) than on a thread that serves others, unless the check is short.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::check_places::{CheckPlaces, NoPlace};
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
    /// The input of an operation of an entity.
    Operation(ModuleNumber, FunctionName, String),
}

impl SchemaKey {
    fn module(&self) -> ModuleNumber {
        match self {
            Self::Input(module, ..) | Self::Event(module, ..) | Self::Operation(module, ..) => *module,
        }
    }
}

/// The compiled schemas. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Schemas {
    kept: Arc<Mutex<Kept>>,
    pool: Pool,
    places: CheckPlaces,
}

/// How to check a payload without delaying others.
#[derive(Debug, Clone, Copy)]
pub(super) struct CheckLimits {
    /// The fuel that the check may cost on the calling thread.
    pub(super) at_once: u64,
    /// How long to wait for a place to do it elsewhere; `None` is for ever.
    pub(super) patience: Option<Duration>,
}

impl CheckLimits {
    /// For the request of a client.
    pub(super) const OF_REQUEST: Self = Self {
        at_once: FUEL_AT_ONCE,
        patience: Some(PATIENCE),
    };

    /// For all events of a turn together, which are durable only after their checks.
    pub(super) const OF_TURN: Self = Self {
        at_once: FUEL_AT_ONCE,
        patience: None,
    };

    /// The limits after a check that cost so much fuel.
    pub(super) fn after(self, fuel: u64) -> Self {
        Self {
            at_once: self.at_once.saturating_sub(fuel),
            ..self
        }
    }
}

/// A check that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// Where and why the payload does not match, if it does not.
    pub(super) violation: Option<Violation>,
    /// What the check cost.
    pub(super) fuel: u64,
}

/// Why no check was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotChecked {
    /// No place for it became free in time.
    NoPlace(NoPlace),
    /// The host shuts down.
    Closed,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: BTreeMap<SchemaKey, Entry>,
    /// The keys of each tenant, from the one that was used longest ago.
    by_use: BTreeMap<(TenantId, u64), SchemaKey>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    /// `None` if this host cannot compile the schema.
    schema: Option<Arc<SchemaValidator>>,
    used: u64,
    memory: Held,
}

/// The fuel of a visit of a schema to a part of a value: about what a guest uses in the same time.
const FUEL_PER_VISIT: u64 = 20;

/// The most fuel of a check on a thread that serves others: about a millisecond.
const FUEL_AT_ONCE: u64 = 50_000 * FUEL_PER_VISIT;

/// The longest payload that is parsed on a thread that serves others, in bytes.
const MAX_BYTES_AT_ONCE: u64 = 16 << 10;

/// How long a request waits for a place to check its payload.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is taken for a schema besides its own estimate, in bytes.
const ENTRY_BYTES: u64 = 1 << 10;

impl Schemas {
    /// Starts without compiled schemas.
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            kept: Arc::default(),
            pool,
            places: CheckPlaces::of_machine(),
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

    /// Validates a payload, on another thread if it takes long or if the schema must be compiled first.
    ///
    /// # Errors
    /// If no place for the check becomes free in time, or the host shuts down.
    ///
    /// # Cancel safety
    /// A check that has begun continues, and keeps its place until it ends.
    pub(super) async fn check(
        &self,
        tenant: TenantId,
        key: SchemaKey,
        schema: &Arc<str>,
        payload: &Payload,
        limits: CheckLimits,
    ) -> Result<Checked, NotChecked> {
        if let Some(checked) = self.check_at_once(&key, payload, limits.at_once) {
            return Ok(checked);
        }
        let place = self.places.enter(tenant, limits.patience).await;
        let place = place.map_err(NotChecked::NoPlace)?;
        let (schemas, schema, payload) = (self.clone(), schema.clone(), payload.clone());
        let check = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut fuel = 0;
            let checked = schemas.validate(tenant, key, &schema, &payload, &mut fuel);
            Checked {
                violation: checked.err(),
                fuel,
            }
        });
        match AbortOnDropHandle::new(check).await {
            Ok(checked) => Ok(checked),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(NotChecked::Closed),
        }
    }

    /// Validates a short payload with a compiled schema, if it costs at most so much fuel.
    fn check_at_once(&self, key: &SchemaKey, payload: &Payload, most: u64) -> Option<Checked> {
        if payload.bytes() > MAX_BYTES_AT_ONCE {
            return None;
        }
        let known = self.lock().use_again(key)?;
        let Some(schema) = known else {
            return Some(Checked::default());
        };
        let check = schema.check(payload);
        let mut fuel = 0;
        charge(&mut fuel, check.visits());
        (fuel <= most).then(|| Checked {
            violation: check.run().err(),
            fuel,
        })
    }

    /// Drops the schemas of a tenant's versions except these. What still runs on another version compiles them again.
    pub(super) fn keep_only(&self, tenant: TenantId, versions: &BTreeSet<ModuleNumber>) {
        let dropped = self.lock().drop_except(tenant, versions);
        drop(dropped);
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
        let tenant = entry.memory.tenant();
        let key = self.by_use.remove(&(tenant, entry.used));
        entry.used = self.uses;
        self.by_use
            .insert((tenant, self.uses), key.expect("each entry is in both maps"));
        Some(entry.schema.clone())
    }

    fn keep(&mut self, tenant: TenantId, key: SchemaKey, schema: Option<Arc<SchemaValidator>>, memory: Held) {
        self.uses += 1;
        let entry = Entry {
            schema,
            used: self.uses,
            memory,
        };
        // Another thread may have compiled it meanwhile.
        if let Some(before) = self.by_key.insert(key.clone(), entry) {
            self.by_use.remove(&(before.memory.tenant(), before.used));
        }
        self.by_use.insert((tenant, self.uses), key);
    }

    /// Drops the schemas of other versions of a tenant. Returns what they held, to be dropped without the lock.
    fn drop_except(&mut self, tenant: TenantId, versions: &BTreeSet<ModuleNumber>) -> Vec<Entry> {
        let of_tenant = (tenant, 0)..=(tenant, u64::MAX);
        let others = self
            .by_use
            .extract_if(of_tenant, |_, key| !versions.contains(&key.module()));
        let others: Vec<_> = others.map(|(_, key)| key).collect();
        others.iter().filter_map(|key| self.by_key.remove(key)).collect()
    }

    /// Drops the schema of a tenant that was used longest ago. Returns what it held, to be dropped without the lock.
    fn drop_oldest_of(&mut self, tenant: TenantId) -> Option<Entry> {
        let (oldest, _) = self.by_use.range((tenant, 0)..=(tenant, u64::MAX)).next()?;
        let oldest = *oldest;
        let key = self.by_use.remove(&oldest)?;
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
        // A tenant gets seven ninths.
        let schemas = Schemas::new(Pool::new(bytes * 8 / 3 + 5));
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

    #[tokio::test]
    async fn a_check_that_takes_long_is_made_elsewhere() {
        let schemas = Schemas::new(Pool::new(1 << 30));
        let schema: Arc<str> = r#"{"items": {"type": "integer"}}"#.into();
        let at_once = |count: usize, most| {
            let payload = Payload::parse(&format!("[{}true]", "1,".repeat(count)), usize::MAX).unwrap();
            schemas.check_at_once(&key(1), &payload, most)
        };
        assert_eq!(at_once(1, u64::MAX), None, "it is not compiled yet");
        let payload = Payload::parse("[1, true]", 100).unwrap();
        let checked = schemas
            .check(TENANT, key(1), &schema, &payload, CheckLimits::OF_REQUEST)
            .await
            .unwrap();
        assert_eq!(checked.violation.unwrap().path, "/1");
        assert!(at_once(1, FUEL_AT_ONCE).unwrap().violation.is_some());
        assert_eq!(at_once(1_000, 1_000), None, "it costs more");
        assert_eq!(at_once(10_000, u64::MAX), None, "it is longer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_check_waits_for_a_place_only_so_long() {
        let schemas = Schemas::new(Pool::new(1 << 30));
        let schema: Arc<str> = "true".into();
        let mut places = Vec::new();
        while let Ok(place) = schemas.places.enter(TENANT, Some(Duration::from_secs(1))).await {
            places.push(place);
        }
        let check = |limits| {
            let (schemas, schema) = (schemas.clone(), schema.clone());
            async move { schemas.check(TENANT, key(1), &schema, &Payload::null(), limits).await }
        };
        let refused = check(CheckLimits::OF_REQUEST).await;
        assert_eq!(refused, Err(NotChecked::NoPlace(NoPlace::OfTenant)));
        let durable = tokio::spawn(check(CheckLimits::OF_TURN));
        tokio::time::sleep(2 * PATIENCE).await;
        drop(places);
        assert_eq!(durable.await.unwrap().unwrap().violation, None);
    }

    #[test]
    fn schemas_of_versions_that_are_not_current_are_dropped() {
        let schemas = Schemas::new(Pool::new(1 << 30));
        for number in 1..=3 {
            schemas.compiled(TENANT, key(number), "true", &mut 0);
        }
        schemas.compiled(TenantId(2), key(4), "true", &mut 0);
        schemas.keep_only(TENANT, &BTreeSet::from([ModuleNumber(2)]));
        assert_eq!(kept(&schemas), [key(2), key(4)]);
        assert_eq!(schemas.lock().by_use.len(), 2);
        schemas.keep_only(TenantId(2), &BTreeSet::new());
        assert_eq!(schemas.pool.usage_of(TenantId(2)).used, 0);
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
