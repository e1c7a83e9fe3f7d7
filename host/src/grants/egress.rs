//! The destinations that activities may send requests to.

pub(crate) mod address;
pub(crate) mod rule;

use std::net::IpAddr;

use rule::{EgressRule, Host, Scheme};

/// The allowed destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    rules: Vec<EgressRule>,
}

/// The destination of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl EgressPolicy {
    /// A policy that allows nothing.
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// A policy that allows what any of the rules allows.
    pub fn new(rules: Vec<EgressRule>) -> Self {
        Self { rules }
    }

    /// The rule that allows the destination, before its name is resolved.
    pub(crate) fn rule_for(&self, destination: &Destination) -> Option<&EgressRule> {
        self.rules.iter().find(|rule| rule.allows(destination))
    }

    /// Whether a rule names this address of the destination itself, not only its name or a wildcard.
    pub(crate) fn names(&self, destination: &Destination, address: IpAddr) -> bool {
        let address = address::canonical(address);
        let at_address = Destination {
            host: Host::Address(address),
            ..destination.clone()
        };
        let exactly = |destination| self.rules.iter().any(|rule| rule.names(destination));
        // A rule for `localhost` names the loopback addresses and nothing else.
        let localhost = destination.host.is_localhost() && address.is_loopback() && exactly(destination);
        localhost || exactly(&at_address)
    }
}
