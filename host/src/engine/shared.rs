//! What all owners of a host share: the environment, and engine state that concerns all instances.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::Notify;

use super::activities::Activities;
use super::due_schedules::DueSchedules;
use super::environment::Environment;
use super::held_tenants::HeldTenants;
use super::hot_instances::HotInstances;
use super::left_out::LeftOut;
use super::long_turns::LongTurns;
use super::options::EngineOptions;
use super::retention_state::RetentionState;
use super::shares::{Gate, Slots};
use super::timers::Timers;
use super::waiters::Waiters;
use super::waiting_operations::WaitingOperations;
use crate::config::ByteSize;
use crate::model::TenantId;

/// Shared by all owners. Dereferences to the [`Environment`].
pub(super) struct Shared {
    pub environment: Arc<Environment>,
    pub options: EngineOptions,
    pub activities: Activities,
    pub gate: Gate,
    pub long_turns: LongTurns,
    pub timers: Timers,
    pub held_tenants: HeldTenants,
    pub waiters: Waiters,
    /// Clients that wait for the outcome of an operation.
    pub operations: WaitingOperations,
    pub hot_instances: HotInstances,
    /// Instances that have work, but there is no memory for their owners.
    pub left_out: LeftOut,
    /// Notified when there is a new broadcast.
    pub broadcasts: Notify,
    /// The state of the deletion of expired instances.
    pub retention: RetentionState,
    /// Bounds the number of instances being loaded at once, so that a start with many instances does not read all of
    /// them into memory. Shared between tenants, because a large instance takes long.
    pub loading: Slots,
    /// Which tenants have due schedules.
    pub due_schedules: DueSchedules,
}

impl Deref for Shared {
    type Target = Environment;

    fn deref(&self) -> &Environment {
        &self.environment
    }
}

impl Shared {
    /// The maximum size of the history of one execution, in bytes. An execution accepts events only below it.
    pub(super) fn max_history_bytes(&self, tenant: TenantId) -> u64 {
        let limit = self.options.turn_limits.history_bytes;
        let tenant = self.tenancy.tenant(tenant);
        let quota = tenant.and_then(|tenant| tenant.quotas.max_history);
        quota.map_or(limit, |ByteSize(quota)| quota.min(limit))
    }

    /// The maximum size of the state of an entity, in bytes.
    pub(super) fn max_entity_state(&self, tenant: TenantId) -> u64 {
        let tenant = self.tenancy.tenant(tenant);
        let quota = tenant.and_then(|tenant| tenant.quotas.max_entity_state);
        quota.map_or(self.options.max_entity_state, |ByteSize(quota)| quota)
    }
}
