//! One tenant: its quotas, and what it has used recently.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bucket::Bucket;
use super::counts::{Counting, TenantCounts, Work};
use super::{Exceeded, Quota, Quotas, Snapshot, Tenancy};
use crate::grants::{Grants, RequestGroup};
use crate::model::{TenantId, TenantName, Timestamp};
use crate::store::{Error as StoreError, SettingRow, TenantRow};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A tenant.
pub struct Tenant {
    /// Its number.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// Whether its requests are refused and its instances held.
    pub disabled: bool,
    /// The limits on what it may use.
    pub quotas: Quotas,
    /// When it was created; zero for the tenant `default`, which every host has.
    pub created_at: Timestamp,
    pub(super) settings: Vec<SettingRow>,
    /// The grants of attempts by module; computed on first use.
    pub(super) grants: Mutex<BTreeMap<String, Arc<Grants>>>,
    pub(super) meters: Arc<Meters>,
}

/// What a tenant has used recently. Survives changes of its quotas.
pub(super) struct Meters {
    starts: Mutex<Bucket>,
    events: Mutex<Bucket>,
    fuel: Mutex<Bucket>,
    pub(super) requests: Arc<RequestGroup>,
    counts: Arc<TenantCounts>,
}

impl Meters {
    fn new(counts: Arc<TenantCounts>) -> Self {
        Self {
            starts: Mutex::default(),
            events: Mutex::default(),
            fuel: Mutex::default(),
            requests: Arc::new(RequestGroup::new("the quota maxTenantRequests of the tenant")),
            counts,
        }
    }
}

impl Tenant {
    pub(super) fn new(
        row: TenantRow,
        settings: Vec<SettingRow>,
        old: &Snapshot,
        counting: &Counting,
    ) -> Result<Self, StoreError> {
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

    /// The same tenant with other settings.
    pub(super) fn with_settings(&self, settings: Vec<SettingRow>) -> Self {
        Self {
            id: self.id,
            name: self.name.clone(),
            disabled: self.disabled,
            quotas: self.quotas.clone(),
            created_at: self.created_at,
            settings,
            grants: Mutex::default(),
            meters: self.meters.clone(),
        }
    }

    /// Whether nothing of it has changed except what it has used.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.id, self.disabled, self.created_at) == (other.id, other.disabled, other.created_at)
            && self.name == other.name
            && self.quotas == other.quotas
            && self.settings == other.settings
    }

    /// Its counters since the host started; those of [several tenants](TenantCounts::are_of_one) if it is not counted
    /// individually.
    pub fn counts(&self) -> &TenantCounts {
        &self.meters.counts
    }

    /// The number of open outgoing requests of its activities.
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

    fn take_event(&self, now: Timestamp) -> Result<(), Exceeded> {
        let Some(rate) = self.quotas.events_per_second else {
            return Ok(());
        };
        self.events()
            .take(1, rate, rate, SECOND, now)
            .map_err(|wait| Exceeded::of_rate(Quota::EventsPerSecond, Some(rate), wait))
    }

    fn starts(&self) -> MutexGuard<'_, Bucket> {
        self.meters.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn events(&self) -> MutexGuard<'_, Bucket> {
        self.meters.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fuel_wait(&self, now: Timestamp) -> Option<Duration> {
        let rate = self.quotas.fuel_per_minute?;
        let mut bucket = self.meters.fuel.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.wait(rate, rate, MINUTE, now)
    }
}

impl Tenancy {
    /// Counts a start against the quotas of a tenant.
    ///
    /// # Errors
    /// If its quota of starts or of fuel is used up for now; then nothing is counted.
    pub fn take_start(&self, tenant: TenantId) -> Result<(), Exceeded> {
        let Some(tenant) = self.tenant(tenant) else {
            return Ok(());
        };
        tenant.take_start(self.0.clock.now())
    }

    /// Counts starts by orchestrations. They are never refused, but delay the starts of clients.
    pub fn note_starts(&self, tenant: TenantId, starts: u64) {
        if let Some(tenant) = self.tenant(tenant)
            && let Some(rate) = tenant.quotas.starts_per_second
        {
            tenant.starts().spend(starts, rate, rate, SECOND, self.0.clock.now());
        }
    }

    /// Returns a start that was counted but did not happen.
    pub fn return_start(&self, tenant: TenantId) {
        if let Some(tenant) = self.tenant(tenant) {
            tenant.starts().give_back(1, SECOND);
        }
    }

    /// Counts an event that a client raises.
    ///
    /// # Errors
    /// If the tenant's quota of events is used up for now; then nothing is counted.
    pub fn take_event(&self, tenant: TenantId) -> Result<(), Exceeded> {
        match self.tenant(tenant) {
            Some(tenant) => tenant.take_event(self.0.clock.now()),
            None => Ok(()),
        }
    }

    /// Returns an event that was counted but repeated an earlier request.
    pub fn return_event(&self, tenant: TenantId) {
        if let Some(tenant) = self.tenant(tenant) {
            tenant.events().give_back(1, SECOND);
        }
    }

    /// How long a tenant must wait until it may use fuel again; `None` if it may now.
    pub fn fuel_wait(&self, tenant: TenantId) -> Option<Duration> {
        let tenant = self.tenant(tenant)?;
        tenant.fuel_wait(self.0.clock.now())
    }

    /// Counts work that was done for a tenant, and its fuel.
    pub fn count_work(&self, tenant: TenantId, work: Work) {
        let Some(tenant) = self.tenant(tenant) else { return };
        tenant.meters.counts.add(work);
        if let Some(rate) = tenant.quotas.fuel_per_minute {
            let mut bucket = tenant.meters.fuel.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.spend(work.fuel, rate, rate, MINUTE, self.0.clock.now());
        }
    }

    /// Counts an orchestration that a client of a tenant started.
    pub fn count_start(&self, tenant: TenantId) {
        if let Some(tenant) = self.tenant(tenant) {
            tenant.meters.counts.starts.increment();
        }
    }

    /// Counts instances of a tenant that retention deleted.
    pub fn count_expired(&self, tenant: TenantId, instances: u64) {
        if let Some(tenant) = self.tenant(tenant) {
            tenant.meters.counts.expired.add(instances);
        }
    }

    /// The counters of all tenants that are not counted individually.
    pub fn counts_of_others(&self) -> Arc<TenantCounts> {
        self.0.counting.others()
    }
}
