//! Rules for outgoing requests: scheme, host and port.

use std::{fmt, net::IpAddr, str::FromStr};

use super::{Destination, address};

/// Maximum length of a rule, in bytes: enough for a host name of 253 bytes with scheme and port.
const MAX_RULE_BYTES: usize = 300;

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// One destination, or several behind a wildcard, that activities may send requests to.
///
/// A rule is written as the origin of a URL: `https://api.example.com`, `https://api.example.com:8443`,
/// `http://127.0.0.1:8090`, `http://[::1]:8090`, `https://*.example.com` (all subdomains, but not `example.com` itself),
/// `https://*` (every name that resolves to a public address). Without a port, the default port of the scheme applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressRule {
    scheme: Scheme,
    host: HostPattern,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// Exactly this host.
    Exactly(Host),
    /// Every name with this suffix, which starts with a dot.
    Below(String),
    /// Every name and every public address.
    Any,
}

/// The host of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name in lower case, without a trailing dot.
    Name(String),
    /// An address. An IPv4-mapped one is stored as IPv4.
    Address(IpAddr),
}

/// Why a text is not a valid rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It does not start with a known scheme.
    #[error("must start with http:// or https://")]
    Scheme,
    /// It contains more than scheme, host and port.
    #[error("must be a scheme, a host and a port, without user, path or query")]
    Rest,
    /// The host is neither a name nor an address.
    #[error("has no valid host: {0:?}")]
    Host(String),
    /// It has a wildcard that is not the first label.
    #[error("may have a wildcard only as the whole host or as its first label, as in *.example.com")]
    Wildcard,
    /// The port is not a number from 1 to 65535.
    #[error("has no valid port: {0:?}")]
    Port(String),
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl EgressRule {
    /// Whether the rule allows the destination.
    pub(crate) fn allows(&self, destination: &Destination) -> bool {
        let host = match (&self.host, &destination.host) {
            (HostPattern::Exactly(host), wanted) => host == wanted,
            (HostPattern::Below(suffix), Host::Name(name)) => {
                name.ends_with(suffix.as_str()) && name.len() > suffix.len()
            }
            (HostPattern::Below(_), Host::Address(_)) => false,
            (HostPattern::Any, Host::Name(_)) => true,
            (HostPattern::Any, Host::Address(address)) => address::not_public(*address).is_none(),
        };
        host && self.scheme == destination.scheme && self.port == destination.port
    }

    /// Whether the rule names the destination exactly, without a wildcard.
    pub(crate) fn names(&self, destination: &Destination) -> bool {
        matches!(self.host, HostPattern::Exactly(_)) && self.allows(destination)
    }
}

impl Host {
    /// Whether the host is the name `localhost`.
    pub(crate) fn is_localhost(&self) -> bool {
        matches!(self, Self::Name(name) if name == "localhost")
    }
}

impl Destination {
    /// The destination of a URI; `None` if it has no valid authority.
    pub(crate) fn of(uri: &http::Uri) -> Option<Self> {
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority()?;
        // `http://allowed.example.com@elsewhere` looks like another host, and credentials in URLs are not needed.
        if authority.as_str().contains('@') {
            return None;
        }
        let port = match authority.port() {
            Some(port) => Some(port.as_u16()).filter(|port| *port != 0)?,
            None => scheme.default_port(),
        };
        Some(Self {
            scheme,
            host: host(authority.host())?,
            port,
        })
    }
}

/// Parses the host of a URI: a name, an IPv4 address, or an IPv6 address in brackets.
fn host(text: &str) -> Option<Host> {
    if let Some(bracketed) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return Some(Host::Address(address::canonical(IpAddr::V6(bracketed.parse().ok()?))));
    }
    if let Ok(address) = text.parse() {
        return Some(Host::Address(IpAddr::V4(address)));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    is_name(&name).then_some(Host::Name(name))
}

/// Whether it is a DNS name. The last label must not start with a digit, because some resolvers parse names such as
/// `0x7f.1` or `127.1` as an address.
fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.starts_with(|first: char| first.is_ascii_digit())
}

impl FromStr for EgressRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            _ => return Err(RuleError::Scheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if text.len() > MAX_RULE_BYTES || rest.contains(['/', '?', '#', '@']) {
            return Err(RuleError::Rest);
        }
        // The colons of an IPv6 address are in brackets.
        let (host, port) = match rest.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((host, port)) => {
                let number = port.parse().ok().filter(|number| *number != 0);
                (host, number.ok_or_else(|| RuleError::Port(port.to_owned()))?)
            }
            None => (rest, scheme.default_port()),
        };
        Ok(Self {
            scheme,
            host: pattern(host)?,
            port,
        })
    }
}

fn pattern(text: &str) -> Result<HostPattern, RuleError> {
    let invalid = || RuleError::Host(text.to_owned());
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    let (text, wildcard) = text.strip_prefix("*.").map_or((text, false), |rest| (rest, true));
    if text.contains('*') {
        return Err(RuleError::Wildcard);
    }
    match (host(text).ok_or_else(invalid)?, wildcard) {
        (Host::Name(name), true) => Ok(HostPattern::Below(format!(".{name}"))),
        (Host::Address(_), true) => Err(invalid()),
        (host, false) => Ok(HostPattern::Exactly(host)),
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match &self.host {
            HostPattern::Exactly(host) => host.fmt(f)?,
            HostPattern::Below(suffix) => write!(f, "*{suffix}")?,
            HostPattern::Any => f.write_str("*")?,
        }
        write!(f, ":{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, url: &str) -> bool {
        let rule: EgressRule = rule.parse().unwrap();
        Destination::of(&url.parse().unwrap()).is_some_and(|destination| rule.allows(&destination))
    }

    #[test]
    fn a_rule_allows_its_scheme_host_and_port() {
        assert!(allows("https://api.example.com", "https://api.example.com/a?b"));
        assert!(allows("https://api.example.com:443/", "https://API.Example.com./"));
        assert!(allows("https://API.example.com:8443", "https://api.example.com:8443"));
        assert!(!allows("https://api.example.com", "http://api.example.com"));
        assert!(!allows("https://api.example.com", "https://api.example.com:8443"));
        assert!(!allows("https://api.example.com", "https://example.com"));
        assert!(!allows("https://api.example.com", "https://api.example.com.evil.org"));
        assert!(allows("http://127.0.0.1:8090", "http://127.0.0.1:8090"));
        assert!(allows("http://[::1]:8090", "http://[0:0::1]:8090"));
        assert!(
            allows("http://127.0.0.1:8090", "http://[::ffff:127.0.0.1]:8090"),
            "the same address"
        );
    }

    #[test]
    fn a_wildcard_allows_subdomains_and_public_addresses() {
        assert!(allows("https://*.example.com", "https://a.example.com"));
        assert!(allows("https://*.example.com", "https://a.b.example.com"));
        assert!(!allows("https://*.example.com", "https://example.com"));
        assert!(!allows("https://*.example.com", "https://evilexample.com"));
        assert!(allows("https://*", "https://anything.org"));
        assert!(allows("https://*", "https://93.184.215.14"));
        assert!(!allows("https://*", "https://127.0.0.1"));
        assert!(!allows("https://*", "https://[::ffff:10.0.0.1]"));
    }

    #[test]
    fn urls_that_disguise_their_destination_are_rejected() {
        for url in [
            "http://allowed.example.com@evil.org",
            "http://2130706433",
            "http://0x7f.1",
            "http://127.1",
            "http://0177.0.0.1",
            "http://example.com:0",
            "ftp://example.com",
            "/only/a/path",
        ] {
            assert_eq!(url.parse().ok().and_then(|uri| Destination::of(&uri)), None, "{url}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_rule_is_rejected() {
        for (text, error) in [
            ("example.com", RuleError::Scheme),
            ("ftp://example.com", RuleError::Scheme),
            ("http://example.com/path", RuleError::Rest),
            ("http://user@example.com", RuleError::Rest),
            ("http://a.*.com", RuleError::Wildcard),
            ("http://**", RuleError::Wildcard),
            ("http://", RuleError::Host(String::new())),
            ("http://exa mple.com", RuleError::Host("exa mple.com".into())),
            ("http://*.127.0.0.1", RuleError::Host("*.127.0.0.1".into())),
            ("http://[::1", RuleError::Host("[:".into())),
            ("http://example.com:http", RuleError::Port("http".into())),
            ("http://example.com:0", RuleError::Port("0".into())),
            ("http://example.com:65536", RuleError::Port("65536".into())),
        ] {
            let found = text.parse::<EgressRule>().unwrap_err();
            assert_eq!(
                std::mem::discriminant(&found),
                std::mem::discriminant(&error),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn a_rule_round_trips_through_its_text() {
        for text in [
            "https://*:443",
            "http://*.example.com:80",
            "http://[::1]:8090",
            "http://127.0.0.1:8090",
        ] {
            let rule: EgressRule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
        }
    }
}
