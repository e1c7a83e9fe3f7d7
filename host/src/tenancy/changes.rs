//! Creates, changes and deletes tenants and keys: first in the store, then in memory.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;

use super::key::PlainKey;
use super::{Quotas, Tenancy, Tenant, VaultError};
use crate::model::{Role, TenantId, TenantName, Timestamp};
use crate::store::{Change, Changed, Error as StoreError, KeyRow};

/// The maximum length of a key's label, in bytes.
pub const MAX_LABEL_BYTES: usize = 200;

/// Why a tenant, a key or a setting was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TenancyError {
    /// There is no tenant of this name.
    #[error("there is no tenant {0:?}")]
    UnknownTenant(String),
    /// There is a tenant of this name already.
    #[error("the tenant {:?} already exists", .0.as_str())]
    TenantExists(TenantName),
    /// The tenant still has instances.
    #[error("the tenant {:?} has {instances} instances; terminate and purge them first", .name.as_str())]
    NotEmpty {
        /// The name of the tenant.
        name: TenantName,
        /// The number of its instances.
        instances: u64,
    },
    /// A host without keys needs the tenant `default`.
    #[error("the tenant `default` cannot be disabled or deleted")]
    DefaultTenant,
    /// There is no such key.
    #[error("there is no key {0:?}")]
    UnknownKey(String),
    /// Without an admin key that does not expire, no further keys could be created.
    #[error("the first key must have the role admin; otherwise no other key could be created")]
    FirstKey,
    /// Without an admin key that does not expire, no further keys could be created.
    #[error("this is the last admin key that does not expire; create another one first")]
    LastAdminKey,
    /// The label is too long or contains control characters.
    #[error("a label is at most {MAX_LABEL_BYTES} bytes without control characters")]
    Label,
    /// A quota is invalid.
    #[error("{0}")]
    Quotas(String),
    /// The setting is invalid.
    #[error("{0}")]
    Setting(String),
    /// There is no such setting.
    #[error("there is no setting {0:?}")]
    UnknownSetting(String),
    /// A secret cannot be encrypted.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The time of expiry has passed.
    #[error("a key cannot expire in the past")]
    Expired,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A key to be created.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The tenant of the key. Admin keys belong to `default` instead.
    pub tenant: TenantName,
    /// Decides which actions are allowed.
    pub role: Role,
    /// A label for people; may be empty.
    pub label: String,
    /// When the key expires; `None` for never.
    pub expires_at: Option<Timestamp>,
}

impl Tenancy {
    /// Creates a tenant.
    ///
    /// # Errors
    /// If the tenant exists already, or the store fails.
    pub async fn create_tenant(&self, name: TenantName, quotas: &Quotas) -> Result<Arc<Tenant>, TenancyError> {
        let changing = self.changing().await;
        let change = Change::CreateTenant {
            name: name.clone(),
            quotas: quotas.stored(),
            at: self.0.clock.now(),
        };
        match self.change(changing, change).await? {
            Changed::Taken => Err(TenancyError::TenantExists(name)),
            _ => self.named(name.as_str()),
        }
    }

    /// Changes a tenant. Quotas that are not mentioned stay the same. Takes effect at once.
    ///
    /// # Errors
    /// If there is no such tenant, a quota is invalid, or the store fails.
    pub async fn set_tenant(
        &self,
        name: &str,
        disabled: Option<bool>,
        quotas: Map<String, Value>,
    ) -> Result<Arc<Tenant>, TenancyError> {
        let changing = self.changing().await;
        let tenant = self.named(name)?;
        let disabled = disabled.unwrap_or(tenant.disabled);
        if disabled && tenant.id == TenantId::DEFAULT {
            return Err(TenancyError::DefaultTenant);
        }
        let change = Change::SetTenant {
            tenant: tenant.id,
            disabled,
            // Read and written under one lock, so that concurrent changes do not overwrite each other.
            quotas: tenant.quotas.with(quotas).map_err(TenancyError::Quotas)?.stored(),
        };
        self.change(changing, change).await?;
        self.named(name)
    }

    /// Deletes a tenant that has no instances, with its modules and keys.
    ///
    /// # Errors
    /// If there is no such tenant, it has instances, or the store fails.
    pub async fn delete_tenant(&self, name: &str) -> Result<TenantId, TenancyError> {
        let changing = self.changing().await;
        let tenant = self.named(name)?;
        if tenant.id == TenantId::DEFAULT {
            return Err(TenancyError::DefaultTenant);
        }
        match self.change(changing, Change::DeleteTenant(tenant.id)).await? {
            Changed::Done(_) => Ok(tenant.id),
            Changed::NotEmpty(instances) => Err(TenancyError::NotEmpty {
                name: tenant.name.clone(),
                instances,
            }),
            Changed::Unknown | Changed::Taken | Changed::TooMany => Err(TenancyError::UnknownTenant(name.into())),
        }
    }

    /// Creates a key. Its secret is not available afterwards.
    ///
    /// # Errors
    /// If the key is invalid, or the store fails.
    pub async fn create_key(&self, new: NewKey) -> Result<(KeyRow, PlainKey), TenancyError> {
        let changing = self.changing().await;
        let (now, tenant) = (self.0.clock.now(), self.named(new.tenant.as_str())?);
        if new.label.len() > MAX_LABEL_BYTES || new.label.chars().any(char::is_control) {
            return Err(TenancyError::Label);
        }
        if new.expires_at.is_some_and(|at| at <= now) {
            return Err(TenancyError::Expired);
        }
        if self.is_open() && (new.role != Role::Admin || new.expires_at.is_some()) {
            return Err(TenancyError::FirstKey);
        }
        let secret = PlainKey::draw(&*self.0.entropy);
        let row = KeyRow {
            id: secret.id().to_owned(),
            // An administrator belongs to no tenant; `default` cannot be disabled.
            tenant: if new.role == Role::Admin {
                TenantId::DEFAULT
            } else {
                tenant.id
            },
            role: new.role,
            hash: secret.hash(),
            label: new.label,
            created_at: now,
            expires_at: new.expires_at,
        };
        match self.change(changing, Change::CreateKey(row.clone())).await? {
            Changed::Done(_) => Ok((row, secret)),
            _ => Err(TenancyError::UnknownTenant(new.tenant.to_string())),
        }
    }

    /// Revokes a key. It stops working at once.
    ///
    /// # Errors
    /// If there is no such key, it is the last admin key that does not expire, or the store fails.
    pub async fn revoke_key(&self, id: &str) -> Result<(), TenancyError> {
        let changing = self.changing().await;
        let keys = self.keys(None);
        let key = keys.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| TenancyError::UnknownKey(id.into()))?;
        let lasting = |key: &&KeyRow| key.role == Role::Admin && key.expires_at.is_none();
        if lasting(&key) && keys.iter().filter(lasting).count() == 1 {
            return Err(TenancyError::LastAdminKey);
        }
        match self.change(changing, Change::RevokeKey(id.into())).await? {
            Changed::Done(_) => Ok(()),
            _ => Err(TenancyError::UnknownKey(id.into())),
        }
    }

    /// Waits until no other change is in progress.
    pub(super) async fn changing(&self) -> OwnedMutexGuard<()> {
        self.0.changing.clone().lock_owned().await
    }

    /// Changes the store and then memory. In a separate task: if the client disconnects in between, a revoked key must
    /// still stop working.
    pub(super) async fn change(&self, changing: OwnedMutexGuard<()>, change: Change) -> Result<Changed, StoreError> {
        let tenancy = self.clone();
        let settings_of = match &change {
            Change::PutSetting(row) => Some(row.tenant),
            Change::DeleteSetting { tenant, .. } => Some(*tenant),
            _ => None,
        };
        let changed = tokio::spawn(async move {
            let _changing = changing;
            let changed = tenancy.0.store.administer(change).await?;
            tenancy.catch_up(settings_of).await?;
            Ok(changed)
        });
        changed.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Reads the change from the store, retrying until it succeeds: until then, memory is out of date. With a tenant,
    /// only its settings were changed.
    async fn catch_up(&self, settings_of: Option<TenantId>) -> Result<(), StoreError> {
        const PAUSE: Duration = Duration::from_millis(200);
        loop {
            let read = match settings_of {
                Some(tenant) => self.refresh_settings(tenant).await,
                None => self.refresh().await,
            };
            match read {
                Err(error) if !matches!(error, StoreError::Closed | StoreError::Damaged(_)) => {
                    tracing::error!(%error, "tenants and keys could not be read after a change; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                read => return read,
            }
        }
    }
}
