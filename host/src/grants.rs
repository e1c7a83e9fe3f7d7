//! What one attempt of an activity is allowed and given beyond what the host allows everybody.
//!
//! `tenancy` fills it in, from what the tenant and the module of the attempt were granted; the sandbox, which knows neither
//! of them, enforces it. A grant can only narrow the host's limits, and it never opens the operator's own network.

pub(crate) mod egress;
mod limits;
pub(crate) mod request_room;
pub(crate) mod secrets;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use egress::Destination;
pub use egress::EgressPolicy;
pub use egress::rule::{EgressRule, RuleError, Scheme};
pub use limits::ActivityLimits;
pub use request_room::RequestRoom;
pub use secrets::Secrets;

/// Longest name of a setting or secret, in bytes. Checked where they are set; the sandbox hands out what
/// it is given.
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
    use crate::model::Secret;

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
