//! When a tenant's instances take no turns, and when it is given no more work.

use super::{Exceeded, Quota, Tenancy};
use crate::config::ByteSize;
use crate::model::TenantId;

/// How far beyond `maxStoredBytes` what runs already may go, in percent of it. Clients are refused at the quota itself.
const BEYOND_STORED_BYTES_PERCENT: u64 = 10;

/// Most bytes of the log of one execution.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// Why no instance of a tenant takes a turn, and no attempt begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The tenant is disabled.
    Disabled,
    /// Far more is stored than its quota allows.
    StoredBytes,
}

impl Hold {
    /// What it is called over HTTP.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::StoredBytes => Quota::MaxStoredBytes.name(),
        }
    }
}

impl Tenancy {
    /// Why the tenant's instances are held, if they are.
    pub fn hold(&self, tenant: TenantId) -> Option<Hold> {
        let tenant = self.tenant(tenant)?;
        if tenant.disabled {
            return Some(Hold::Disabled);
        }
        let ByteSize(quota) = tenant.quotas.max_stored_bytes?;
        let beyond = u128::from(quota) * u128::from(BEYOND_STORED_BYTES_PERCENT) / 100;
        let stored = u128::from(self.0.store.stored_bytes(tenant.id));
        (stored > u128::from(quota) + beyond).then_some(Hold::StoredBytes)
    }

    /// Most bytes of the log of one of the tenant's executions.
    pub fn max_log_bytes(&self, tenant: TenantId) -> u64 {
        let quota = self.tenant(tenant).and_then(|tenant| tenant.quotas.max_instance_log);
        quota.map_or(MAX_LOG_BYTES, |ByteSize(quota)| quota.min(MAX_LOG_BYTES))
    }

    /// Whether a tenant may add to what is stored of it.
    ///
    /// # Errors
    /// When as much is stored as its quota allows.
    pub fn check_stored_bytes(&self, tenant: TenantId) -> Result<(), Exceeded> {
        let quota = self.tenant(tenant).and_then(|tenant| tenant.quotas.max_stored_bytes);
        match quota {
            Some(ByteSize(quota)) if self.0.store.stored_bytes(tenant) >= quota => {
                Err(Exceeded::of_size(Quota::MaxStoredBytes, quota))
            }
            _ => Ok(()),
        }
    }
}
