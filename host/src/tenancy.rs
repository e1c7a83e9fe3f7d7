//! Tenants, their API keys and their quotas, kept in memory: every request reads them, and they change rarely.
//!
//! [`Tenancy`] reads them from the store when the host starts and after every change, so that its answers agree with
//! the disk. It authenticates requests ([`Tenancy::identify`]) and meters what tenants use over time.
//! [`model`](crate::model::tenancy) defines what each role may do; the module that does the work enforces its quotas.

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
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

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
    changes: watch::Sender<()>,
    /// Serializes changes, so that memory follows the store.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// The observers of changes.
    observers: RwLock<Vec<Box<dyn Observer>>>,
}

/// Applies what tenants may use where it is enforced.
pub trait Observer: Send + Sync {
    /// The tenant exists, and may have changed.
    fn changed(&self, tenant: &Tenant);
    /// The tenant was deleted.
    fn deleted(&self, tenant: TenantId);
}

/// A snapshot of what is stored.
#[derive(Default)]
struct Snapshot {
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    keys: BTreeMap<String, KeyRow>,
}

/// The authenticated sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The tenant whose resources the request is about, unless it names another one.
    pub tenant: TenantId,
    /// Decides which actions are allowed.
    pub role: Role,
}

/// Why a request is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The key is missing, does not exist, was revoked or has expired.
    #[error("an API key is required")]
    Unknown,
    /// The key is valid, but its tenant is disabled.
    #[error("the tenant is disabled")]
    Disabled,
}

impl Tenancy {
    /// Reads tenants and keys from the store.
    ///
    /// # Errors
    /// If the store fails or contains invalid data.
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
            changes: watch::Sender::default(),
            changing: Arc::default(),
            observers: RwLock::default(),
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
            changes: watch::Sender::default(),
            changing: Arc::default(),
            observers: RwLock::default(),
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
                let (number, known) = (row.tenant, old.tenants.get(&row.tenant));
                let tenant = Tenant::new(row, own, &old, &self.0.counting)?;
                // Keeps what was computed for tenants that did not change.
                let known = known.filter(|known| known.is_same(&tenant)).cloned();
                Ok((number, known.unwrap_or_else(|| Arc::new(tenant))))
            })
            .collect::<Result<_, StoreError>>()?;
        let keys = keys.into_iter().map(|key| (key.id.clone(), key)).collect();
        self.install(&old, Snapshot { tenants, keys });
        Ok(())
    }

    /// Reads the settings of one tenant again.
    async fn refresh_settings(&self, tenant: TenantId) -> Result<(), StoreError> {
        let settings = self.0.store.settings_of(tenant).await?;
        let old = self.snapshot();
        if let Some(known) = old.tenants.get(&tenant) {
            let mut tenants = old.tenants.clone();
            tenants.insert(tenant, Arc::new(known.with_settings(settings)));
            let keys = old.keys.clone();
            self.install(&old, Snapshot { tenants, keys });
        }
        Ok(())
    }

    /// Replaces the snapshot, and reports what changed.
    fn install(&self, old: &Snapshot, new: Snapshot) {
        let snapshot = Arc::new(new);
        *self.0.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        let is_known = |tenant: &&Arc<Tenant>| {
            old.tenants
                .get(&tenant.id)
                .is_some_and(|known| Arc::ptr_eq(known, tenant))
        };
        for observer in &*self.0.observers.read().unwrap_or_else(PoisonError::into_inner) {
            let changed = snapshot.tenants.values().filter(|tenant| !is_known(tenant));
            changed.for_each(|tenant| observer.changed(tenant));
            let gone = old
                .tenants
                .keys()
                .filter(|tenant| !snapshot.tenants.contains_key(tenant));
            gone.for_each(|tenant| observer.deleted(*tenant));
        }
        self.0.changes.send_replace(());
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there are no keys. Then every request has the rights of an administrator.
    pub fn is_open(&self) -> bool {
        self.snapshot().keys.is_empty()
    }

    /// Authenticates the sender of a request by its key, if it has one.
    ///
    /// # Errors
    /// If the key is missing or invalid, or its tenant is disabled.
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

    /// Notifies of every change of tenants, keys and settings from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// A tenant by its number.
    pub fn tenant(&self, tenant: TenantId) -> Option<Arc<Tenant>> {
        self.snapshot().tenants.get(&tenant).cloned()
    }

    /// A tenant by its name.
    ///
    /// # Errors
    /// If there is no such tenant.
    pub fn named(&self, name: &str) -> Result<Arc<Tenant>, TenancyError> {
        let snapshot = self.snapshot();
        let found = snapshot.tenants.values().find(|tenant| tenant.name.as_str() == name);
        found.cloned().ok_or_else(|| TenancyError::UnknownTenant(name.into()))
    }

    /// All tenants, in the order of their creation.
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.snapshot().tenants.values().cloned().collect()
    }

    /// All keys, or those of one tenant, ordered by id.
    pub fn keys(&self, of: Option<TenantId>) -> Vec<KeyRow> {
        let snapshot = self.snapshot();
        let keys = snapshot.keys.values();
        keys.filter(|key| of.is_none_or(|tenant| key.tenant == tenant))
            .cloned()
            .collect()
    }

    /// Reports all tenants to an observer, and from now on each change, before the change is answered.
    pub fn add_observer(&self, observer: impl Observer + 'static) {
        let mut observers = self.0.observers.write().unwrap_or_else(PoisonError::into_inner);
        for tenant in self.tenants() {
            observer.changed(&tenant);
        }
        observers.push(Box::new(observer));
    }
}

impl KeyRow {
    /// Whether it has expired.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests;
