//! The state that all handlers share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    HttpOptions,
    access::Caller,
    admission::Places,
    answers::Answers,
    error::Refusal,
    health::Readiness,
    positions::{Position, Positions},
    uploads::Uploads,
    wait_limit::WaitLimit,
    weights::Weights,
};
use crate::{engine::Engine, memory::Part, store::TenantStore};

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    /// For everything that changes something.
    pub(crate) engine: Engine,
    /// Limits on requests.
    pub(crate) options: Arc<HttpOptions>,
    /// Cancelled when the host begins to shut down, so that waiting requests are answered at once.
    pub(crate) stopping: CancellationToken,
    /// Encrypts positions that clients get.
    pub(crate) positions: Positions,
    /// The memory for answers.
    pub(crate) answers: Answers,
    /// Limits the concurrent uploads.
    pub(crate) uploads: Arc<Uploads>,
    /// Limits the requests in progress.
    pub(crate) places: Places,
    /// Limits the requests that wait for the end of an instance.
    pub(crate) waits: Arc<WaitLimit>,
    /// The result of `/readyz`.
    pub(crate) readiness: Arc<Readiness>,
}

impl App {
    pub(crate) fn new(engine: Engine, options: HttpOptions, places: Places, stopping: CancellationToken) -> Self {
        let waits = Arc::new(WaitLimit::new(places.max_requests()));
        engine.tenancy().add_observer(Weights {
            places: places.clone(),
            waits: waits.clone(),
        });
        let uploads = Arc::new(Uploads::new(options.module_bytes, engine.memory().bytes()));
        Self {
            positions: Positions::new(engine.store().position_key()),
            answers: Answers::new(engine.memory().part(Part::Answers).clone()),
            engine,
            waits,
            places,
            uploads,
            options: Arc::new(options),
            stopping,
            readiness: Arc::default(),
        }
    }

    /// The largest size of an instance in an answer: input, output and custom status.
    pub(crate) fn instance_bytes(&self) -> usize {
        3 * self.options.payload_bytes
    }

    /// A position in the form that the caller gets.
    pub(crate) fn seal<P: Position>(&self, caller: Caller, position: &P) -> String {
        self.positions.seal(caller.tenant, position)
    }

    /// The position in a parameter of the caller's request, if the request has it.
    ///
    /// # Errors
    /// If it is not one that the tenant got.
    pub(crate) fn position<P: Position>(
        &self,
        caller: Caller,
        name: &str,
        given: Option<&str>,
    ) -> Result<Option<P>, Refusal> {
        self.positions.given(caller.tenant, name, given)
    }

    /// The store's handle for the caller's tenant.
    pub(crate) fn store(&self, caller: Caller) -> TenantStore {
        self.engine.store().tenant(caller.tenant)
    }
}
