//! Outgoing requests of activities. They may only connect to destinations that a rule allows.
//!
//! * [Rules](crate::grants::EgressRule) define allowed schemes, hosts and ports. [Addresses](address) that are not public
//!   are refused even if the name is allowed, because the owner of a name chooses what it resolves to. Only a rule that
//!   names the address itself allows it.
//! * [`connect`] resolves a name, checks its addresses, and connects to the one that answers first in the [`race`], over
//!   the [`network`] of the machine and with TLS that trusts the usual authorities.
//! * A [`connection`] carries requests one after another; the [`pool`] keeps idle connections for the next request.
//! * [`request`] is the hook of `wasi:http` that combines them, with the limits of the attempt and those of the
//!   [group](crate::grants::RequestGroup) that it shares with other attempts. [`traffic`] counts bytes on the way.

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
use crate::grants::{Destination, EgressPolicy, EgressRule, Grants, RequestGroup};
use connect::Connector;
pub use pool::ConnectionCounts;
pub use traffic::Traffic;

/// The parts that all outgoing requests of the host share.
pub(super) struct Routes {
    /// The destinations that the operator allows for all activities.
    pub(super) operator: Arc<EgressPolicy>,
    /// Creates the connections.
    pub(super) connector: Arc<Connector>,
}

/// The destinations that one attempt may connect to.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// The destinations that the operator allows for all activities.
    operator: Arc<EgressPolicy>,
    /// The additional grants of the attempt.
    grants: Arc<Grants>,
}

impl Reach {
    pub(super) fn new(operator: Arc<EgressPolicy>, grants: Arc<Grants>) -> Self {
        Self { operator, grants }
    }

    /// No destination is allowed.
    pub(super) fn nowhere() -> Self {
        Self::new(Arc::default(), Arc::default())
    }

    /// The rule that allows the destination, before its name is resolved.
    fn rule_for(&self, destination: &Destination) -> Option<&EgressRule> {
        let granted = || self.grants.egress.rule_for(destination);
        self.operator.rule_for(destination).or_else(granted)
    }

    /// The limits that its requests share with those of other attempts.
    fn group(&self) -> &Arc<RequestGroup> {
        &self.grants.requests
    }

    /// Checks that the destination may be reached at this address. The error is the kind of address.
    ///
    /// An address that is not public belongs to the network of the host, so only the operator can allow it.
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

    /// Checks that a request is allowed at this address. The error is the reason.
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
    fn a_private_address_behind_an_allowed_name_is_refused_unless_a_rule_names_it() {
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
    fn a_rule_for_localhost_allows_the_loopback_addresses() {
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
    fn a_grant_allows_additional_public_addresses() {
        let reach = reach(&["https://both.example.com"], &["https://*.tenant.example.com"]);
        assert_eq!(check(&reach, "https://both.example.com", "1.1.1.1"), Ok(()));
        assert_eq!(check(&reach, "https://api.tenant.example.com", "1.1.1.1"), Ok(()));
        assert_eq!(check(&reach, "https://other.example.com", "1.1.1.1"), Err("no rule"));
    }

    #[test]
    fn a_grant_does_not_allow_the_network_of_the_operator() {
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
            // Even if it names the address, which would be enough in a rule of the operator.
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
            "the operator allows this address"
        );
        assert!(check(&both, url, "10.1.2.4").is_err());
    }
}
