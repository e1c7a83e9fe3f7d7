//! Decides when a tenant's instances are held, and when a tenant may not add anything.

use super::{Exceeded, Quota, Quotas, Tenancy};
use crate::config::ByteSize;
use crate::model::{Tags, TenantId};

/// How far running instances may exceed `maxStoredBytes`, in percent. Clients are refused at the quota itself.
const BEYOND_STORED_BYTES_PERCENT: u64 = 10;

/// The maximum size of the log of one execution, in bytes.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// Why a tenant's instances run no turns and no attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The tenant is disabled.
    Disabled,
    /// The tenant stores far more than its quota allows.
    StoredBytes,
}

impl Hold {
    /// Its name over HTTP.
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
        let stored = u128::from(self.0.store.stored_bytes_with_garbage(tenant.id));
        (stored > u128::from(quota) + beyond).then_some(Hold::StoredBytes)
    }

    /// The maximum size of the log of one of the tenant's executions, in bytes.
    pub fn max_log_bytes(&self, tenant: TenantId) -> u64 {
        let quota = self.tenant(tenant).and_then(|tenant| tenant.quotas.max_instance_log);
        quota.map_or(MAX_LOG_BYTES, |ByteSize(quota)| quota.min(MAX_LOG_BYTES))
    }

    /// How many messages may wait for one of the tenant's entities before it accepts no more.
    pub fn max_waiting_operations(&self, tenant: TenantId) -> u64 {
        let quota = self
            .tenant(tenant)
            .and_then(|tenant| tenant.quotas.max_waiting_operations);
        quota.unwrap_or(u64::MAX)
    }

    /// Checks the number of tags of a new instance.
    ///
    /// # Errors
    /// If there are more than the tenant may use.
    pub fn check_tags(&self, tenant: TenantId, tags: &Tags) -> Result<(), Exceeded> {
        let most = self
            .tenant(tenant)
            .map_or_else(|| Quotas::default().max_tags(), |tenant| tenant.quotas.max_tags());
        match tags.len() <= most as usize {
            true => Ok(()),
            false => Err(Exceeded::of_size(Quota::MaxTags, most.into())),
        }
    }

    /// Checks that a control message of a client may be stored with an idempotency key. Control messages are accepted while
    /// the tenant is held; their keys are not, because they stay for a day.
    ///
    /// # Errors
    /// If the tenant stores far more than its quota allows.
    pub fn check_key_of_control(&self, tenant: TenantId) -> Result<(), Exceeded> {
        match self.hold(tenant) {
            Some(Hold::StoredBytes) => self.check_stored_bytes(tenant),
            Some(Hold::Disabled) | None => Ok(()),
        }
    }

    /// Checks that a tenant may store more.
    ///
    /// # Errors
    /// If the quota of stored bytes is reached.
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
