//! What every handler can reach.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    HttpOptions, access::Caller, admission::Places, health::Readiness, uploads::Uploads, wait_limit::WaitLimit,
};
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
    /// How many requests may be under way.
    pub(crate) places: Places,
    /// Requests that wait for the end of an instance.
    pub(crate) waits: Arc<WaitLimit>,
    /// What `/readyz` answers.
    pub(crate) readiness: Arc<Readiness>,
}

impl App {
    pub(crate) fn new(engine: Engine, options: HttpOptions, places: Places, stopping: CancellationToken) -> Self {
        Self {
            engine,
            waits: Arc::new(WaitLimit::new(places.max_requests())),
            places,
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
