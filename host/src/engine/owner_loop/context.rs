//! The context in which the owners of a tenant's instances decide.

use std::sync::Arc;

use crate::engine::owner::OwnerContext;
use crate::engine::shared::Shared;
use crate::entity::StepLimits;
use crate::model::{InstanceNumber, ObservableLimits, TenantId, Timestamp};
use crate::replay::{Directory, TurnSize};
use crate::tenancy::Quotas;

/// The host as a context for owners.
pub(super) struct HostContext<'a> {
    pub(super) shared: &'a Shared,
    pub(super) tenant: TenantId,
    pub(super) instance: InstanceNumber,
    pub(super) directory: &'a Arc<dyn Directory>,
    pub(super) turn_room: TurnSize,
}

impl OwnerContext for HostContext<'_> {
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn seed(&self) -> [u8; 32] {
        self.shared.entropy.seed()
    }

    fn directory(&self) -> &dyn Directory {
        &**self.directory
    }

    fn shared_directory(&self) -> Arc<dyn Directory> {
        self.directory.clone()
    }

    fn step_limits(&self) -> StepLimits {
        let options = &self.shared.options;
        let state = self.shared.max_entity_state(self.tenant);
        StepLimits {
            payload_bytes: usize::try_from(options.observable.payload_bytes).unwrap_or(usize::MAX),
            state_bytes: usize::try_from(state).unwrap_or(usize::MAX),
            ..options.step_limits
        }
    }

    fn limits(&self) -> ObservableLimits {
        self.shared.options.observable
    }

    fn max_turns(&self) -> u32 {
        let limit = self.shared.options.turn_limits.turns;
        self.quota(|quotas| quotas.max_turns)
            .map_or(limit, |quota| quota.min(limit))
    }

    fn max_history_bytes(&self) -> u64 {
        self.shared.max_history_bytes(self.tenant)
    }

    fn max_log_bytes(&self) -> u64 {
        self.shared.tenancy.max_log_bytes(self.tenant)
    }

    fn max_waiting_operations(&self) -> u64 {
        self.shared.tenancy.max_waiting_operations(self.tenant)
    }

    fn max_locked_entities(&self) -> Option<usize> {
        let most = self.quota(|quotas| quotas.max_locked_entities)?;
        usize::try_from(most).ok()
    }

    fn turn_room(&self) -> TurnSize {
        self.turn_room
    }

    fn is_held(&self) -> bool {
        self.shared.quiet_periods.hold(self.instance) || self.shared.held_tenants.is_held(self.tenant)
    }
}

impl HostContext<'_> {
    fn quota<T>(&self, of: impl FnOnce(&Quotas) -> Option<T>) -> Option<T> {
        of(&self.shared.tenancy.tenant(self.tenant)?.quotas)
    }
}
