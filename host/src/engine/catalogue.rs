//! The current functions of each tenant, and the modules behind them, ready to run.
//!
//! Connects the stored modules with the sandbox. New turns look up functions here; replay and attempts load the exact
//! version that a history names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use super::api::{PutModuleError, StartError, StoredModule};
use super::check_places::NoPlace;
use super::compiled_code::CompiledCode;
use super::declared_events::DeclaredEvents;
use super::guests::{ActivityCode, AnyGuest, Guests, Modules};
use super::lru_cache::{Limits, LruCache};
use super::schemas::{CheckLimits, NotChecked, SchemaKey, Schemas};
use crate::clock::Clock;
use crate::config::ByteSize;
use crate::memory::{Held, Memory, Part};
use crate::model::{
    ActivityOptions, Failure, FunctionKind, FunctionName, ModuleDigest, ModuleNumber, Payload, Started, TenantId,
    Timestamp, failure::types,
};
use crate::replay::{Directory, HostUnavailable, ResolvedActivity, ResolvedOrchestration};
use crate::sandbox::{ActivityRun, Attempt, ConnectionCounts, Module, Sandbox};
use crate::schema::Violation;
use crate::store::{self, ModuleVersion, PutModule, PutModuleOutcome, Store};
use crate::tenancy::{Exceeded, Quota, Quotas};

/// Limits for loaded modules, by number and by bytes of code. Beyond them, the least recently used ones are dropped;
/// they are loaded again from the cache on disk.
const MAX_LOADED: Limits = Limits {
    entries: 512,
    bytes: 1 << 30,
};

/// Limits for versions with event declarations, by number and by bytes of their schemas.
const MAX_DECLARED: Limits = Limits {
    entries: 512,
    bytes: 16 << 20,
};

/// The maximum number of names suggested for an unknown one.
const MAX_NEAR: usize = 5;

/// The maximum number of names that are compared with an unknown one.
const MAX_COMPARED: usize = 2_000;

/// The maximum length of an unknown name for which others are suggested, in bytes.
const MAX_COMPARED_BYTES: usize = 64;

/// The functions and modules of all tenants.
pub struct Catalogue {
    store: Store,
    sandbox: Sandbox,
    clock: Arc<dyn Clock>,
    functions: RwLock<HashMap<TenantId, Arc<Functions>>>,
    loaded: Mutex<LruCache<ModuleNumber, OnceCell<LoadedModule>>>,
    declared: Mutex<LruCache<ModuleNumber, OnceCell<Arc<DeclaredEvents>>>>,
    schemas: Schemas,
    compiled: CompiledCode,
    /// Serializes uploads and deletions, so that the functions in memory follow the stored ones.
    changing: tokio::sync::Mutex<()>,
}

/// A stored version, ready to run, and the name of its last upload.
#[derive(Clone)]
struct LoadedModule {
    module: Module,
    name: Arc<str>,
}

/// A snapshot of the functions of one tenant.
#[derive(Default)]
struct Functions {
    by_name: BTreeMap<(FunctionKind, FunctionName), Function>,
    /// Whether any version, current or not, declares events.
    declare_events: bool,
}

struct Function {
    module: ModuleNumber,
    defaults: ActivityOptions,
    /// The schema of its input, as text.
    input: Option<Arc<str>>,
}

impl Functions {
    /// The functions of these versions.
    fn of(modules: &[ModuleVersion]) -> Self {
        let mut by_name = BTreeMap::new();
        for module in modules {
            for function in &module.description.functions {
                let kind = module.description.kind;
                let entry = Function {
                    module: module.number,
                    defaults: function.default_options.clone().unwrap_or_default(),
                    input: function.input_schema.as_deref().map(Arc::from),
                };
                by_name.insert((kind, function.name.clone()), entry);
            }
        }
        Self {
            by_name,
            declare_events: false,
        }
    }

    fn find(&self, kind: FunctionKind, name: &FunctionName) -> Option<&Function> {
        self.by_name.get(&(kind, name.clone()))
    }

    /// The most similar names, among those that may be a misspelling. Compares at most some thousand short names: each
    /// comparison takes about a microsecond.
    fn near(&self, kind: FunctionKind, name: &FunctionName) -> Vec<FunctionName> {
        let wanted = name.as_str();
        if wanted.len() > MAX_COMPARED_BYTES {
            return Vec::new();
        }
        let wanted = wanted.to_lowercase();
        let offered = self.by_name.keys().filter(|(other, _)| *other == kind);
        let alike = offered.filter(|(_, name)| name.as_str().len().abs_diff(wanted.len()) <= wanted.len() / 2 + 2);
        let mut near: Vec<(f64, &FunctionName)> = alike
            .take(MAX_COMPARED)
            .map(|(_, name)| (strsim::jaro_winkler(&wanted, &name.as_str().to_lowercase()), name))
            .filter(|(likeness, _)| *likeness > 0.7)
            .collect();
        near.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.cmp(y)));
        near.into_iter().take(MAX_NEAR).map(|(_, name)| name.clone()).collect()
    }
}

enum Problem {
    Unknown { near: Vec<FunctionName> },
    Input(Violation),
}

impl Problem {
    fn into_failure(self, kind: FunctionKind, name: &FunctionName) -> Failure {
        let (kind, name) = (kind.name(), name.as_str());
        match self {
            Self::Unknown { near } => {
                let mut message = format!("no module offers the {kind} {name:?}");
                if let Some(nearest) = near.first() {
                    message += &format!("; did you mean {:?}?", nearest.as_str());
                }
                Failure::new(types::UNKNOWN_FUNCTION, message)
            }
            Self::Input(Violation { path, message }) => {
                let message = format!("the input of {kind} {name:?} does not fit its schema: {message} (at {path:?})");
                Failure::new(types::INPUT, message).permanent()
            }
        }
    }
}

impl Catalogue {
    /// Reads the stored modules of all tenants.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn open(
        store: Store,
        sandbox: Sandbox,
        clock: Arc<dyn Clock>,
        memory: &Memory,
    ) -> Result<Self, store::Error> {
        let catalogue = Self {
            store,
            sandbox,
            clock,
            functions: RwLock::default(),
            loaded: Mutex::new(LruCache::new(MAX_LOADED)),
            declared: Mutex::new(LruCache::new(MAX_DECLARED)),
            schemas: Schemas::new(memory.part(Part::Schemas).clone()),
            compiled: CompiledCode::default(),
            changing: tokio::sync::Mutex::default(),
        };
        for tenant in catalogue.store.tenants().await? {
            catalogue.refresh(tenant.tenant).await?;
        }
        Ok(catalogue)
    }

    /// The sandbox that runs the modules.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    async fn refresh(&self, tenant: TenantId) -> Result<(), store::Error> {
        let modules = self.store.current_modules(tenant).await?;
        let versions = modules.iter().map(|module| module.number).collect();
        self.schemas.keep_only(tenant, &versions);
        let functions = Arc::new(Functions {
            declare_events: self.store.declares_events(tenant).await?,
            ..Functions::of(&modules)
        });
        self.functions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant, functions);
        Ok(())
    }

    fn functions(&self, tenant: TenantId) -> Arc<Functions> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        functions.get(&tenant).cloned().unwrap_or_default()
    }

    /// The current function of this name that accepts the input: its version and the default options of its calls. Adds
    /// the cost of the check to `fuel`.
    fn check(
        &self,
        tenant: TenantId,
        kind: FunctionKind,
        name: &FunctionName,
        input: &Payload,
        fuel: &mut u64,
    ) -> Result<(ModuleNumber, ActivityOptions), Problem> {
        let functions = self.functions(tenant);
        let function = functions.find(kind, name).ok_or_else(|| Problem::Unknown {
            near: functions.near(kind, name),
        })?;
        if let Some(schema) = &function.input {
            let key = SchemaKey::Input(function.module, kind, name.clone());
            let checked = self.schemas.validate(tenant, key, schema, input, fuel);
            checked.map_err(Problem::Input)?;
        }
        Ok((function.module, function.defaults.clone()))
    }

    /// Stores a module and makes it the current version of its name.
    ///
    /// # Errors
    /// If the module is refused; then the previous version stays.
    pub async fn put(
        &self,
        tenant: TenantId,
        name: &str,
        bytes: Bytes,
        quotas: &Quotas,
        by: Option<&str>,
    ) -> Result<StoredModule, PutModuleError> {
        // Check before compiling, which is expensive, and again under the lock: other uploads may have used up the
        // quota.
        self.check_room(tenant, name, bytes.len(), quotas).await?;
        let inspected = self.sandbox.inspect(bytes.clone()).await?;
        let (digest, kind, is_new) = (inspected.digest, inspected.description.kind, inspected.is_new);
        let compiled_bytes = inspected.compiled_bytes;
        let put = PutModule {
            tenant,
            name: name.to_owned(),
            digest,
            bytes: bytes.into(),
            description: inspected.description,
            compiled_bytes,
            at: self.clock.now(),
            by: by.map(str::to_owned),
        };
        let stored = self.store(put, quotas).await;
        if stored.is_err() && is_new {
            self.sandbox.discard(digest, kind).await;
        }
        stored
    }

    async fn store(&self, put: PutModule, quotas: &Quotas) -> Result<StoredModule, PutModuleError> {
        let _changing = self.changing.lock().await;
        self.check_room(put.tenant, &put.name, put.bytes.len(), quotas).await?;
        self.check_stored_bytes(&put, quotas).await?;
        let (tenant, name, digest, description) = (put.tenant, put.name.clone(), put.digest, put.description.clone());
        let kind = description.kind;
        match self.store.put_module(put).await? {
            PutModuleOutcome::Stored { number, new } => {
                self.forget_other_name(number, &name);
                // The same bytes may have been uploaded to an older host, which did not record declared events.
                self.declared().forget(number);
                self.refresh(tenant).await?;
                Ok(StoredModule {
                    digest,
                    description,
                    new,
                })
            }
            PutModuleOutcome::FunctionTaken { function, module } => {
                Err(PutModuleError::FunctionTaken { kind, function, module })
            }
            PutModuleOutcome::TenantGone => Err(PutModuleError::TenantGone),
        }
    }

    /// Checks that the quotas allow this module.
    async fn check_room(
        &self,
        tenant: TenantId,
        name: &str,
        length: usize,
        quotas: &Quotas,
    ) -> Result<(), PutModuleError> {
        if quotas.max_modules.is_none() && quotas.max_module_bytes.is_none() {
            return Ok(());
        }
        let store = self.store.tenant(tenant);
        let (holdings, is_new) = (store.module_holdings().await?, store.module(name).await?.is_none());
        if let Some(limit) = quotas.max_modules
            && holdings.modules + u64::from(is_new) > limit
        {
            return Err(Exceeded::of_size(Quota::MaxModules, limit).into());
        }
        if let Some(ByteSize(limit)) = quotas.max_module_bytes
            && holdings.bytes + length as u64 > limit
        {
            return Err(Exceeded::of_size(Quota::MaxModuleBytes, limit).into());
        }
        Ok(())
    }

    /// Checks that the tenant may store the compiled code and the description, unless they are stored already.
    async fn check_stored_bytes(&self, put: &PutModule, quotas: &Quotas) -> Result<(), PutModuleError> {
        let Some(ByteSize(limit)) = quotas.max_stored_bytes else {
            return Ok(());
        };
        let current = self.store.tenant(put.tenant).module(&put.name).await?;
        if current.is_some_and(|current| current.digest == put.digest) {
            return Ok(());
        }
        let stored = self.store.stored_bytes(put.tenant);
        if stored.saturating_add(put.counted_bytes()) > limit {
            return Err(Exceeded::of_size(Quota::MaxStoredBytes, limit).into());
        }
        Ok(())
    }

    /// Removes a module's name and functions; returns whether it existed. Running instances continue.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn delete(&self, tenant: TenantId, name: &str) -> Result<bool, store::Error> {
        let _changing = self.changing.lock().await;
        let existed = self.store.delete_module(tenant, name, self.clock.now()).await?;
        if existed {
            self.refresh(tenant).await?;
        }
        Ok(existed)
    }

    /// The module version on which a client's start runs.
    ///
    /// # Errors
    /// If there is no such function, the input does not fit its schema, or there is no place to check it.
    pub async fn to_start(
        &self,
        tenant: TenantId,
        name: &FunctionName,
        input: &Payload,
    ) -> Result<ModuleNumber, StartError> {
        const KIND: FunctionKind = FunctionKind::Orchestration;
        let functions = self.functions(tenant);
        let function = functions.find(KIND, name).ok_or_else(|| StartError::UnknownFunction {
            name: name.clone(),
            near: functions.near(KIND, name),
        })?;
        let Some(schema) = &function.input else {
            return Ok(function.module);
        };
        let key = SchemaKey::Input(function.module, KIND, name.clone());
        let checked = self.schemas.check(tenant, key, schema, input, CheckLimits::OF_REQUEST);
        let checked = checked.await.map_err(|error| match error {
            NotChecked::NoPlace(NoPlace::OfTenant) => StartError::TooManyChecks,
            NotChecked::NoPlace(NoPlace::OfHost) => StartError::Overloaded,
            NotChecked::Closed => store::Error::Closed.into(),
        })?;
        match checked.violation {
            None => Ok(function.module),
            Some(Violation { path, message }) => Err(StartError::InvalidInput {
                function: name.clone(),
                path,
                message,
            }),
        }
    }

    /// A stored version, ready to run.
    ///
    /// # Errors
    /// If its bytes are missing or do not compile.
    pub async fn load(&self, number: ModuleNumber) -> Result<Module, HostUnavailable> {
        Ok(self.load_named(number).await?.module)
    }

    async fn load_named(&self, number: ModuleNumber) -> Result<LoadedModule, HostUnavailable> {
        let cell = self.loaded().take_up(number);
        let mut is_new = false;
        let loading = cell.get_or_try_init(|| {
            is_new = true;
            self.load_anew(number)
        });
        let loaded = loading.await?.clone();
        if is_new {
            self.loaded().weigh(number, loaded.module.code_bytes());
        }
        Ok(loaded)
    }

    /// Drops a version that was loaded under another name, because the name decides which grants its activities get. A
    /// load in progress may have read the old name, so its result is dropped as well.
    fn forget_other_name(&self, number: ModuleNumber, name: &str) {
        let mut loaded = self.loaded();
        let known = |cell: &OnceCell<LoadedModule>| cell.get().is_some_and(|loaded| *loaded.name == *name);
        if loaded.get(number).is_some_and(|cell| !known(cell)) {
            loaded.forget(number);
        }
    }

    fn declared(&self) -> MutexGuard<'_, LruCache<ModuleNumber, OnceCell<Arc<DeclaredEvents>>>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The events that a version declares, read on first use.
    async fn declared_by(&self, number: ModuleNumber) -> Result<Arc<DeclaredEvents>, store::Error> {
        let cell = self.declared().take_up(number);
        if let Some(known) = cell.get() {
            return Ok(known.clone());
        }
        let version = self.store.module(number).await?;
        let events = version.iter().flat_map(|version| &version.description.events);
        let bytes: usize = events
            .filter_map(|event| event.payload_schema.as_ref())
            .map(String::len)
            .sum();
        let declared = cell
            .get_or_init(|| async {
                Arc::new(version.map_or_else(DeclaredEvents::default, |version| {
                    DeclaredEvents::of(version, &self.schemas)
                }))
            })
            .await
            .clone();
        self.declared().weigh(number, bytes as u64);
        Ok(declared)
    }

    fn loaded(&self) -> MutexGuard<'_, LruCache<ModuleNumber, OnceCell<LoadedModule>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of a version; `None` if it is not loaded.
    pub fn digest(&self, number: ModuleNumber) -> Option<ModuleDigest> {
        let loaded = self.loaded();
        loaded.get(number)?.get().map(|loaded| loaded.module.digest())
    }

    async fn load_anew(&self, number: ModuleNumber) -> Result<LoadedModule, HostUnavailable> {
        let trouble = |message: String| HostUnavailable::Module(message);
        let version = self
            .store
            .module(number)
            .await
            .map_err(|error| trouble(error.to_string()))?;
        let version = version.ok_or_else(|| trouble(format!("version {number} is not stored")))?;
        let bytes = || async {
            let bytes = self.store.module_bytes(number).await?;
            bytes
                .map(Bytes::from)
                .ok_or_else(|| anyhow::anyhow!("the bytes of {} are not stored", version.digest))
        };
        let module = self.sandbox.load(version.digest, version.description.kind, bytes).await;
        let module = module.map_err(|error| trouble(format!("{} ({}): {error}", version.name, version.digest)))?;
        Ok(LoadedModule {
            module,
            name: version.name.into(),
        })
    }
}

impl Guests for Catalogue {
    fn directory(self: Arc<Self>, tenant: TenantId) -> Arc<dyn Directory> {
        Arc::new(TenantDirectory {
            catalogue: self,
            tenant,
        })
    }

    fn to_start<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a FunctionName,
        input: &'a Payload,
    ) -> BoxFuture<'a, Result<ModuleNumber, StartError>> {
        Box::pin(self.to_start(tenant, name, input))
    }

    fn orchestrator<'a>(
        &'a self,
        module: ModuleNumber,
        started: &'a Started,
        memory: Held,
    ) -> BoxFuture<'a, Result<AnyGuest, HostUnavailable>> {
        Box::pin(async move {
            let module = self.load(module).await?;
            let guest = self.sandbox.start_orchestrator(&module, started.limits, memory)?;
            Ok(Box::new(guest) as AnyGuest)
        })
    }

    fn declare_events(&self, tenant: TenantId) -> bool {
        self.functions(tenant).declare_events
    }

    fn events(&self, module: ModuleNumber) -> BoxFuture<'_, Result<Arc<DeclaredEvents>, store::Error>> {
        Box::pin(self.declared_by(module))
    }

    fn activities(&self, module: ModuleNumber) -> BoxFuture<'_, Result<Box<dyn ActivityCode>, HostUnavailable>> {
        Box::pin(async move {
            let loaded = self.load_named(module).await?;
            let sandbox = self.sandbox.clone();
            Ok(Box::new(LoadedActivities { sandbox, loaded }) as Box<dyn ActivityCode>)
        })
    }

    fn digest(&self, module: ModuleNumber) -> Option<ModuleDigest> {
        self.digest(module)
    }

    fn connections(&self) -> ConnectionCounts {
        self.sandbox.connections()
    }
}

impl Modules for Catalogue {
    fn put<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
        bytes: Bytes,
        quotas: &'a Quotas,
        by: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StoredModule, PutModuleError>> {
        Box::pin(self.put(tenant, name, bytes, quotas, by))
    }

    fn delete<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, Result<bool, store::Error>> {
        Box::pin(self.delete(tenant, name))
    }

    fn forget(&self, tenant: TenantId) {
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.remove(&tenant);
        drop(functions);
        self.schemas.keep_only(tenant, &BTreeSet::new());
    }

    fn sweep(&self, now: Timestamp) -> BoxFuture<'_, Result<bool, store::Error>> {
        Box::pin(self.compiled.sweep(&self.store, &self.sandbox, now))
    }
}

struct LoadedActivities {
    sandbox: Sandbox,
    loaded: LoadedModule,
}

impl ActivityCode for LoadedActivities {
    fn module_name(&self) -> &str {
        &self.loaded.name
    }

    fn run(&self, attempt: Attempt, memory: Held) -> BoxFuture<'_, Result<ActivityRun, HostUnavailable>> {
        Box::pin(self.sandbox.run_activity(&self.loaded.module, attempt, memory))
    }
}

/// The functions of one tenant; each query sees the current ones.
struct TenantDirectory {
    catalogue: Arc<Catalogue>,
    tenant: TenantId,
}

impl Directory for TenantDirectory {
    fn activity(&self, name: &FunctionName, input: &Payload, fuel: &mut u64) -> Result<ResolvedActivity, Failure> {
        const KIND: FunctionKind = FunctionKind::Activity;
        let found = self.catalogue.check(self.tenant, KIND, name, input, fuel);
        let (module, defaults) = found.map_err(|problem| problem.into_failure(KIND, name))?;
        Ok(ResolvedActivity { module, defaults })
    }

    fn orchestration(
        &self,
        name: &FunctionName,
        input: &Payload,
        fuel: &mut u64,
    ) -> Result<ResolvedOrchestration, Failure> {
        const KIND: FunctionKind = FunctionKind::Orchestration;
        let found = self.catalogue.check(self.tenant, KIND, name, input, fuel);
        let (module, _) = found.map_err(|problem| problem.into_failure(KIND, name))?;
        Ok(ResolvedOrchestration { module })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::model::{FunctionDescription, ModuleDescription};
    use crate::sandbox::SandboxOptions;
    use crate::store::StoreOptions;

    fn module(number: u32, function: &str) -> ModuleVersion {
        ModuleVersion {
            number: ModuleNumber(number),
            tenant: TenantId::DEFAULT,
            name: function.to_owned(),
            digest: ModuleDigest([0; 32]),
            description: ModuleDescription {
                kind: FunctionKind::Orchestration,
                functions: vec![FunctionDescription {
                    name: function.parse().unwrap(),
                    doc: String::new(),
                    input_schema: Some(r#"{"type": "string"}"#.into()),
                    output_schema: None,
                    default_options: None,
                }],
                sdk: String::new(),
                events: Vec::new(),
            },
            size: 1,
            uploaded_at: Timestamp(0),
            uploaded_by: None,
            superseded_at: None,
        }
    }

    #[test]
    fn similar_names_are_suggested() {
        let functions = Functions::of(&[module(1, "ProcessOrder"), module(2, "Other")]);
        let near = |name: &str| functions.near(FunctionKind::Orchestration, &name.parse().unwrap());
        assert_eq!(near("ProcesOrder"), ["ProcessOrder".parse().unwrap()]);
        assert_eq!(near(&"ProcessOrder".repeat(10)), []);
    }

    async fn catalogue(folder: &std::path::Path) -> Catalogue {
        let (store, service) = Store::open(&StoreOptions::new(folder)).await.unwrap();
        tokio::spawn(service.run(tokio_util::sync::CancellationToken::new()));
        let sandbox = Sandbox::new(SandboxOptions {
            hot_guests: 1,
            activity_slots: 1,
            ..SandboxOptions::new(folder.join("cache"))
        });
        let memory = Memory::unlimited();
        let catalogue = Catalogue::open(store, sandbox.unwrap(), Arc::new(SystemClock), &memory);
        catalogue.await.unwrap()
    }

    #[tokio::test]
    async fn compiled_code_needs_room_in_the_quota_of_stored_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = catalogue(folder.path()).await;
        let put = |content| PutModule {
            tenant: TenantId::DEFAULT,
            name: "orders".into(),
            digest: ModuleDigest([content; 32]),
            bytes: vec![content],
            description: module(1, "Order").description,
            compiled_bytes: 1_000,
            at: Timestamp(0),
            by: None,
        };
        let of_one = put(1).counted_bytes();
        assert!(of_one > 1_000, "{of_one}");
        let quotas = Quotas {
            max_stored_bytes: Some(ByteSize(2 * of_one - 1)),
            ..Quotas::default()
        };
        catalogue.store(put(1), &quotas).await.unwrap();
        catalogue.store(put(1), &quotas).await.unwrap();
        match catalogue.store(put(2), &quotas).await {
            Err(PutModuleError::Quota(exceeded)) => assert_eq!(exceeded.quota, Quota::MaxStoredBytes),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn deleting_an_unknown_module_does_not_reload_functions() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = catalogue(folder.path()).await;
        let before = catalogue.functions(TenantId::DEFAULT);
        assert!(!catalogue.delete(TenantId::DEFAULT, "nothing").await.unwrap());
        assert!(Arc::ptr_eq(&before, &catalogue.functions(TenantId::DEFAULT)));
    }
}
