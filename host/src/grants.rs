//! The limits, destinations, settings and secrets that are granted to one attempt of an activity.
//!
//! `tenancy` fills them in from the grants of the tenant and the module, which the sandbox does not know; the sandbox
//! enforces them. A grant can narrow the host's limits but not widen them, and it never gives access to the operator's own
//! network.

pub(crate) mod egress;
mod limits;
pub(crate) mod request_group;
pub(crate) mod secrets;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use egress::Destination;
pub use egress::EgressPolicy;
pub use egress::rule::{EgressRule, RuleError, Scheme};
pub use limits::ActivityLimits;
pub use request_group::RequestGroup;
pub use secrets::Secrets;

/// Maximum length of the name of a setting or secret, in bytes. The code that accepts settings must check it; the sandbox
/// does not.
pub const MAX_SETTING_NAME_BYTES: usize = 128;

/// Maximum size of a setting or secret, in bytes: enough for a private key or a chain of certificates. Not checked by the
/// sandbox either.
pub const MAX_SETTING_BYTES: usize = 64 << 10;

/// Maximum settings, and maximum secrets, of one attempt. Not checked by the sandbox either.
pub const MAX_SETTINGS: usize = 100;

/// The grants of the tenant and the module of an attempt.
///
/// By default, only the host's own limits and `--allow` rules apply, and there are no settings and no secrets.
#[derive(Debug, Clone)]
pub struct Grants {
    /// Limits of the attempt. The host's own limits apply where they are smaller.
    pub limits: ActivityLimits,
    /// Destinations in addition to those that the operator allows for all activities. They may only resolve to public
    /// addresses: access to the operator's network requires a rule of the operator.
    pub egress: EgressPolicy,
    /// The limit on open requests that this attempt shares with other attempts.
    pub requests: Arc<RequestGroup>,
    /// Settings by name. They are not secret: they may be displayed and logged.
    pub config: BTreeMap<String, String>,
    /// Secrets by name.
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
    fn the_default_does_not_change_the_limits_of_the_host() {
        let host = ActivityLimits::default();
        assert_eq!(Grants::default().limits.within(&host), host);
    }
}
