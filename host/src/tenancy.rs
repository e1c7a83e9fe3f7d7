//! Tenants, their API keys and their quotas, kept in memory: asked at every request, changed seldom.
//!
//! [`Tenancy`] reads them from the store when the host starts and after every change, so that what it answers is what is
//! on disk. It decides who somebody is ([`Tenancy::identify`]) and keeps count of what a tenant may do in a time; what a
//! role may do is in [`model`](crate::model::tenancy), and where a quota is enforced is the business of whoever does the
//! work.

mod bucket;
pub mod counts;
mod hold;
pub mod key;
pub mod quota;
pub mod settings;
pub mod signature;
pub mod vault;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::OwnedMutexGuard;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{Role, TenantId, TenantName, Timestamp};
use crate::sandbox::{Grants, RequestRoom};
use crate::store::{Change, Changed, Error as StoreError, KeyRow, SettingRow, Store, TenantRow};

pub use self::counts::{MAX_COUNTED_ALONE, TenantCounts, Work};
pub use self::hold::Hold;
pub use self::quota::{Exceeded, Quota, Quotas};
pub use self::settings::{NewSetting, SettingName};
pub use self::signature::SignatureError;
pub use self::vault::{Vault, VaultError};
use self::{bucket::Bucket, counts::Counting, key::PlainKey};

/// Longest label of a key, in bytes.
pub const MAX_LABEL_BYTES: usize = 200;

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

/// A tenant.
pub struct Tenant {
    /// Its number.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// Whether requests on its behalf are refused, and its instances held.
    pub disabled: bool,
    /// What it may use.
    pub quotas: Quotas,
    /// When it was created; zero for the one that every host has.
    pub created_at: Timestamp,
    settings: Vec<SettingRow>,
    /// What attempts are given, by module; made when it is first asked for.
    grants: Mutex<BTreeMap<String, Arc<Grants>>>,
    meters: Arc<Meters>,
}

/// What a tenant has used lately. Outlives changes of its quotas.
struct Meters {
    starts: Mutex<Bucket>,
    fuel: Mutex<Bucket>,
    requests: Arc<RequestRoom>,
    counts: Arc<TenantCounts>,
}

impl Meters {
    fn new(counts: Arc<TenantCounts>) -> Self {
        Self {
            starts: Mutex::default(),
            fuel: Mutex::default(),
            requests: Arc::new(RequestRoom::new("the quota maxTenantRequests of the tenant")),
            counts,
        }
    }
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
    async fn changing(&self) -> OwnedMutexGuard<()> {
        self.0.changing.clone().lock_owned().await
    }

    /// Changes what is stored and then what is in memory. In a task of its own: a client who goes away in between must not
    /// leave a key in force that was revoked.
    async fn change(&self, changing: OwnedMutexGuard<()>, change: Change) -> Result<Changed, StoreError> {
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

    /// Takes a start on behalf of a tenant from its quota.
    ///
    /// # Errors
    /// When its quota of starts or of fuel is used up for now; then it was not taken.
    pub fn take_start(&self, tenant: TenantId) -> Result<(), Exceeded> {
        let Some(tenant) = self.tenant(tenant) else {
            return Ok(());
        };
        tenant.take_start(self.0.clock.now())
    }

    /// Counts orchestrations that others have started; they are not refused, but clients wait for them.
    pub fn note_starts(&self, tenant: TenantId, starts: u64) {
        if let Some(tenant) = self.tenant(tenant)
            && let Some(rate) = tenant.quotas.starts_per_second
        {
            tenant.starts().spend(starts, rate, rate, SECOND, self.0.clock.now());
        }
    }

    /// A start that was counted turned out to be none.
    pub fn return_start(&self, tenant: TenantId) {
        if let Some(tenant) = self.tenant(tenant) {
            tenant.starts().give_back(1, SECOND);
        }
    }

    /// How long a tenant has to wait until it may use fuel again; none if it need not.
    pub fn fuel_wait(&self, tenant: TenantId) -> Option<Duration> {
        let tenant = self.tenant(tenant)?;
        tenant.fuel_wait(self.0.clock.now())
    }

    /// Counts what was run on behalf of a tenant, and the fuel that it used.
    pub fn count_work(&self, tenant: TenantId, work: Work) {
        let Some(tenant) = self.tenant(tenant) else { return };
        tenant.meters.counts.add(work);
        if let Some(rate) = tenant.quotas.fuel_per_minute {
            let mut bucket = tenant.meters.fuel.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.spend(work.fuel, rate, rate, MINUTE, self.0.clock.now());
        }
    }

    /// Counts an orchestration that a client of a tenant has started.
    pub fn count_start(&self, tenant: TenantId) {
        if let Some(tenant) = self.tenant(tenant) {
            tenant.meters.counts.starts.increment();
        }
    }

    /// What those tenants did together that are not counted alone.
    pub fn counts_of_others(&self) -> Arc<TenantCounts> {
        self.0.counting.others()
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

impl Tenant {
    fn new(row: TenantRow, settings: Vec<SettingRow>, old: &Snapshot, counting: &Counting) -> Result<Self, StoreError> {
        let quotas = Quotas::read(&row.quotas)
            .map_err(|problem| StoreError::Damaged(format!("the quotas of tenant {}: {problem}", row.name)))?;
        let meters = old.tenants.get(&row.tenant).map(|tenant| tenant.meters.clone());
        let meters = meters.unwrap_or_else(|| Arc::new(Meters::new(counting.of_newcomer())));
        meters
            .requests
            .set_limit(quotas.max_tenant_requests.map(|number| number as usize));
        Ok(Self {
            id: row.tenant,
            name: row.name,
            disabled: row.disabled,
            quotas,
            created_at: row.created_at,
            settings,
            grants: Mutex::default(),
            meters,
        })
    }

    /// What it did since the host started; what [several](TenantCounts::are_of_one) did if it is not counted alone.
    pub fn counts(&self) -> &TenantCounts {
        &self.meters.counts
    }

    /// How many outgoing requests of its activities are open.
    pub fn open_requests(&self) -> usize {
        self.meters.requests.open()
    }

    fn take_start(&self, now: Timestamp) -> Result<(), Exceeded> {
        if let Some(wait) = self.fuel_wait(now) {
            return Err(Exceeded::of_rate(
                Quota::FuelPerMinute,
                self.quotas.fuel_per_minute,
                wait,
            ));
        }
        let Some(rate) = self.quotas.starts_per_second else {
            return Ok(());
        };
        self.starts()
            .take(1, rate, rate, SECOND, now)
            .map_err(|wait| Exceeded::of_rate(Quota::StartsPerSecond, Some(rate), wait))
    }

    fn starts(&self) -> MutexGuard<'_, Bucket> {
        self.meters.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fuel_wait(&self, now: Timestamp) -> Option<Duration> {
        let rate = self.quotas.fuel_per_minute?;
        let mut bucket = self.meters.fuel.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.wait(rate, rate, MINUTE, now)
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
