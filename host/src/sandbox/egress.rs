//! Where activities may connect to: nowhere, unless a rule allows it.
//!
//! * [Rules](crate::grants::EgressRule) say which scheme, host and port are allowed. An [address] outside the public network
//!   is refused even behind an allowed name, unless a rule names the address itself: who owns a name chooses what it
//!   resolves to.
//! * [`connect`] resolves, checks the addresses, and connects to one of those that were checked, whichever answers first
//!   in the [`race`], over the [`network`] of the machine and with TLS that trusts the usual authorities.
//! * A [`connection`] carries one request after the other; the [`pool`] keeps those that wait for the next one.
//! * [`request`] is the hook of `wasi:http` that puts them together, with the limits of an attempt, and with those of the
//!   [room](crate::grants::RequestRoom) that it shares with others; [`traffic`] is counted on the way.

mod body;
pub(super) mod connect;
mod connection;
pub(super) mod network;
mod pool;
mod race;
pub(super) mod request;
mod request_body;
mod socket;
pub(super) mod traffic;

use std::{net::IpAddr, sync::Arc};

use crate::grants::egress::address;
use crate::grants::{Destination, EgressPolicy, EgressRule, Grants, RequestRoom};
use connect::Connector;
pub use pool::ConnectionCounts;
pub use traffic::Traffic;

/// The host's part of all outgoing requests.
pub(super) struct Routes {
    /// What the operator allows everybody.
    pub(super) operator: Arc<EgressPolicy>,
    /// What makes the connections.
    pub(super) connector: Arc<Connector>,
}

/// Where one attempt may connect to.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// What the operator of the host allows everybody.
    operator: Arc<EgressPolicy>,
    /// What the attempt was granted besides.
    grants: Arc<Grants>,
}

impl Reach {
    pub(super) fn new(operator: Arc<EgressPolicy>, grants: Arc<Grants>) -> Self {
        Self { operator, grants }
    }

    /// Nothing is reached.
    pub(super) fn nowhere() -> Self {
        Self::new(Arc::default(), Arc::default())
    }

    /// The rule that allows the destination, before its name is resolved.
    fn rule_for(&self, destination: &Destination) -> Option<&EgressRule> {
        let granted = || self.grants.egress.rule_for(destination);
        self.operator.rule_for(destination).or_else(granted)
    }

    /// What its requests share with those of others.
    fn room(&self) -> &Arc<RequestRoom> {
        &self.grants.requests
    }

    /// Whether the destination may be reached at that address; if not, what kind of address it is.
    ///
    /// An address that is not public belongs to the network that the host runs in, so only its operator can allow it.
    fn check_address(&self, destination: &Destination, address: IpAddr) -> Result<(), &'static str> {
        match address::not_public(address) {
            Some(class) if !self.operator.names(destination, address) => Err(class),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> EgressPolicy {
        EgressPolicy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    fn reach(operator: &[&str], granted: &[&str]) -> Reach {
        let grants = Grants {
            egress: policy(granted),
            ..Grants::default()
        };
        Reach::new(Arc::new(policy(operator)), Arc::new(grants))
    }

    fn destination(url: &str) -> Destination {
        Destination::of(&url.parse().unwrap()).unwrap()
    }

    /// Whether a request gets through to the address, and if not, why.
    fn check(reach: &Reach, url: &str, address: &str) -> Result<(), &'static str> {
        let destination = destination(url);
        reach.rule_for(&destination).ok_or("no rule")?;
        reach.check_address(&destination, address.parse().unwrap())
    }

    #[test]
    fn nothing_is_allowed_without_a_rule() {
        assert_eq!(Reach::nowhere().rule_for(&destination("https://example.com")), None);
        assert_eq!(EgressPolicy::deny_all(), policy(&[]));
    }

    #[test]
    fn a_name_that_resolves_to_a_private_address_is_refused_unless_the_address_is_named_too() {
        let url = "http://internal.example.com:8080";
        let by_name = reach(&[url], &[]);
        assert_eq!(check(&by_name, url, "10.1.2.3"), Err("a private address"));
        assert_eq!(check(&by_name, url, "::ffff:10.1.2.3"), Err("a private address"));
        let both = reach(&[url, "http://10.1.2.3:8080"], &[]);
        assert_eq!(check(&both, url, "10.1.2.3"), Ok(()));
        assert_eq!(check(&both, url, "::ffff:10.1.2.3"), Ok(()));
        assert!(check(&both, url, "10.1.2.4").is_err());
        let other_port = reach(&[url, "http://10.1.2.3:80"], &[]);
        assert!(check(&other_port, url, "10.1.2.3").is_err());
        let any_name = reach(&["http://*:8080"], &[]);
        assert!(
            check(&any_name, url, "10.1.2.3").is_err(),
            "a wildcard names no address"
        );
        assert_eq!(check(&any_name, url, "93.184.215.14"), Ok(()));
    }

    #[test]
    fn localhost_names_the_loopback_addresses() {
        let url = "http://localhost:8090/path";
        let local = reach(&["http://localhost:8090"], &[]);
        assert_eq!(check(&local, url, "127.0.0.1"), Ok(()));
        assert_eq!(check(&local, url, "::1"), Ok(()));
        assert!(check(&local, url, "169.254.169.254").is_err());
        let any_name = reach(&["http://*:8090"], &[]);
        assert_eq!(
            check(&any_name, url, "127.0.0.1"),
            Err("a loopback address"),
            "a wildcard does not name it"
        );
    }

    #[test]
    fn a_grant_opens_public_addresses_beside_those_of_the_operator() {
        let reach = reach(&["https://both.example.com"], &["https://*.tenant.example.com"]);
        assert_eq!(check(&reach, "https://both.example.com", "1.1.1.1"), Ok(()));
        assert_eq!(check(&reach, "https://api.tenant.example.com", "1.1.1.1"), Ok(()));
        assert_eq!(check(&reach, "https://other.example.com", "1.1.1.1"), Err("no rule"));
    }

    #[test]
    fn a_grant_does_not_open_the_network_of_the_operator() {
        for (url, address) in [
            ("http://127.0.0.1:5432", "127.0.0.1"),
            ("http://localhost:5432", "127.0.0.1"),
            ("http://localhost:5432", "::1"),
            ("http://10.1.2.3", "10.1.2.3"),
            ("http://[::ffff:10.1.2.3]", "10.1.2.3"),
            ("http://169.254.169.254", "169.254.169.254"),
            ("http://[fd00:ec2::254]", "fd00:ec2::254"),
            ("http://metadata.tenant.example.com", "169.254.169.254"),
            ("http://nat64.tenant.example.com", "64:ff9b::a9fe:a9fe"),
            ("http://6to4.tenant.example.com", "2002:a9fe:a9fe::1"),
        ] {
            // Even one that names the address, which is what opens it for the operator.
            let granted = reach(&[], &[url, "http://*"]);
            assert!(granted.rule_for(&destination(url)).is_some(), "{url}");
            let refused = check(&granted, url, address).unwrap_err();
            assert_ne!(refused, "no rule", "{url}");
        }
        let url = "http://db.tenant.example.com:8080";
        let both = reach(&["http://10.1.2.3:8080"], &[url]);
        assert_eq!(
            check(&both, url, "10.1.2.3"),
            Ok(()),
            "the operator allows everybody that address"
        );
        assert!(check(&both, url, "10.1.2.4").is_err());
    }
}
