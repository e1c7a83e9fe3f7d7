//! Modules, tenants, API keys and settings: tables that change rarely and are read completely.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::{
    Change, Changed, Error, KeyRow, ModuleHoldings, ModulePage, ModuleVersion, OldVersion, PossibleUser, PossibleUsers,
    PutModule, PutModuleOutcome, RetentionRow, SettingKind, SettingRow, TenantRow,
    list::MAX_EXAMINED,
    modules::{BYTES_GRACE_MS, Counted, MAX_USERS, without_functions},
    page::Page,
};
use super::{Content, Disk, Session};
use crate::model::{
    FunctionName, InstanceNumber, InstanceStatus, ModuleDescription, ModuleDigest, ModuleNumber, RetentionScope,
    TenantId, Timestamp, codec,
};

/// Rows that do not belong to an instance.
#[derive(Debug, Clone)]
pub(in crate::store) struct Catalogue {
    versions: BTreeMap<ModuleNumber, ModuleVersion>,
    bytes: BTreeMap<ModuleNumber, Arc<[u8]>>,
    /// The size of the compiled code of each version.
    compiled: BTreeMap<ModuleNumber, u64>,
    /// The current version of each name.
    names: BTreeMap<(TenantId, String), ModuleNumber>,
    tenants: BTreeMap<TenantId, TenantRow>,
    api_keys: BTreeMap<String, KeyRow>,
    settings: BTreeMap<(TenantId, SettingKind, String), SettingRow>,
    pub(super) retention: BTreeMap<(TenantId, RetentionScope), RetentionRow>,
}

impl Catalogue {
    /// The catalogue of a new database: only the default tenant, which a host without API keys uses.
    pub(super) fn new() -> Self {
        let default = TenantRow {
            tenant: TenantId::DEFAULT,
            name: "default".parse().expect("the name is valid"),
            disabled: false,
            quotas: "{}".into(),
            created_at: Timestamp(0),
        };
        Self {
            versions: BTreeMap::new(),
            bytes: BTreeMap::new(),
            compiled: BTreeMap::new(),
            names: BTreeMap::new(),
            tenants: BTreeMap::from([(default.tenant, default)]),
            api_keys: BTreeMap::new(),
            settings: BTreeMap::new(),
            retention: BTreeMap::new(),
        }
    }

    /// The digest of a version. The simulation stores no modules, so unknown versions get a digest made of the number.
    pub(super) fn digest(&self, number: ModuleNumber) -> ModuleDigest {
        let unknown = || ModuleDigest([u8::try_from(number.0).unwrap_or(u8::MAX); 32]);
        self.versions
            .get(&number)
            .map_or_else(unknown, |version| version.digest)
    }

    /// Whether there is such a tenant.
    pub(super) fn has_tenant(&self, tenant: TenantId) -> bool {
        self.tenants.contains_key(&tenant)
    }

    /// The number of rows in a table; `None` if the catalogue does not have that table.
    pub(in crate::store) fn rows(&self, table: &str) -> Option<usize> {
        Some(match table {
            "modules" => self.versions.len(),
            "module_bytes" => self.bytes.len(),
            "module_names" => self.names.len(),
            "functions" => {
                let current = self.names.values().map(|number| &self.versions[number]);
                current.map(|version| version.description.functions.len()).sum()
            }
            "tenants" => self.tenants.len(),
            "api_keys" => self.api_keys.len(),
            "settings" => self.settings.len(),
            "retention_rules" => self.retention.len(),
            _ => return None,
        })
    }

    /// The row of a tenant.
    pub(super) fn rows_of_tenant(&self, tenant: TenantId) -> Option<&TenantRow> {
        self.tenants.get(&tenant)
    }

    fn current(&self, tenant: TenantId) -> impl Iterator<Item = &ModuleVersion> {
        let names = self.names.iter().filter(move |((owner, _), _)| *owner == tenant);
        names.map(|(_, number)| &self.versions[number])
    }

    pub(super) fn holdings(&self, tenant: TenantId) -> ModuleHoldings {
        let kept = self.bytes.keys().map(|number| &self.versions[number]);
        ModuleHoldings {
            modules: self.current(tenant).count() as u64,
            bytes: kept
                .filter(|version| version.tenant == tenant)
                .map(|version| version.size)
                .sum(),
        }
    }

    /// What counts of the modules of a tenant as stored, in bytes.
    fn counted(&self, tenant: TenantId) -> u64 {
        let kept = self.bytes.keys().map(|number| &self.versions[number]);
        let counted = kept.filter(|version| version.tenant == tenant).map(|version| {
            let ModuleDescription { events, entities, .. } = &version.description;
            let length_if = |exists: bool, length: usize| if exists { length } else { 0 };
            let described = codec::encode(&version.description).len()
                + length_if(!events.is_empty(), codec::encode(events).len())
                + length_if(!entities.is_empty(), codec::encode(entities).len());
            self.compiled[&version.number] + described as u64
        });
        counted.sum()
    }

    /// What counts of the modules of each tenant as stored, in bytes.
    pub(super) fn counted_by_tenant(&self) -> HashMap<TenantId, u64> {
        let tenants = self.tenants.keys();
        tenants.map(|tenant| (*tenant, self.counted(*tenant))).collect()
    }

    fn put(&mut self, put: &PutModule) -> PutModuleOutcome {
        if !self.tenants.contains_key(&put.tenant) {
            return PutModuleOutcome::TenantGone;
        }
        if let Some((function, module)) = self.taken_function(put) {
            return PutModuleOutcome::FunctionTaken { function, module };
        }
        let name = (put.tenant, put.name.clone());
        let current = self.names.get(&name).copied();
        let number = self.upsert_version(put);
        if current == Some(number) {
            return PutModuleOutcome::Stored { number, new: false };
        }
        self.bytes.entry(number).or_insert_with(|| put.bytes.as_slice().into());
        self.supersede(current, put.at);
        self.names.insert(name, number);
        PutModuleOutcome::Stored { number, new: true }
    }

    fn taken_function(&self, put: &PutModule) -> Option<(FunctionName, String)> {
        let others = || {
            let names = self.names.iter().filter(|((owner, _), _)| *owner == put.tenant);
            let others = names.filter(|((_, name), _)| *name != put.name);
            others.map(|((_, name), number)| (name, &self.versions[number].description))
        };
        put.description.functions.iter().find_map(|function| {
            let offers = others().find(|(_, other)| {
                let mut functions = other.functions.iter();
                other.kind == put.description.kind && functions.any(|offered| offered.name == function.name)
            });
            offers.map(|(module, _)| (function.name.clone(), module.clone()))
        })
    }

    /// Inserts the version, or updates the row of an earlier upload of the same bytes.
    fn upsert_version(&mut self, put: &PutModule) -> ModuleNumber {
        let mut versions = self.versions.values();
        let earlier = versions.find(|version| version.tenant == put.tenant && version.digest == put.digest);
        let is_current = |version: &&ModuleVersion| version.superseded_at.is_none();
        let (uploaded_at, uploaded_by) = match earlier.filter(is_current) {
            Some(current) => (current.uploaded_at, current.uploaded_by.clone()),
            None => (put.at, put.by.clone()),
        };
        let next = || ModuleNumber(self.versions.last_key_value().map_or(1, |(last, _)| last.0 + 1));
        let version = ModuleVersion {
            number: earlier.map_or_else(next, |earlier| earlier.number),
            tenant: put.tenant,
            name: put.name.clone(),
            digest: put.digest,
            description: put.description.clone(),
            size: put.bytes.len() as u64,
            uploaded_at,
            uploaded_by,
            superseded_at: None,
        };
        let number = version.number;
        self.versions.insert(number, version);
        self.compiled.insert(number, put.compiled_bytes);
        number
    }

    fn supersede(&mut self, number: Option<ModuleNumber>, at: Timestamp) {
        if let Some(version) = number.and_then(|number| self.versions.get_mut(&number)) {
            version.superseded_at = Some(at);
        }
    }

    fn delete(&mut self, tenant: TenantId, name: &str, at: Timestamp) -> bool {
        let current = self.names.remove(&(tenant, name.to_owned()));
        self.supersede(current, at);
        current.is_some()
    }

    fn delete_bytes(&mut self, version: &OldVersion) -> bool {
        let stored = self.versions.get(&version.number);
        let is_old = stored.is_some_and(|stored| stored.superseded_at == Some(version.superseded_at));
        let deleted = is_old && self.bytes.remove(&version.number).is_some();
        if let Some(version) = self.versions.get_mut(&version.number).filter(|_| deleted) {
            version.description = without_functions(version.description.kind);
        }
        deleted
    }

    fn kept_digests(&self, after: Option<ModuleNumber>, limit: u32) -> Vec<(ModuleNumber, ModuleDigest)> {
        let kept = self
            .bytes
            .keys()
            .filter(|number| after.is_none_or(|after| **number > after));
        let digests = kept.map(|number| (*number, self.versions[number].digest));
        digests.take(limit as usize).collect()
    }

    fn next_old_version(&self, after: Option<ModuleNumber>, now: Timestamp) -> Option<OldVersion> {
        let kept = self
            .bytes
            .keys()
            .filter(|number| after.is_none_or(|after| **number > after));
        let old = |number: &ModuleNumber| {
            let version = &self.versions[number];
            Some(OldVersion {
                number: *number,
                tenant: version.tenant,
                superseded_at: version.superseded_at?,
                digest: version.digest,
            })
        };
        kept.filter_map(old)
            .find(|version| version.superseded_at.0 + BYTES_GRACE_MS < now.0)
    }

    fn delete_tenant(&mut self, tenant: TenantId) {
        let versions = self.versions.values().filter(|version| version.tenant == tenant);
        for number in versions.map(|version| version.number).collect::<Vec<_>>() {
            self.bytes.remove(&number);
            self.compiled.remove(&number);
            self.versions.remove(&number);
        }
        self.names.retain(|(owner, _), _| *owner != tenant);
        self.api_keys.retain(|_, key| key.tenant != tenant);
        self.settings.retain(|(owner, ..), _| *owner != tenant);
        self.retention.retain(|(owner, _), _| *owner != tenant);
        self.tenants.remove(&tenant);
    }
}

/// Changes the modules of a tenant, and counts them before and after.
fn counting<T>(content: &mut Content, tenant: TenantId, change: impl FnOnce(&mut Catalogue) -> T) -> Counted<T> {
    let before = content.catalogue.counted(tenant);
    let outcome = change(Arc::make_mut(&mut content.catalogue));
    let after = content.catalogue.counted(tenant);
    Counted { outcome, before, after }
}

/// Applies a change with the same results as the SQLite backend.
fn administer(content: &mut Content, change: &Change) -> Changed {
    let done_if = |found: bool| if found { Changed::Done(None) } else { Changed::Unknown };
    if let Change::DeleteTenant(tenant) = change {
        return delete_tenant(content, *tenant);
    }
    let next_tenant = content.counters["tenant"];
    let catalogue = Arc::make_mut(&mut content.catalogue);
    match change {
        Change::CreateTenant { name, quotas, at } => {
            if catalogue.tenants.values().any(|tenant| tenant.name == *name) {
                return Changed::Taken;
            }
            let tenant = TenantId(u32::try_from(next_tenant).expect("few tenants"));
            let row = TenantRow {
                tenant,
                name: name.clone(),
                disabled: false,
                quotas: quotas.clone(),
                created_at: *at,
            };
            catalogue.tenants.insert(tenant, row);
            content.counters.insert("tenant", next_tenant + 1);
            Changed::Done(Some(tenant))
        }
        Change::SetTenant {
            tenant,
            disabled,
            quotas,
        } => {
            let row = catalogue.tenants.get_mut(tenant);
            done_if(
                row.map(|row| (row.disabled, row.quotas) = (*disabled, quotas.clone()))
                    .is_some(),
            )
        }
        Change::DeleteTenant(_) => unreachable!("handled above"),
        Change::CreateKey(key) if !catalogue.tenants.contains_key(&key.tenant) => Changed::Unknown,
        Change::CreateKey(key) if catalogue.api_keys.contains_key(&key.id) => Changed::Taken,
        Change::CreateKey(key) => {
            catalogue.api_keys.insert(key.id.clone(), key.clone());
            Changed::Done(None)
        }
        Change::PutRetentionRule(row) => catalogue.put_retention_rule(row),
        Change::DeleteRetentionRule { tenant, scope } => done_if(catalogue.delete_retention_rule(*tenant, scope)),
        Change::RevokeKey(id) => done_if(catalogue.api_keys.remove(id).is_some()),
        Change::PutSetting(row) => {
            let name = (row.tenant, row.kind, row.name.clone());
            catalogue.settings.insert(name, row.clone());
            Changed::Done(None)
        }
        Change::DeleteSetting { tenant, kind, name } => {
            done_if(catalogue.settings.remove(&(*tenant, *kind, name.clone())).is_some())
        }
    }
}

fn delete_tenant(content: &mut Content, tenant: TenantId) -> Changed {
    if !content.catalogue.tenants.contains_key(&tenant) {
        return Changed::Unknown;
    }
    let instances = content.existing().filter(|(_, row, _)| row.tenant == tenant).count();
    if instances > 0 {
        return Changed::NotEmpty(instances as u64);
    }
    Arc::make_mut(&mut content.catalogue).delete_tenant(tenant);
    Arc::make_mut(&mut content.functions).retain(|(owner, _), _| *owner != tenant);
    Arc::make_mut(&mut content.keys).retain(|(owner, _), _| *owner != tenant);
    Arc::make_mut(&mut content.broadcasts).retain(|row| row.broadcast.tenant != tenant);
    Arc::make_mut(&mut content.usage).retain(|(owner, ..), _| *owner != tenant);
    Arc::make_mut(&mut content.schedules).retain(|(owner, _), _| *owner != tenant);
    Changed::Done(None)
}

impl Session {
    pub(in crate::store) async fn administer(&mut self, change: &Change) -> Result<Changed, Error> {
        self.step(|content| administer(content, change)).await
    }

    pub(in crate::store) async fn put_module(&mut self, put: &PutModule) -> Result<Counted<PutModuleOutcome>, Error> {
        self.step(|content| counting(content, put.tenant, |catalogue| catalogue.put(put)))
            .await
    }

    pub(in crate::store) async fn delete_module(
        &mut self,
        tenant: TenantId,
        name: &str,
        at: Timestamp,
    ) -> Result<bool, Error> {
        self.step(|content| Arc::make_mut(&mut content.catalogue).delete(tenant, name, at))
            .await
    }

    pub(in crate::store) async fn delete_module_bytes(&mut self, version: &OldVersion) -> Result<Counted<bool>, Error> {
        self.step(|content| counting(content, version.tenant, |catalogue| catalogue.delete_bytes(version)))
            .await
    }
}

impl Disk {
    pub(in crate::store) async fn module(&self, number: ModuleNumber) -> Result<Option<ModuleVersion>, Error> {
        self.read(|content| Ok(content.catalogue.versions.get(&number).cloned()))
            .await
    }

    pub(in crate::store) async fn module_bytes(&self, number: ModuleNumber) -> Result<Option<Vec<u8>>, Error> {
        self.read(|content| Ok(content.catalogue.bytes.get(&number).map(|bytes| bytes.to_vec())))
            .await
    }

    pub(in crate::store) async fn current_modules(&self, tenant: TenantId) -> Result<Vec<ModuleVersion>, Error> {
        self.read(|content| Ok(content.catalogue.current(tenant).cloned().collect()))
            .await
    }

    pub(in crate::store) async fn declares_events(&self, tenant: TenantId) -> Result<bool, Error> {
        self.read(|content| {
            let mut versions = content.catalogue.versions.values();
            Ok(versions.any(|version| version.tenant == tenant && !version.description.events.is_empty()))
        })
        .await
    }

    pub(in crate::store) async fn kept_digests(
        &self,
        after: Option<ModuleNumber>,
        limit: u32,
    ) -> Result<Vec<(ModuleNumber, ModuleDigest)>, Error> {
        self.read(|content| Ok(content.catalogue.kept_digests(after, limit)))
            .await
    }

    pub(in crate::store) async fn next_old_version(
        &self,
        after: Option<ModuleNumber>,
        now: Timestamp,
    ) -> Result<Option<OldVersion>, Error> {
        self.read(|content| Ok(content.catalogue.next_old_version(after, now)))
            .await
    }

    pub(in crate::store) async fn possible_users(
        &self,
        version: &OldVersion,
        after: Option<InstanceNumber>,
    ) -> Result<PossibleUsers, Error> {
        self.read(|content| Ok(possible_users(content, version, after))).await
    }

    pub(in crate::store) async fn modules(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<ModulePage, Error> {
        self.read(|content| {
            let mut names = content
                .catalogue
                .names
                .iter()
                .filter(|((owner, name), _)| *owner == tenant && after.is_none_or(|after| name.as_str() > after));
            let (mut modules, mut page, mut last) = (Vec::new(), Page::for_answer(), None);
            while modules.len() < limit as usize
                && !page.is_full()
                && let Some(((_, name), number)) = names.next()
            {
                let version = &content.catalogue.versions[number];
                let description = &version.description;
                page.read(
                    Page::ROW_BYTES
                        + codec::encode(description).len()
                        + codec::encode(&description.events).len()
                        + codec::encode(&description.entities).len(),
                );
                modules.push(version.clone());
                last = Some(name.clone());
            }
            Ok(ModulePage {
                modules,
                next: last.filter(|_| names.next().is_some()),
            })
        })
        .await
    }

    pub(in crate::store) async fn module_named(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<ModuleVersion>, Error> {
        self.read(|content| {
            let number = content.catalogue.names.get(&(tenant, name.to_owned()));
            Ok(number.map(|number| content.catalogue.versions[number].clone()))
        })
        .await
    }

    pub(in crate::store) async fn module_holdings(&self, tenant: TenantId) -> Result<ModuleHoldings, Error> {
        self.read(|content| Ok(content.catalogue.holdings(tenant))).await
    }

    pub(in crate::store) async fn tenants(&self) -> Result<Vec<TenantRow>, Error> {
        self.read(|content| Ok(content.catalogue.tenants.values().cloned().collect()))
            .await
    }

    pub(in crate::store) async fn api_keys(&self) -> Result<Vec<KeyRow>, Error> {
        self.read(|content| Ok(content.catalogue.api_keys.values().cloned().collect()))
            .await
    }

    pub(in crate::store) async fn settings(&self, tenant: Option<TenantId>) -> Result<Vec<SettingRow>, Error> {
        self.read(|content| {
            let settings = content.catalogue.settings.values();
            let wanted = settings.filter(|setting| tenant.is_none_or(|tenant| setting.tenant == tenant));
            Ok(wanted.cloned().collect())
        })
        .await
    }
}

fn possible_users(content: &Content, version: &OldVersion, after: Option<InstanceNumber>) -> PossibleUsers {
    let existing = content
        .existing()
        .filter(|(number, row, _)| row.tenant == version.tenant && after.is_none_or(|after| *number > after));
    let examined: Vec<_> = existing.take(MAX_EXAMINED as usize).collect();
    let is_full = examined.len() == MAX_EXAMINED as usize;
    let last = examined.last().map(|(number, ..)| *number).filter(|_| is_full);
    let is_parent = |number: InstanceNumber| {
        let mut parents = content.existing().filter_map(|(_, row, _)| row.parent.as_ref());
        parents.any(|parent| parent.instance == number)
    };
    let called_until = version.superseded_at.0.saturating_add(BYTES_GRACE_MS);
    let users = examined.into_iter().filter_map(|(instance, row, _)| {
        let runs_on_it = row.module == version.number;
        let has_failed = row.status == InstanceStatus::Failed;
        let has_results = row.last_turn.0 > 1;
        let has_calls = row.in_flight > 0 || has_failed || has_results || is_parent(instance);
        let may_call_it = row.created_at.0 <= called_until && has_calls;
        let is_user = (!row.status.has_ended() || has_failed) && (runs_on_it || may_call_it);
        is_user.then_some(PossibleUser { instance, runs_on_it })
    });
    let instances: Vec<_> = users.take(MAX_USERS as usize).collect();
    let is_full = instances.len() == MAX_USERS as usize;
    let next = instances.last().map(|user| user.instance).filter(|_| is_full).or(last);
    PossibleUsers { instances, next }
}
