//! What the engine asks of whatever runs guests, and of whatever holds the modules that they are made of.
//!
//! The [catalogue](super::catalogue) with the sandbox behind it, or scripts in the simulation.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::api::{PutModuleError, StartError, StoredModule};
use super::declared_events::DeclaredEvents;
use crate::model::{FunctionName, ModuleDigest, ModuleNumber, Payload, Started, TenantId};
use crate::replay::{Directory, Guest, HostUnavailable};
use crate::sandbox::{ActivityRun, Attempt, ConnectionCounts};
use crate::store;
use crate::tenancy::Quotas;

/// A guest of an orchestration, of whatever make.
pub type AnyGuest = Box<dyn Guest + Send>;

/// What modules offer, and guests made of them.
pub trait Guests: Send + Sync + 'static {
    /// The functions of a tenant as they stand at each question.
    fn directory(self: Arc<Self>, tenant: TenantId) -> Arc<dyn Directory>;

    /// The version of an orchestration that a start from outside runs on.
    ///
    /// # Errors
    /// When there is no such function or the input does not fit.
    fn to_start(&self, tenant: TenantId, name: &FunctionName, input: &Payload) -> Result<ModuleNumber, StartError>;

    /// A guest for one execution, before its first turn.
    fn orchestrator<'a>(
        &'a self,
        module: ModuleNumber,
        started: &'a Started,
    ) -> BoxFuture<'a, Result<AnyGuest, HostUnavailable>>;

    /// Whether any version of a tenant's modules declares events. Without one, no event is looked at.
    fn declare_events(&self, tenant: TenantId) -> bool {
        let _ = tenant;
        false
    }

    /// The events that a version declares.
    fn events(&self, module: ModuleNumber) -> BoxFuture<'_, Result<Arc<DeclaredEvents>, store::Error>> {
        let _ = module;
        Box::pin(async { Ok(Arc::default()) })
    }

    /// The activities of a version, ready to run.
    fn activities(&self, module: ModuleNumber) -> BoxFuture<'_, Result<Box<dyn ActivityCode>, HostUnavailable>>;

    /// The digest of a version that is loaded.
    fn digest(&self, module: ModuleNumber) -> Option<ModuleDigest>;

    /// What was done with the connections of activities. Scripts have none.
    fn connections(&self) -> ConnectionCounts {
        ConnectionCounts::default()
    }
}

/// The modules of tenants, as people change them.
pub trait Modules: Send + Sync + 'static {
    /// Takes in a module and makes it the current version of its name.
    fn put<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
        bytes: Bytes,
        quotas: &'a Quotas,
        by: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StoredModule, PutModuleError>>;

    /// Takes a module's name and functions away; says whether it was there. What runs on it goes on.
    fn delete<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, Result<bool, store::Error>>;

    /// Forgets the functions of a tenant that is gone.
    fn forget(&self, tenant: TenantId);
}

/// The activities of one module version.
pub trait ActivityCode: Send + Sync {
    /// The name that the module was uploaded under.
    fn module_name(&self) -> &str;

    /// Runs one attempt. Dropping the future stops it.
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, Result<ActivityRun, HostUnavailable>>;
}

/// No modules, for tests whose guests are written by hand: nobody may add any.
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
