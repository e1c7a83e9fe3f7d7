//! What every handler can reach.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{HttpOptions, access::Caller, health::Readiness, uploads::Uploads};
use crate::{engine::Engine, store::TenantStore};

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    /// Changes go through here.
    pub(crate) engine: Engine,
    /// Bounds of requests.
    pub(crate) options: Arc<HttpOptions>,
    /// Cancelled when the host begins to end, so that waiting requests are answered at once.
    pub(crate) stopping: CancellationToken,
    /// Where an upload has its place while its body is in memory.
    pub(crate) uploads: Arc<Uploads>,
    /// What `/readyz` answers.
    pub(crate) readiness: Arc<Readiness>,
}

impl App {
    pub(crate) fn new(engine: Engine, options: HttpOptions, stopping: CancellationToken) -> Self {
        Self {
            engine,
            options: Arc::new(options),
            stopping,
            uploads: Arc::new(Uploads::new()),
            readiness: Arc::default(),
        }
    }

    /// What may be asked about the caller's own instances and modules.
    pub(crate) fn store(&self, caller: Caller) -> TenantStore {
        self.engine.store().tenant(caller.tenant)
    }
}
