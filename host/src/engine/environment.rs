//! What the engine is built on: handles that exist before it and outlive none of its tasks.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flight_recorder::FlightRecorder;
use super::guests::{Guests, Modules};
use super::stats::EngineStats;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::store::Store;
use crate::tenancy::Tenancy;

/// Everything that owners, attempts and requests alike use. There is one.
pub(super) struct Environment {
    pub store: Store,
    pub tenancy: Tenancy,
    pub guests: Arc<dyn Guests>,
    pub modules: Arc<dyn Modules>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Where running turns and attempts are noted.
    pub recorder: FlightRecorder,
    pub stats: EngineStats,
    /// Where owners and attempts run.
    pub runtime: tokio::runtime::Handle,
    /// Waited for at the shutdown.
    pub tracker: TaskTracker,
    pub shutdown: CancellationToken,
}
