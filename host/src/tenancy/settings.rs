//! The grants of a module's activities: settings, secrets, destinations, and the limits of their tenant.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, PoisonError};

use super::{Tenancy, TenancyError, Tenant, VaultError};
use crate::grants::{
    ActivityLimits, EgressPolicy, EgressRule, Grants, MAX_SETTING_BYTES, MAX_SETTING_NAME_BYTES, MAX_SETTINGS,
};
use crate::model::{Secret, TenantId};
use crate::store::{Change, Changed, SettingKind, SettingRow};

/// The maximum number of modules that may read a setting.
const MAX_MODULES_OF_A_SETTING: usize = 100;

/// The name of a setting or a secret: letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingName(String);

impl SettingName {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the name of a setting that may be stored already.
    ///
    /// # Errors
    /// What is wrong, as text to follow the name.
    pub fn from_stored(text: &str) -> Result<Self, String> {
        let fits = (1..=MAX_SETTING_NAME_BYTES).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "must be 1 to {MAX_SETTING_NAME_BYTES} letters, digits, dots, underscores and hyphens"
            ))
        }
    }
}

impl FromStr for SettingName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            // Older versions accepted these.
            "." | ".." => Err(format!("must not be {text:?}: URLs cannot hold it as a path segment")),
            _ => Self::from_stored(text),
        }
    }
}

/// A setting or secret to be stored.
#[derive(Debug)]
pub struct NewSetting {
    /// Whether it is a setting or a secret.
    pub kind: SettingKind,
    /// Its name.
    pub name: SettingName,
    /// Its value.
    pub value: Secret,
    /// The names of the modules that may read it.
    pub modules: Vec<String>,
}

impl Tenancy {
    /// Sets a setting or secret. Attempts that start from now on see it.
    ///
    /// # Errors
    /// If it is invalid, the host has no key to encrypt it, or the store fails.
    pub async fn put_setting(&self, tenant: TenantId, new: NewSetting) -> Result<(), TenancyError> {
        let changing = self.changing().await;
        let NewSetting {
            kind,
            name,
            value,
            modules,
        } = new;
        let name = name.0;
        if self.tenant(tenant).is_none() {
            return Err(TenancyError::UnknownTenant(tenant.to_string()));
        }
        if value.expose().len() > MAX_SETTING_BYTES {
            return Err(TenancyError::Setting(format!(
                "a value is at most {MAX_SETTING_BYTES} bytes long"
            )));
        }
        if modules.is_empty() || modules.len() > MAX_MODULES_OF_A_SETTING {
            return Err(TenancyError::Setting(format!(
                "name 1 to {MAX_MODULES_OF_A_SETTING} modules that can read it"
            )));
        }
        let others = self
            .settings(tenant, kind)
            .iter()
            .filter(|other| other.name != name)
            .count();
        if others >= MAX_SETTINGS {
            return Err(TenancyError::Setting(format!(
                "a tenant can have at most {MAX_SETTINGS} of them"
            )));
        }
        let value = match kind {
            SettingKind::Plain => value.expose().as_bytes().to_vec(),
            SettingKind::Secret => self.0.vault.seal(&*self.0.entropy, tenant, &name, &value)?,
        };
        let row = SettingRow {
            tenant,
            kind,
            name,
            value,
            modules,
            updated_at: self.0.clock.now(),
        };
        self.change(changing, Change::PutSetting(row)).await?;
        Ok(())
    }

    /// Deletes a setting or secret.
    ///
    /// # Errors
    /// If it does not exist, or the store fails.
    pub async fn delete_setting(&self, tenant: TenantId, kind: SettingKind, name: &str) -> Result<(), TenancyError> {
        let changing = self.changing().await;
        let change = Change::DeleteSetting {
            tenant,
            kind,
            name: name.into(),
        };
        match self.change(changing, change).await? {
            Changed::Done(_) => Ok(()),
            _ => Err(TenancyError::UnknownSetting(name.into())),
        }
    }

    /// The settings or secrets of a tenant, by name; secrets are encrypted.
    pub fn settings(&self, tenant: TenantId, kind: SettingKind) -> Vec<SettingRow> {
        let tenant = self.tenant(tenant);
        let settings = tenant.iter().flat_map(|tenant| &tenant.settings);
        settings.filter(|setting| setting.kind == kind).cloned().collect()
    }

    /// The grants of an attempt of an activity of this module.
    pub fn grants(&self, tenant: TenantId, module: &str) -> Arc<Grants> {
        let Some(tenant) = self.tenant(tenant) else {
            return Arc::default();
        };
        let mut known = tenant.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grants) = known.get(module) {
            return grants.clone();
        }
        let grants = Arc::new(self.grants_of(&tenant, module));
        known.insert(module.to_owned(), grants.clone());
        grants
    }

    fn grants_of(&self, tenant: &Tenant, module: &str) -> Grants {
        let (mut config, mut secrets) = (BTreeMap::new(), Vec::new());
        let for_module = |setting: &&SettingRow| setting.modules.iter().any(|name| name == module);
        for SettingRow { kind, name, value, .. } in tenant.settings.iter().filter(for_module) {
            match kind {
                SettingKind::Plain => {
                    let text = String::from_utf8_lossy(value).into_owned();
                    config.insert(name.clone(), text);
                }
                SettingKind::Secret => match self.0.vault.open(tenant.id, name, value) {
                    Ok(secret) => secrets.push((name.clone(), secret)),
                    Err(error @ (VaultError::NoKey | VaultError::Sealed)) => {
                        tracing::error!(tenant = %tenant.name, secret = name, %error, "activities run without a secret");
                    }
                },
            }
        }
        Grants {
            limits: limits(tenant),
            egress: EgressPolicy::new(rules(tenant, module)),
            requests: tenant.meters.requests.clone(),
            config,
            secrets: secrets.into_iter().collect(),
        }
    }
}

/// The quotas that limit each attempt.
fn limits(tenant: &Tenant) -> ActivityLimits {
    let (quotas, none) = (&tenant.quotas, ActivityLimits::UNLIMITED);
    ActivityLimits {
        fuel: quotas.activity_fuel.unwrap_or(none.fuel),
        timeout: quotas.activity_timeout.map_or(none.timeout, |span| span.0),
        memory_bytes: quotas.activity_memory.map_or(none.memory_bytes, |size| size.0),
        log_bytes: quotas.max_log.map_or(none.log_bytes, |size| size.as_usize()),
        open_requests: quotas
            .max_open_requests
            .map_or(none.open_requests, |number| number as usize),
        response_bytes: quotas.max_response_bytes.map_or(none.response_bytes, |size| size.0),
        payload_bytes: quotas.max_payload.map_or(none.payload_bytes, |size| size.as_usize()),
    }
}

/// The destinations for all modules of a tenant, and those for this one.
fn rules(tenant: &Tenant, module: &str) -> Vec<EgressRule> {
    let hosts = tenant.quotas.allowed_hosts.iter().flatten();
    let rules = hosts
        .filter(|(of, _)| *of == "*" || *of == module)
        .flat_map(|(_, rules)| rules);
    // They were validated when they were set.
    rules.filter_map(|rule| rule.parse().ok()).collect()
}
