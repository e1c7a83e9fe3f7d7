//! Creating, changing and deleting tenants and keys: in the store, and then in memory.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;

use super::key::PlainKey;
use super::{Quotas, Tenancy, Tenant, VaultError};
use crate::model::{Role, TenantId, TenantName, Timestamp};
use crate::store::{Change, Changed, Error as StoreError, KeyRow};

/// Longest label of a key, in bytes.
pub const MAX_LABEL_BYTES: usize = 200;

/// Why a tenant or key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TenancyError {
    /// There is none of that name.
    #[error("there is no tenant {0:?}")]
    UnknownTenant(String),
    /// There is one of that name.
    #[error("the tenant {:?} already exists", .0.as_str())]
    TenantExists(TenantName),
    /// It has instances.
    #[error("the tenant {:?} has {instances} instances; terminate and purge them first", .name.as_str())]
    NotEmpty {
        /// Its name.
        name: TenantName,
        /// How many.
        instances: u64,
    },
    /// The tenant of a host without keys stays.
    #[error("the tenant `default` cannot be disabled or deleted")]
    DefaultTenant,
    /// There is no such key.
    #[error("there is no key {0:?}")]
    UnknownKey(String),
    /// Nobody could create further keys.
    #[error("the first key must have the role admin; otherwise no other key could be created")]
    FirstKey,
    /// Nobody could create further keys.
    #[error("this is the last admin key that does not expire; create another one first")]
    LastAdminKey,
    /// The label cannot be one.
    #[error("a label is at most {MAX_LABEL_BYTES} bytes without control characters")]
    Label,
    /// A quota cannot be one.
    #[error("{0}")]
    Quotas(String),
    /// The setting cannot be one.
    #[error("{0}")]
    Setting(String),
    /// There is no such setting.
    #[error("there is no setting {0:?}")]
    UnknownSetting(String),
    /// A secret cannot be kept.
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
    /// Whose.
    pub tenant: TenantName,
    /// What for.
    pub role: Role,
    /// What people call it; may be empty.
    pub label: String,
    /// When it stops working, if ever.
    pub expires_at: Option<Timestamp>,
}

impl Tenancy {
    /// Creates a tenant.
    ///
    /// # Errors
    /// When there is one of that name, or the store fails.
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

    /// Changes a tenant; what is not given stays, also of quotas. Takes effect at once.
    ///
    /// # Errors
    /// When there is none of that name, a quota cannot be one, or the store fails.
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
            // Read and written under one lock: of two changes at a time, both are kept.
            quotas: tenant.quotas.with(quotas).map_err(TenancyError::Quotas)?.stored(),
        };
        self.change(changing, change).await?;
        self.named(name)
    }

    /// Deletes a tenant that has no instances, with its modules and keys.
    ///
    /// # Errors
    /// When there is none of that name, it has instances, or the store fails.
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
            Changed::Unknown | Changed::Taken => Err(TenancyError::UnknownTenant(name.into())),
        }
    }

    /// Creates a key. This is the only time that its secret is seen.
    ///
    /// # Errors
    /// When it cannot be one, or the store fails.
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
            // Who runs the host is of no tenant; `default` cannot be disabled.
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

    /// Makes a key useless from now on.
    ///
    /// # Errors
    /// When there is none, nobody could create keys any more, or the store fails.
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

    /// Waits until it is one's turn to change something.
    pub(super) async fn changing(&self) -> OwnedMutexGuard<()> {
        self.0.changing.clone().lock_owned().await
    }

    /// Changes what is stored and then what is in memory. In a task of its own: a client who goes away in between must not
    /// leave a key in force that was revoked.
    pub(super) async fn change(&self, changing: OwnedMutexGuard<()>, change: Change) -> Result<Changed, StoreError> {
        let tenancy = self.clone();
        let changed = tokio::spawn(async move {
            let _changing = changing;
            let changed = tenancy.0.store.administer(change).await?;
            tenancy.catch_up().await?;
            Ok(changed)
        });
        changed.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Reads what was changed, however long it takes: until then, what is in memory is wrong.
    async fn catch_up(&self) -> Result<(), StoreError> {
        const PAUSE: Duration = Duration::from_millis(200);
        loop {
            match self.refresh().await {
                Err(error) if !matches!(error, StoreError::Closed | StoreError::Damaged(_)) => {
                    tracing::error!(%error, "tenants and keys could not be read after a change; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                read => return read,
            }
        }
    }
}
