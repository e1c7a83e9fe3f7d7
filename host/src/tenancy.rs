//! Tenants, their API keys and their quotas, kept in memory: asked at every request, changed seldom.
//!
//! [`Tenancy`] reads them from the store when the host starts and after every change, so that what it answers is what is
//! on disk. It decides who somebody is ([`Tenancy::identify`]) and keeps count of what a tenant may do in a time; what a
//! role may do is in [`model`](crate::model::tenancy), and where a quota is enforced is the business of whoever does the
//! work.

mod bucket;
mod changes;
pub mod counts;
mod hold;
pub mod key;
pub mod quota;
pub mod settings;
pub mod signature;
mod tenant;
pub mod vault;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{Role, TenantId, Timestamp};
use crate::store::{Error as StoreError, KeyRow, Store};

pub use self::changes::{MAX_LABEL_BYTES, NewKey, TenancyError};
use self::counts::Counting;
pub use self::counts::{MAX_COUNTED_ALONE, TenantCounts, Work};
pub use self::hold::Hold;
pub use self::quota::{Exceeded, Quota, Quotas};
pub use self::settings::{NewSetting, SettingName};
pub use self::signature::SignatureError;
pub use self::tenant::Tenant;
pub use self::vault::{Vault, VaultError};

/// The tenants and keys of the host. Cheap to clone.
#[derive(Clone)]
pub struct Tenancy(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    vault: Vault,
    counting: Counting,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Changes happen one after the other, so that what is in memory follows what is stored.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Who wants to know of changes.
    observer: OnceLock<Box<dyn Observer>>,
}

/// Who goes by what tenants may use, and keeps it.
pub trait Observer: Send + Sync {
    /// The tenant exists, and may have changed.
    fn changed(&self, tenant: &Tenant);
    /// The tenant was deleted.
    fn deleted(&self, tenant: TenantId);
}

/// What was stored at one moment.
#[derive(Default)]
struct Snapshot {
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    keys: BTreeMap<String, KeyRow>,
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whose resources it is about, unless it says otherwise.
    pub tenant: TenantId,
    /// What it may do.
    pub role: Role,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No key was given, or one that does not exist, was revoked or has expired.
    #[error("an API key is required")]
    Unknown,
    /// The key is good, its tenant is disabled.
    #[error("the tenant is disabled")]
    Disabled,
}

impl Tenancy {
    /// Reads tenants and keys from the store.
    ///
    /// # Errors
    /// When the store fails or what is stored cannot be read.
    pub async fn open(
        store: Store,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        vault: Vault,
    ) -> Result<Self, StoreError> {
        let tenancy = Self(Arc::new(Inner {
            store,
            clock,
            entropy,
            vault,
            counting: Counting::default(),
            snapshot: RwLock::default(),
            changing: Arc::default(),
            observer: OnceLock::new(),
        }));
        tenancy.refresh().await?;
        Ok(tenancy)
    }

    /// One tenant without keys and quotas, for a simulation whose disk has no others.
    #[cfg(test)]
    pub(crate) fn of_one(store: Store, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self(Arc::new(Inner {
            store,
            clock,
            entropy,
            vault: Vault::default(),
            counting: Counting::default(),
            snapshot: RwLock::default(),
            changing: Arc::default(),
            observer: OnceLock::new(),
        }))
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let (tenants, keys) = (self.0.store.tenants().await?, self.0.store.api_keys().await?);
        let (mut settings, old) = (self.0.store.settings().await?, self.snapshot());
        let tenants = tenants
            .into_iter()
            .map(|row| {
                let own = settings
                    .extract_if(.., |setting| setting.tenant == row.tenant)
                    .collect();
                Ok((row.tenant, Arc::new(Tenant::new(row, own, &old, &self.0.counting)?)))
            })
            .collect::<Result<_, StoreError>>()?;
        let keys = keys.into_iter().map(|key| (key.id.clone(), key)).collect();
        let snapshot = Arc::new(Snapshot { tenants, keys });
        *self.0.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        if let Some(observer) = self.0.observer.get() {
            snapshot.tenants.values().for_each(|tenant| observer.changed(tenant));
            let gone = old
                .tenants
                .keys()
                .filter(|tenant| !snapshot.tenants.contains_key(tenant));
            gone.for_each(|tenant| observer.deleted(*tenant));
        }
        Ok(())
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there are no keys: then whoever reaches the host may do everything.
    pub fn is_open(&self) -> bool {
        self.snapshot().keys.is_empty()
    }

    /// Who presents this key, or nothing.
    ///
    /// # Errors
    /// When it opens nothing.
    pub fn identify(&self, key: Option<&str>) -> Result<Identity, IdentityError> {
        let snapshot = self.snapshot();
        let Some(key) = key else {
            let open = Identity {
                tenant: TenantId::DEFAULT,
                role: Role::Admin,
            };
            return if snapshot.keys.is_empty() {
                Ok(open)
            } else {
                Err(IdentityError::Unknown)
            };
        };
        let (id, secret) = key::split(key).ok_or(IdentityError::Unknown)?;
        let row = snapshot.keys.get(id).ok_or(IdentityError::Unknown)?;
        if !key::matches(secret, &row.hash) || row.has_expired(self.0.clock.now()) {
            return Err(IdentityError::Unknown);
        }
        match snapshot.tenants.get(&row.tenant) {
            Some(tenant) if !tenant.disabled => Ok(Identity {
                tenant: row.tenant,
                role: row.role,
            }),
            _ => Err(IdentityError::Disabled),
        }
    }

    /// A tenant by its number.
    pub fn tenant(&self, tenant: TenantId) -> Option<Arc<Tenant>> {
        self.snapshot().tenants.get(&tenant).cloned()
    }

    /// A tenant by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(&self, name: &str) -> Result<Arc<Tenant>, TenancyError> {
        let snapshot = self.snapshot();
        let found = snapshot.tenants.values().find(|tenant| tenant.name.as_str() == name);
        found.cloned().ok_or_else(|| TenancyError::UnknownTenant(name.into()))
    }

    /// All tenants, in the order of their creation.
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.snapshot().tenants.values().cloned().collect()
    }

    /// All keys, or those of a tenant, by id.
    pub fn keys(&self, of: Option<TenantId>) -> Vec<KeyRow> {
        let snapshot = self.snapshot();
        let keys = snapshot.keys.values();
        keys.filter(|key| of.is_none_or(|tenant| key.tenant == tenant))
            .cloned()
            .collect()
    }

    /// Tells somebody of all tenants, and of each change from now on, before it is answered.
    ///
    /// # Panics
    /// When somebody is told already.
    pub fn tell(&self, observer: impl Observer + 'static) {
        for tenant in self.tenants() {
            observer.changed(&tenant);
        }
        let told = self.0.observer.set(Box::new(observer));
        assert!(told.is_ok(), "there is one observer");
    }
}

impl KeyRow {
    /// Whether it has stopped working.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests;
