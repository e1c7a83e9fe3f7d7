//! What one attempt of an activity is allowed and given beyond what the host allows everybody.
//!
//! Whoever starts the attempt fills it in, from what its tenant and its module were granted; the sandbox knows neither
//! of them. A grant can only narrow the host's limits, and it never opens the operator's own network.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use crate::model::Secret;

use super::{
    activity::{mask, secret_matcher::SecretMatcher},
    egress::{EgressPolicy, RequestRoom},
    options::ActivityLimits,
};

/// Longest name of a setting or secret, in bytes. For whoever takes them in from outside: the sandbox hands out what it
/// is given.
pub const MAX_SETTING_NAME_BYTES: usize = 128;

/// Longest setting or secret, in bytes: a private key or a chain of certificates has room. As above.
pub const MAX_SETTING_BYTES: usize = 64 << 10;

/// Most settings and most secrets of one attempt. As above.
pub const MAX_SETTINGS: usize = 100;

/// What the tenant and the module of an attempt are allowed and given.
///
/// The default grants what the host allows everybody: its own limits and `--allow` rules, no settings, no secrets.
#[derive(Debug, Clone)]
pub struct Grants {
    /// Limits of the attempt. The host's own hold wherever they are smaller.
    pub limits: ActivityLimits,
    /// Destinations besides those that the operator allows everybody. They are reached at public addresses only: what
    /// leads into the operator's network takes a rule of the operator's own.
    pub egress: EgressPolicy,
    /// What its outgoing requests share with those of other attempts.
    pub requests: Arc<RequestRoom>,
    /// Settings by name, for the guest to ask for. No secrets: they may be shown and logged.
    pub config: BTreeMap<String, String>,
    /// Secrets by name, for the guest to ask for.
    pub secrets: Secrets,
}

/// Secrets by name, and what finds them in texts.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    by_name: BTreeMap<String, Secret>,
    /// Prepared for the first text that could hold one of them, and from then on for every attempt that they are granted.
    matcher: OnceLock<SecretMatcher>,
}

impl Secrets {
    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.by_name.get(name)
    }

    /// What finds them in texts.
    pub(in crate::sandbox) fn matcher(&self) -> &SecretMatcher {
        self.matcher.get_or_init(|| mask::matcher(self.by_name.values()))
    }

    /// Whether anybody has asked for what finds them.
    #[cfg(test)]
    pub(in crate::sandbox) fn is_prepared(&self) -> bool {
        self.matcher.get().is_some()
    }
}

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(secrets: I) -> Self {
        Self {
            by_name: secrets.into_iter().collect(),
            matcher: OnceLock::new(),
        }
    }
}

impl Default for Grants {
    fn default() -> Self {
        Self {
            limits: ActivityLimits::UNLIMITED,
            egress: EgressPolicy::deny_all(),
            requests: Arc::default(),
            config: BTreeMap::new(),
            secrets: Secrets::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_printed_without_their_secrets() {
        let grants = Grants {
            config: BTreeMap::from([("region".into(), "eu-west".into())]),
            secrets: Secrets::from_iter([("token".into(), Secret::new("s3cr3t-value"))]),
            ..Grants::default()
        };
        grants.secrets.matcher();
        let printed = format!("{grants:?}");
        assert!(printed.contains("eu-west") && printed.contains("token"), "{printed}");
        assert!(!printed.contains("s3cr3t"), "{printed}");
    }

    #[test]
    fn the_default_leaves_the_limits_of_the_host_as_they_are() {
        let host = ActivityLimits::default();
        assert_eq!(Grants::default().limits.within(&host), host);
    }
}
