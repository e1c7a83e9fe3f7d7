//! The traits through which the engine runs guests and manages modules.
//!
//! The [catalogue](super::catalogue) implements them with the sandbox, the simulation with scripts.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::api::{OperateError, PutModuleError, StartError, StoredModule};
use super::declared_events::DeclaredEvents;
use crate::entity::EntityGuest;
use crate::memory::Held;
use crate::model::{
    Failure, FunctionName, ModuleDigest, ModuleNumber, Payload, Started, TenantId, Timestamp, failure::types,
};
use crate::replay::{Directory, Guest, HostUnavailable};
use crate::sandbox::{ActivityRun, Attempt, ConnectionCounts};
use crate::store;
use crate::tenancy::Quotas;

/// The guest of an orchestration.
pub type AnyGuest = Box<dyn Guest + Send>;

/// The guest of an entity.
pub type AnyEntity = Box<dyn EntityGuest>;

/// Finds the functions of modules and creates guests.
pub trait Guests: Send + Sync + 'static {
    /// The functions of a tenant; each query sees the current ones.
    fn directory(self: Arc<Self>, tenant: TenantId) -> Arc<dyn Directory>;

    /// The module version on which a client's start runs.
    ///
    /// # Errors
    /// If there is no such function, the input does not fit its schema, or there is no place to check it.
    fn to_start<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a FunctionName,
        input: &'a Payload,
    ) -> BoxFuture<'a, Result<ModuleNumber, StartError>>;

    /// Creates a guest for one execution, before its first turn. What it needs beyond `memory` is taken from the budget.
    fn orchestrator<'a>(
        &'a self,
        module: ModuleNumber,
        started: &'a Started,
        memory: Held,
    ) -> BoxFuture<'a, Result<AnyGuest, HostUnavailable>>;

    /// The module version that offers the entity to which a client sends an operation.
    ///
    /// # Errors
    /// If there is no such entity or operation, the input does not fit its schema, or there is no place to check it.
    fn to_operate<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a FunctionName,
        operation: &'a str,
        input: &'a Payload,
    ) -> BoxFuture<'a, Result<ModuleNumber, OperateError>> {
        let _ = (operation, input);
        let found = self.no_entity(tenant, name);
        Box::pin(async { Err(found) })
    }

    /// The refusal of an operation for an entity that no module offers.
    fn no_entity(&self, tenant: TenantId, name: &FunctionName) -> OperateError {
        let _ = tenant;
        let message = format!("no module offers the entity {:?}", name.as_str());
        OperateError::of(Failure::new(types::UNKNOWN_FUNCTION, message))
    }

    /// Creates a guest for one step of an entity. What it needs beyond `memory` is taken from the budget.
    fn entity(&self, module: ModuleNumber, memory: Held) -> BoxFuture<'_, Result<AnyEntity, HostUnavailable>> {
        drop(memory);
        Box::pin(async move {
            Err(HostUnavailable::Module(format!(
                "module version {module} contains no entities"
            )))
        })
    }

    /// Whether any version of a tenant's modules declares events. If not, its events are not checked.
    fn declare_events(&self, tenant: TenantId) -> bool {
        let _ = tenant;
        false
    }

    /// The events that a version declares.
    fn events(&self, module: ModuleNumber) -> BoxFuture<'_, Result<Arc<DeclaredEvents>, store::Error>> {
        let _ = module;
        Box::pin(async { Ok(Arc::default()) })
    }

    /// The activities of a version, loaded.
    fn activities(&self, module: ModuleNumber) -> BoxFuture<'_, Result<Box<dyn ActivityCode>, HostUnavailable>>;

    /// The current version of the module that offers an orchestration.
    fn current(&self, tenant: TenantId, orchestration: &FunctionName) -> Option<ModuleNumber> {
        let _ = (tenant, orchestration);
        None
    }

    /// The digest of a version; `None` if it is not loaded.
    fn digest(&self, module: ModuleNumber) -> Option<ModuleDigest>;

    /// Counters of the connections of activities. Scripts have none.
    fn connections(&self) -> ConnectionCounts {
        ConnectionCounts::default()
    }
}

/// Adds and removes the modules of tenants.
pub trait Modules: Send + Sync + 'static {
    /// Stores a module and makes it the current version of its name.
    fn put<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
        bytes: Bytes,
        quotas: &'a Quotas,
        by: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StoredModule, PutModuleError>>;

    /// Removes a module's name and functions; returns whether it existed. Running instances continue.
    fn delete<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, Result<bool, store::Error>>;

    /// Drops the functions of a deleted tenant.
    fn forget(&self, tenant: TenantId);

    /// Deletes some compiled code that no stored module needs. Returns whether there may be more.
    fn sweep(&self, now: Timestamp) -> BoxFuture<'_, Result<bool, store::Error>> {
        let _ = now;
        Box::pin(async { Ok(false) })
    }
}

/// The activities of one module version.
pub trait ActivityCode: Send + Sync {
    /// The name of the module at its last upload.
    fn module_name(&self) -> &str;

    /// Runs one attempt. What it needs beyond `memory` is taken from the budget. Dropping the future stops it.
    fn run(&self, attempt: Attempt, memory: Held) -> BoxFuture<'_, Result<ActivityRun, HostUnavailable>>;
}

/// Refuses all modules, for tests with hand-written guests.
#[cfg(test)]
pub(super) struct NoModules;

#[cfg(test)]
impl Modules for NoModules {
    fn put<'a>(
        &'a self,
        _: TenantId,
        _: &'a str,
        _: Bytes,
        _: &'a Quotas,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StoredModule, PutModuleError>> {
        Box::pin(async { Err(PutModuleError::TenantGone) })
    }

    fn delete<'a>(&'a self, _: TenantId, _: &'a str) -> BoxFuture<'a, Result<bool, store::Error>> {
        Box::pin(async { Ok(false) })
    }

    fn forget(&self, _: TenantId) {}
}
