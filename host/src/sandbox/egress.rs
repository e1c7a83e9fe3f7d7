//! Where activities may connect to: nowhere, unless a rule allows it.
//!
//! * [`rule`] says which scheme, host and port are allowed.
//! * [`address`] says which addresses belong to the public network. Any other is refused even behind an allowed name,
//!   unless a rule names the address itself: who owns a name chooses what it resolves to.
//! * [`connect`] resolves, checks the address, and connects to that very address.
//! * [`request`] is the hook of `wasi:http` that puts them together, with the limits of an attempt.

pub(super) mod address;
mod body;
mod connect;
pub(super) mod request;
pub(super) mod rule;

use std::net::IpAddr;

use rule::Host;
pub use rule::{EgressRule, RuleError, Scheme};

/// Which destinations are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    rules: Vec<EgressRule>,
}

/// Where a request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) scheme: Scheme,
    pub(super) host: Host,
    pub(super) port: u16,
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

    /// Whether a rule allows the destination, before its name is resolved.
    fn allows(&self, destination: &Destination) -> bool {
        self.rules.iter().any(|rule| rule.allows(destination))
    }

    /// Whether the destination may be reached at that address; if not, what kind of address it is.
    fn check_address(&self, destination: &Destination, address: IpAddr) -> Result<(), &'static str> {
        let Some(class) = address::not_public(address) else {
            return Ok(());
        };
        let named = Destination {
            host: Host::Address(address::canonical(address)),
            ..destination.clone()
        };
        let by_address = self.rules.iter().any(|rule| rule.names_address(&named));
        // `localhost` names the loopback addresses and nothing else.
        let localhost = destination.host == Host::Name("localhost".into()) && address::canonical(address).is_loopback();
        if by_address || localhost { Ok(()) } else { Err(class) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> EgressPolicy {
        EgressPolicy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    fn destination(url: &str) -> Destination {
        Destination::of(&url.parse().unwrap()).unwrap()
    }

    #[test]
    fn nothing_is_allowed_without_a_rule() {
        assert!(!policy(&[]).allows(&destination("https://example.com")));
        assert_eq!(EgressPolicy::deny_all(), policy(&[]));
    }

    #[test]
    fn a_name_that_resolves_to_a_private_address_is_refused_unless_the_address_is_named_too() {
        let host = destination("http://internal.example.com:8080");
        let private = "10.1.2.3".parse().unwrap();
        let by_name = policy(&["http://internal.example.com:8080"]);
        assert!(by_name.allows(&host));
        assert_eq!(by_name.check_address(&host, private), Err("a private address"));
        assert_eq!(
            by_name.check_address(&host, "::ffff:10.1.2.3".parse().unwrap()),
            Err("a private address")
        );
        let both = policy(&["http://internal.example.com:8080", "http://10.1.2.3:8080"]);
        assert_eq!(both.check_address(&host, private), Ok(()));
        assert_eq!(both.check_address(&host, "::ffff:10.1.2.3".parse().unwrap()), Ok(()));
        assert!(both.check_address(&host, "10.1.2.4".parse().unwrap()).is_err());
        let other_port = policy(&["http://internal.example.com:8080", "http://10.1.2.3:80"]);
        assert!(other_port.check_address(&host, private).is_err());
        let any_name = policy(&["http://*:8080"]);
        assert!(
            any_name.check_address(&host, private).is_err(),
            "a wildcard names no address"
        );
        assert_eq!(any_name.check_address(&host, "93.184.215.14".parse().unwrap()), Ok(()));
    }

    #[test]
    fn localhost_names_the_loopback_addresses() {
        let local = policy(&["http://localhost:8090"]);
        let host = destination("http://localhost:8090/path");
        assert!(local.allows(&host));
        assert_eq!(local.check_address(&host, "127.0.0.1".parse().unwrap()), Ok(()));
        assert_eq!(local.check_address(&host, "::1".parse().unwrap()), Ok(()));
        assert!(local.check_address(&host, "169.254.169.254".parse().unwrap()).is_err());
    }
}
