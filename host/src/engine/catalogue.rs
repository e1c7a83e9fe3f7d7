//! The current functions of each tenant, and the modules behind them, ready to run.
//!
//! Connects the stored modules with the sandbox. New turns look up functions here; replay and attempts load the exact
//! version that a history names.

mod functions;
mod uploads;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::OnceCell;

use self::functions::{Functions, Problem};
use super::api::{OperateError, PutModuleError, StartError, StoredModule};
use super::check_places::NoPlace;
use super::compiled_code::CompiledCode;
use super::declared_events::DeclaredEvents;
use super::guests::{ActivityCode, AnyEntity, AnyGuest, Guests, Modules};
use super::lru_cache::{Limits, LruCache};
use super::schemas::{CheckLimits, NotChecked, SchemaKey, Schemas};
use crate::clock::Clock;
use crate::memory::{Held, Memory, Part};
use crate::model::{
    ActivityOptions, Failure, FunctionKind, FunctionName, ModuleDigest, ModuleNumber, Payload, Started, TenantId,
    Timestamp,
};
use crate::replay::{Directory, HostUnavailable, ResolvedActivity, ResolvedEntity, ResolvedOrchestration};
use crate::sandbox::{ActivityRun, Attempt, ConnectionCounts, Module, Sandbox};
use crate::schema::Violation;
use crate::store::{self, Store};
use crate::tenancy::Quotas;

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
        let declare_events = self.store.declares_events(tenant).await?;
        let functions = Arc::new(Functions::of(&modules, declare_events));
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

    /// The current version of an entity whose operation accepts the input. Adds the cost of the check to `fuel`.
    fn check_operation(
        &self,
        tenant: TenantId,
        name: &FunctionName,
        operation: &str,
        input: &Payload,
        fuel: &mut u64,
    ) -> Result<ModuleNumber, Problem> {
        let module = self.entity_version(tenant, name)?;
        let functions = self.functions(tenant);
        if let Some(schema) = functions.operation(name, operation)? {
            let key = SchemaKey::Operation(module, name.clone(), operation.to_owned());
            let checked = self.schemas.validate(tenant, key, schema, input, fuel);
            checked.map_err(|violation| Problem::OperationInput {
                operation: operation.to_owned(),
                violation,
            })?;
        }
        Ok(module)
    }

    /// The current version of an entity.
    fn entity_version(&self, tenant: TenantId, name: &FunctionName) -> Result<ModuleNumber, Problem> {
        const KIND: FunctionKind = FunctionKind::Entity;
        let functions = self.functions(tenant);
        match functions.find(KIND, name) {
            Some(found) => Ok(found.module),
            None => Err(Problem::Unknown {
                near: functions.near(KIND, name),
            }),
        }
    }

    /// The module version that offers the entity to which a client sends an operation.
    ///
    /// # Errors
    /// If there is no such entity or operation, the input does not fit its schema, or there is no place to check it.
    pub async fn to_operate(
        &self,
        tenant: TenantId,
        name: &FunctionName,
        operation: &str,
        input: &Payload,
    ) -> Result<ModuleNumber, OperateError> {
        let refused = |problem: Problem| OperateError::of(problem.into_failure(FunctionKind::Entity, name));
        let module = self.entity_version(tenant, name).map_err(refused)?;
        let functions = self.functions(tenant);
        let Some(schema) = functions.operation(name, operation).map_err(refused)? else {
            return Ok(module);
        };
        let key = SchemaKey::Operation(module, name.clone(), operation.to_owned());
        let checked = self.schemas.check(tenant, key, schema, input, CheckLimits::OF_REQUEST);
        let checked = checked.await.map_err(|error| match error {
            NotChecked::NoPlace(NoPlace::OfTenant) => OperateError::TooManyChecks,
            NotChecked::NoPlace(NoPlace::OfHost) => OperateError::Overloaded,
            NotChecked::Closed => store::Error::Closed.into(),
        })?;
        match checked.violation {
            None => Ok(module),
            Some(violation) => Err(refused(Problem::OperationInput {
                operation: operation.to_owned(),
                violation,
            })),
        }
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
        let version = version.ok_or_else(|| {
            // Tenants may read the message, and versions of all tenants are numbered together.
            tracing::error!(version = number.0, "a module version is not stored");
            trouble("the version of its module is not stored".into())
        })?;
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

    fn to_operate<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a FunctionName,
        operation: &'a str,
        input: &'a Payload,
    ) -> BoxFuture<'a, Result<ModuleNumber, OperateError>> {
        Box::pin(self.to_operate(tenant, name, operation, input))
    }

    fn entity(&self, module: ModuleNumber, memory: Held) -> BoxFuture<'_, Result<AnyEntity, HostUnavailable>> {
        Box::pin(async move {
            let module = self.load(module).await?;
            let guest = self.sandbox.start_entity(&module, memory)?;
            Ok(Box::new(guest) as AnyEntity)
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

    fn current(&self, tenant: TenantId, orchestration: &FunctionName) -> Option<ModuleNumber> {
        let functions = self.functions(tenant);
        let found = functions.find(FunctionKind::Orchestration, orchestration);
        found.map(|function| function.module)
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

    fn entity(
        &self,
        name: &FunctionName,
        operation: &str,
        input: &Payload,
        fuel: &mut u64,
    ) -> Result<ResolvedEntity, Failure> {
        let found = self
            .catalogue
            .check_operation(self.tenant, name, operation, input, fuel);
        let module = found.map_err(|problem| problem.into_failure(FunctionKind::Entity, name))?;
        Ok(ResolvedEntity { module })
    }

    fn entity_module(&self, name: &FunctionName) -> Result<ResolvedEntity, Failure> {
        let found = self.catalogue.entity_version(self.tenant, name);
        let module = found.map_err(|problem| problem.into_failure(FunctionKind::Entity, name))?;
        Ok(ResolvedEntity { module })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::sandbox::SandboxOptions;
    use crate::store::StoreOptions;

    pub(super) async fn catalogue(folder: &std::path::Path) -> Catalogue {
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
    async fn deleting_an_unknown_module_does_not_reload_functions() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = catalogue(folder.path()).await;
        let before = catalogue.functions(TenantId::DEFAULT);
        assert!(!catalogue.delete(TenantId::DEFAULT, "nothing").await.unwrap());
        assert!(Arc::ptr_eq(&before, &catalogue.functions(TenantId::DEFAULT)));
    }
}
