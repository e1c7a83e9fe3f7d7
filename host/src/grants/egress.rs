//! Where activities may send requests: what rules allow.

pub(crate) mod address;
pub(crate) mod rule;

use std::net::IpAddr;

use rule::{EgressRule, Host, Scheme};

/// Which destinations are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    rules: Vec<EgressRule>,
}

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl EgressPolicy {
    /// Nothing is allowed.
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// What any of the rules allows.
    pub fn new(rules: Vec<EgressRule>) -> Self {
        Self { rules }
    }

    /// The rule that allows the destination, before its name is resolved.
    pub(crate) fn rule_for(&self, destination: &Destination) -> Option<&EgressRule> {
        self.rules.iter().find(|rule| rule.allows(destination))
    }

    /// Whether a rule names that address of the destination itself, not only a name or a wildcard.
    pub(crate) fn names(&self, destination: &Destination, address: IpAddr) -> bool {
        let address = address::canonical(address);
        let at_address = Destination {
            host: Host::Address(address),
            ..destination.clone()
        };
        let exactly = |destination| self.rules.iter().any(|rule| rule.names(destination));
        // `localhost` names the loopback addresses and nothing else.
        let localhost = destination.host.is_localhost() && address.is_loopback() && exactly(destination);
        localhost || exactly(&at_address)
    }
}
