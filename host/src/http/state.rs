//! What every handler can reach.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{HttpOptions, error::Refusal};
use crate::{engine::Engine, model::TenantId, store::TenantStore};

/// How many modules are taken in at once. Each may hold its whole body in memory and occupy a compiler.
const MAX_UPLOADS: usize = 4;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    /// Changes go through here.
    pub(crate) engine: Engine,
    /// Bounds of requests.
    pub(crate) options: Arc<HttpOptions>,
    /// Cancelled when the host begins to end, so that waiting requests are answered at once.
    pub(crate) stopping: CancellationToken,
    /// Held by an upload while its body is in memory.
    pub(crate) uploads: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(engine: Engine, options: HttpOptions, stopping: CancellationToken) -> Self {
        Self {
            engine,
            options: Arc::new(options),
            stopping,
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
        }
    }

    /// What may be asked about the caller's own instances and modules.
    pub(crate) fn store(&self, caller: Caller) -> TenantStore {
        self.engine.store().tenant(caller.tenant)
    }
}

/// On whose behalf a request acts. Without keys: the one default tenant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(_: &mut Parts, _: &App) -> Result<Self, Refusal> {
        Ok(Self {
            tenant: TenantId::DEFAULT,
        })
    }
}
