//! Runs guests: the only user of wasmtime.
//!
//! There are two Wasmtime engines, one for orchestrations and entities and one for activities, and one [`Sandbox`] over
//! both. It validates and compiles uploads, caches compiled modules on disk, and creates guests. An orchestrator is a
//! [`Guest`](crate::replay::Guest) whose imports are thin wrappers of the replay core, an entity is an
//! [`EntityGuest`](crate::entity::EntityGuest) whose imports are thin wrappers of a [`Step`](crate::entity::Step). Each
//! attempt of an activity, and each step of an entity, runs in a fresh instance.
//!
//! The sandbox knows nothing about tenants, stores or schedules: the host's `engine` decides what runs when.

mod options;
mod upload;

mod activity;
mod entity;
mod module;
mod orchestrator;

mod allowance;
mod artefacts;
mod bindings;
mod compile;
mod convert;
mod describe;
mod description;
mod egress;
mod engine;
mod host_fuel;
mod images;
mod imports;
mod limits;
mod line_buffer;
mod state;
mod trap;
mod validate;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, oneshot};
use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use crate::memory::Held;
use crate::model::{FunctionKind, ModuleDescription, ModuleDigest, ObservableLimits};
use crate::priority::{self, Background};
use crate::replay::HostUnavailable;

use activity::ActivityState;
use allowance::Allowance;
use artefacts::{Artefacts, FreshArtefact};
use bindings::{activity::ActivityModulePre, entity::EntityModulePre, orchestrator::OrchestratorPre};
use compile::Job;
use egress::{Routes, connect::Connector};
pub use limits::BASE_BYTES as GUEST_BASE_BYTES;
use limits::MemoryLimiter;
use module::Code;
use state::OrchestratorState;

pub use activity::{
    ActivityRun, Attempt, Completions, Control, ControlOptions, DEFAULT_CANCELLATION_GRACE, GivenToken, Heartbeats,
    MAX_HEARTBEAT_BYTES, Meter,
};
pub use compile::{ChildLimits, CompileError, run_child};
pub use egress::{ConnectionCounts, Traffic};
pub use entity::ComponentEntity;
pub use module::Module;
pub use options::{Compiler, DescribeLimits, SandboxOptions};
pub use orchestrator::OrchestratorGuest;
pub use upload::UploadError;

/// Maximum number of modules that are compiled at the same time because their compiled code is missing. The uploads that
/// are compiled at the same time are limited by their own permits.
const MAX_LOADS_THAT_COMPILE: usize = 2;

/// Why the sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder for compiled modules cannot be used.
    #[error("the folder for compiled modules cannot be used")]
    Cache(#[source] io::Error),
    /// The engines could not be set up: too little address space, an unsupported processor.
    #[error("the WebAssembly engine could not be set up: {0}")]
    Engine(String),
}

/// The result of inspecting an uploaded component.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// SHA-256 of its bytes.
    pub digest: ModuleDigest,
    /// Its own description, checked.
    pub description: ModuleDescription,
    /// Whether it was compiled for this upload.
    pub is_new: bool,
    /// The size of its compiled code, in bytes.
    pub compiled_bytes: u64,
}

/// Why a module that was accepted earlier cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its bytes could not be read.
    #[error("the module's bytes could not be read: {0}")]
    Bytes(#[source] anyhow::Error),
    /// The bytes do not have the expected digest.
    #[error("the module's bytes are damaged: their digest is {0}")]
    Damaged(ModuleDigest),
    /// This version of the host no longer accepts the module.
    #[error(transparent)]
    Refused(#[from] UploadError),
}

/// The sandbox. Cheap to clone; everything in it is shared.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    options: SandboxOptions,
    routes: Routes,
    artefacts: Artefacts,
    compiling_loads: Semaphore,
    orchestrators: Side<OrchestratorState>,
    /// Has the settings of `orchestrators` except the pool, so artefacts load into both.
    entities: Side<OrchestratorState>,
    activities: Side<ActivityState>,
}

impl Inner {
    /// The engine that runs modules of a kind, and the fingerprint of its artefacts.
    fn engine(&self, kind: FunctionKind) -> (&Engine, u64) {
        match kind {
            FunctionKind::Orchestration => (&self.orchestrators.engine, self.orchestrators.fingerprint),
            FunctionKind::Entity => (&self.entities.engine, self.entities.fingerprint),
            FunctionKind::Activity => (&self.activities.engine, self.activities.fingerprint),
        }
    }
}

/// One of the engines, with its linker and the fingerprint of its artefacts.
struct Side<T: 'static> {
    engine: Engine,
    linker: Linker<T>,
    fingerprint: u64,
}

impl<T: 'static> Side<T> {
    fn new(
        kind: FunctionKind,
        options: &SandboxOptions,
        linker: impl FnOnce(&Engine) -> wasmtime::Result<Linker<T>>,
    ) -> Result<Self, Error> {
        let build = || {
            let engine = engine::engine(kind, options)?;
            let linker = linker(&engine)?;
            let fingerprint = engine::fingerprint(&engine);
            Ok(Self {
                engine,
                linker,
                fingerprint,
            })
        };
        build().map_err(|error: wasmtime::Error| Error::Engine(format!("{error:#}")))
    }
}

impl Sandbox {
    /// Sets up the engines and the folder for compiled modules.
    ///
    /// # Errors
    /// When the folder cannot be used, or there is not enough address space for the pools.
    pub fn new(options: SandboxOptions) -> Result<Self, Error> {
        let artefacts = Artefacts::open(&options.cache_dir).map_err(Error::Cache)?;
        let orchestrators = Side::new(FunctionKind::Orchestration, &options, imports::linker)?;
        let entities = Side::new(FunctionKind::Entity, &options, imports::linker)?;
        let activities = Side::new(FunctionKind::Activity, &options, activity::linker)?;
        let engines = [&orchestrators.engine, &entities.engine, &activities.engine];
        engine::start_ticker(engines.map(Engine::weak).into())
            .map_err(|error| Error::Engine(format!("the epoch thread could not be started: {error}")))?;
        let routes = Routes {
            operator: Arc::new(options.egress.clone()),
            connector: Arc::new(Connector::system(options.egress_roots.clone())),
        };
        Ok(Self(Arc::new(Inner {
            options,
            routes,
            artefacts,
            compiling_loads: Semaphore::new(MAX_LOADS_THAT_COMPILE),
            orchestrators,
            entities,
            activities,
        })))
    }

    /// The options that the sandbox was created with.
    pub fn options(&self) -> &SandboxOptions {
        &self.0.options
    }

    /// Counters of the connections of outgoing requests.
    pub fn connections(&self) -> ConnectionCounts {
        self.0.routes.connector.counts()
    }

    /// Validates, compiles and describes an uploaded component. Runs its start-up code and `describe` with limits on
    /// fuel, time and memory. The compiled module stays in the cache if it is accepted; a caller that refuses it
    /// afterwards [discards](Self::discard) it.
    ///
    /// # Errors
    /// When this host cannot run the component as a module.
    pub async fn inspect(&self, component: Bytes) -> Result<Inspected, UploadError> {
        let max_bytes = self.0.options.max_module_bytes;
        let bytes_to_validate = component.clone();
        let validated = in_background(move || validate::validate(&bytes_to_validate, max_bytes)).await??;
        let (digest, kind) = (digest(&component), validated.kind);
        let is_new = self.cached(digest, kind).await?.is_none();
        let module = self.compiled(digest, kind, component).await?;
        match self.description(&module, kind).await {
            Ok(description) => Ok(Inspected {
                digest,
                description,
                is_new,
                compiled_bytes: module.code_bytes(),
            }),
            Err(error) => {
                if is_new {
                    self.discard(digest, kind).await;
                }
                Err(error)
            }
        }
    }

    /// Removes a compiled module that is not needed. If it is, it is compiled again.
    pub async fn discard(&self, digest: ModuleDigest, kind: FunctionKind) {
        let sandbox = self.clone();
        let removed = blocking(move || {
            let (_, fingerprint) = sandbox.0.engine(kind);
            sandbox.0.artefacts.remove(digest, fingerprint);
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "a compiled module could not be removed");
        }
    }

    /// Removes compiled code except that of these modules, at most `limit` files, and returns how many. Files that are
    /// younger than `grace` stay: they may be of modules that are being uploaded.
    pub async fn discard_others(&self, kept: BTreeSet<ModuleDigest>, grace: Duration, limit: usize) -> usize {
        let sandbox = self.clone();
        let swept = blocking(move || {
            let Inner {
                artefacts,
                orchestrators,
                activities,
                ..
            } = &*sandbox.0;
            // Those of entities have the fingerprint of orchestrations.
            let fingerprints = [orchestrators.fingerprint, activities.fingerprint];
            artefacts.sweep(&kept, fingerprints, grace, limit)
        });
        match swept.await {
            Ok(Ok(removed)) => removed,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the folder of compiled modules could not be read");
                0
            }
            Err(_) => 0,
        }
    }

    async fn description(&self, module: &Module, kind: FunctionKind) -> Result<ModuleDescription, UploadError> {
        let limits = self.0.options.describe;
        let runtime = tokio::runtime::Handle::current();
        let described = module.clone();
        let description =
            in_background(move || runtime.block_on(describe::describe(described.code(), limits))).await??;
        // Compiles all schemas, which may take seconds.
        in_background(move || description::check(kind, description)).await?
    }

    /// Loads a module that was accepted earlier: from the cache, or by compiling its bytes again. `bytes` is called only
    /// in the second case.
    ///
    /// # Errors
    /// When the module is not in the cache and cannot be compiled.
    pub async fn load<F, E>(
        &self,
        digest: ModuleDigest,
        kind: FunctionKind,
        bytes: impl FnOnce() -> F,
    ) -> Result<Module, LoadError>
    where
        F: Future<Output = Result<Bytes, E>>,
        E: Into<anyhow::Error>,
    {
        if let Some(module) = self.cached(digest, kind).await? {
            return Ok(module);
        }
        // A start may need many modules whose compiled code is missing. Each would take a process of its own.
        let _permit = self.0.compiling_loads.acquire().await;
        let component = bytes().await.map_err(|error| LoadError::Bytes(error.into()))?;
        let found = self::digest(&component);
        if found != digest {
            return Err(LoadError::Damaged(found));
        }
        let max_bytes = self.0.options.max_module_bytes.max(component.len());
        let bytes_to_validate = component.clone();
        blocking(move || validate::validate(&bytes_to_validate, max_bytes)).await??;
        Ok(self.compiled(digest, kind, component).await?)
    }

    /// Creates a guest for one execution. It takes a slot in the pool when it is first resumed.
    ///
    /// # Errors
    /// When the module does not contain orchestrations.
    pub fn start_orchestrator(
        &self,
        module: &Module,
        limits: ObservableLimits,
        memory: Held,
    ) -> Result<OrchestratorGuest, HostUnavailable> {
        let Code::Orchestrator(code) = module.code() else {
            return Err(another_kind(module));
        };
        let options = &self.0.options;
        let memory_bytes = limits.memory_bytes.min(options.orchestrator_memory_bytes);
        let turn = Allowance {
            fuel: options.turn_fuel,
            time: options.turn_timeout,
            charges_host: true,
        };
        let limiter = MemoryLimiter::new(memory_bytes).taking_from(memory);
        Ok(OrchestratorGuest::new(code.clone(), limits, limiter, turn))
    }

    /// Creates the guest of an entity. It takes a slot in the pool of entities while a step runs.
    ///
    /// # Errors
    /// When the module does not contain entities.
    pub fn start_entity(&self, module: &Module, memory: Held) -> Result<ComponentEntity, HostUnavailable> {
        let Code::Entity(code) = module.code() else {
            return Err(another_kind(module));
        };
        let options = &self.0.options;
        let operation = Allowance {
            fuel: options.turn_fuel,
            time: options.turn_timeout,
            charges_host: true,
        };
        Ok(ComponentEntity::new(
            module.clone(),
            code.clone(),
            options,
            memory,
            operation,
        ))
    }

    /// Runs one attempt of an activity in a fresh guest. Poll it on the runtime for guests, because it may block for an
    /// epoch (5 ms) at a time.
    ///
    /// # Errors
    /// When there is no room for a guest. This is not the activity's fault; try again later.
    ///
    /// # Cancel safety
    /// Dropping the future stops the guest immediately and frees its slot.
    pub async fn run_activity(
        &self,
        module: &Module,
        attempt: Attempt,
        memory: Held,
    ) -> Result<ActivityRun, HostUnavailable> {
        let Code::Activity(code) = module.code() else {
            return Err(another_kind(module));
        };
        Box::pin(activity::run(
            code,
            &self.0.options.activity,
            &self.0.routes,
            attempt,
            memory,
        ))
        .await
    }

    async fn cached(&self, digest: ModuleDigest, kind: FunctionKind) -> Result<Option<Module>, UploadError> {
        let sandbox = self.clone();
        blocking(move || {
            let (engine, fingerprint) = sandbox.0.engine(kind);
            let component = sandbox.0.artefacts.load(digest, engine, fingerprint);
            component
                .map(|component| sandbox.link(digest, kind, &component))
                .transpose()
        })
        .await?
    }

    async fn compiled(
        &self,
        digest: ModuleDigest,
        kind: FunctionKind,
        component: Bytes,
    ) -> Result<Module, UploadError> {
        if let Some(module) = self.cached(digest, kind).await? {
            return Ok(module);
        }
        let Inner { options, artefacts, .. } = &*self.0;
        let job = Job {
            kind,
            orchestrator_memory_bytes: options.orchestrator_memory_bytes,
            component,
        };
        let artefact = compile::compile(&options.compiler, job, artefacts)
            .await
            .map_err(|error| match error {
                CompileError::Refused(message) => UploadError::Compile { message },
                CompileError::Host(error) => UploadError::host(error),
            })?;
        let sandbox = self.clone();
        let artefact = artefacts.fresh(artefact).map_err(UploadError::host)?;
        blocking(move || sandbox.keep(digest, kind, artefact)).await?
    }

    /// Links a fresh artefact and puts it into the cache.
    fn keep(
        &self,
        digest: ModuleDigest,
        kind: FunctionKind,
        mut artefact: FreshArtefact,
    ) -> Result<Module, UploadError> {
        let (engine, fingerprint) = self.0.engine(kind);
        // The artefact has the right version and settings, so only the limits of the pool can be exceeded.
        let component = artefact
            .map(engine)
            .map_err(|error| match error.downcast::<io::Error>() {
                Ok(error) => UploadError::host(error),
                Err(error) => UploadError::TooDemanding {
                    message: format!("{error:#}"),
                },
            })?;
        let module = self.link(digest, kind, &component)?;
        if let Err(error) = self.0.artefacts.keep(digest, fingerprint, artefact) {
            tracing::warn!(%digest, %error, "a compiled module could not be cached; it will be compiled again");
        }
        Ok(module)
    }

    fn link(&self, digest: ModuleDigest, kind: FunctionKind, component: &Component) -> Result<Module, UploadError> {
        let Inner {
            orchestrators,
            entities,
            activities,
            ..
        } = &*self.0;
        let link = || {
            Ok(match kind {
                FunctionKind::Orchestration => {
                    Code::Orchestrator(OrchestratorPre::new(orchestrators.linker.instantiate_pre(component)?)?)
                }
                FunctionKind::Activity => {
                    Code::Activity(ActivityModulePre::new(activities.linker.instantiate_pre(component)?)?)
                }
                FunctionKind::Entity => {
                    Code::Entity(EntityModulePre::new(entities.linker.instantiate_pre(component)?)?)
                }
            })
        };
        let code = link().map_err(|error: wasmtime::Error| UploadError::WrongInterface {
            message: format!("{error:#}"),
        })?;
        Ok(Module::new(digest, code))
    }
}

fn another_kind(module: &Module) -> HostUnavailable {
    HostUnavailable::Module(format!("{} is of kind {:?}", module.digest(), module.kind().name()))
}

fn digest(bytes: &[u8]) -> ModuleDigest {
    ModuleDigest(Sha256::digest(bytes).into())
}

/// Runs the work of an upload on a thread that gives way to turns, commits and requests, like the process that compiles
/// the module: a module may be long, and may take all the time that it has to describe itself.
async fn in_background<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, UploadError> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("windlass-upload".into())
        .spawn(move || {
            priority::lower(Background::Compiler);
            // Nobody waits any more if the upload was given up.
            let _ = done.send(work());
        })
        .map_err(UploadError::host)?;
    result.await.map_err(UploadError::host)
}

/// Runs blocking work on another thread, so that it does not block the async runtime.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, UploadError> {
    tokio::task::spawn_blocking(work).await.map_err(UploadError::host)
}
