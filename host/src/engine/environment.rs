//! What the engine is built on: handles that exist before it, and that all of its tasks use.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flight_recorder::FlightRecorder;
use super::guests::{Guests, Modules};
use super::quiet_periods::QuietPeriods;
use super::stats::EngineStats;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::memory::Memory;
use crate::store::Store;
use crate::tenancy::Tenancy;

/// Used by owners, attempts and requests alike. There is one.
pub(super) struct Environment {
    pub store: Store,
    pub tenancy: Tenancy,
    pub guests: Arc<dyn Guests>,
    pub modules: Arc<dyn Modules>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// The memory budget of the host.
    pub memory: Memory,
    /// Records running turns and attempts.
    pub recorder: FlightRecorder,
    /// Let the suspects of an unclean end run by themselves.
    pub quiet_periods: QuietPeriods,
    pub stats: EngineStats,
    /// The runtime of owners and attempts.
    pub runtime: tokio::runtime::Handle,
    /// The tasks that a shutdown waits for.
    pub tracker: TaskTracker,
    pub shutdown: CancellationToken,
}
