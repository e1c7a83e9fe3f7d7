//! Applies the weights of tenants to what their requests share.

use std::sync::Arc;

use super::{admission::Places, wait_limit::WaitLimit};
use crate::{
    model::TenantId,
    tenancy::{Observer, Tenant},
};

/// Follows the changes of tenants.
pub(crate) struct Weights {
    pub(crate) places: Places,
    pub(crate) waits: Arc<WaitLimit>,
}

impl Observer for Weights {
    fn changed(&self, tenant: &Tenant) {
        let weight = tenant.quotas.weight();
        self.places.set_weight(tenant.id, weight);
        self.waits.set_weight(tenant.id, weight);
    }

    fn deleted(&self, tenant: TenantId) {
        self.places.forget(tenant);
        self.waits.forget(tenant);
    }
}
