//! What all owners of a host share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activities::Activities;
use super::flight_recorder::FlightRecorder;
use super::guests::Guests;
use super::held_tenants::HeldTenants;
use super::hot_instances::HotInstances;
use super::shares::Gate;
use super::stats::EngineStats;
use super::timers::Timers;
use super::waiters::Waiters;
use crate::clock::Clock;
use crate::config::ByteSize;
use crate::entropy::Entropy;
use crate::model::{ObservableLimits, TenantId};
use crate::replay::TurnLimits;
use crate::store::Store;
use crate::tenancy::Tenancy;

/// Handles and limits that every owner uses.
pub(super) struct Shared {
    pub store: Store,
    pub tenancy: Tenancy,
    pub guests: Arc<dyn Guests>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub recorder: FlightRecorder,
    pub stats: Arc<EngineStats>,
    pub activities: Activities,
    pub gate: Gate,
    pub timers: Timers,
    pub held_tenants: HeldTenants,
    pub waiters: Waiters,
    pub hot_instances: HotInstances,
    /// Bounds the instances being loaded at once, so that a start with many does not read them all into memory.
    pub loading: Semaphore,
    pub runtime: tokio::runtime::Handle,
    pub tracker: TaskTracker,
    pub shutdown: CancellationToken,
    pub hot_cap: usize,
    pub hot_idle: Duration,
    pub turn_limits: TurnLimits,
    pub known_event_bytes: usize,
    pub observable: ObservableLimits,
}

impl Shared {
    /// Most bytes of the history of one execution of a tenant, and most for which it takes events.
    pub(super) fn max_history_bytes(&self, tenant: TenantId) -> u64 {
        let limit = self.turn_limits.history_bytes;
        let tenant = self.tenancy.tenant(tenant);
        let quota = tenant.and_then(|tenant| tenant.quotas.max_history);
        quota.map_or(limit, |ByteSize(quota)| quota.min(limit))
    }
}
