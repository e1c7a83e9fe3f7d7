//! Proxies in front of the host: which ones may say under what address a client knows the host, and how their headers
//! are read.
//!
//! A client could write the same headers, so they count only on connections from addresses that the operator has named.
//! Their values end up in links and in `Location`; values that are not valid in a URL are ignored.

use std::{net::IpAddr, str::FromStr};

use http::{HeaderMap, header, uri::Scheme};

/// Maximum length of an authority, in bytes: a DNS name and a port.
const MAX_AUTHORITY_BYTES: usize = 260;

/// Maximum length of a prefix of paths, in bytes.
const MAX_PREFIX_BYTES: usize = 256;

/// The addresses of one `--trusted-proxy` rule: a network such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be an address or a network such as 127.0.0.1, 10.0.0.0/8 or fd00::/8".to_owned();
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let given: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = width(given);
        let bits = match bits {
            None => width,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        if bits > width {
            return Err(wrong());
        }
        // An IPv4 address written as IPv6 means the IPv4 address.
        let address = given.to_canonical();
        let prefix_bits = match bits.checked_sub(width - self::width(address)) {
            Some(bits) => bits,
            None => return Err(wrong()),
        };
        Ok(Self { address, prefix_bits })
    }
}

impl Network {
    /// Whether the network contains the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other) = (self.address, address.to_canonical());
        width(own) == width(other) && leading(own, self.prefix_bits) == leading(other, self.prefix_bits)
    }
}

/// The number of bits of an address.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The leading bits of an address, as a number.
fn leading(address: IpAddr, bits: u8) -> u128 {
    let number = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    number.checked_shr(128 - u32::from(bits)).unwrap_or(0)
}

/// How a client reaches the host, according to proxies.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<String>,
    /// The prefix that all paths have for the client: empty, or `/` and segments.
    pub(super) prefix: Option<String>,
}

impl Forwarded {
    /// Reads the headers of a request that came from `peer`.
    ///
    /// Of several proxies in a row, the outermost trusted one counts. `Forwarded` (RFC 7239) takes precedence over
    /// `X-Forwarded-Proto` and `X-Forwarded-Host`; of several values of these, the last one counts.
    pub(super) fn read(headers: &HeaderMap, peer: IpAddr, trusted: &[Network]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        if !is_trusted(peer) {
            return Self::default();
        }
        let mut found = if headers.contains_key(header::FORWARDED) {
            standard(headers, is_trusted).unwrap_or_default()
        } else {
            Self {
                scheme: last(headers, "x-forwarded-proto").and_then(scheme),
                authority: last(headers, "x-forwarded-host").and_then(authority),
                prefix: None,
            }
        };
        found.prefix = last(headers, "x-forwarded-prefix").and_then(prefix);
        found
    }
}

/// Reads `Forwarded`; `None` if it is invalid.
fn standard(headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) -> Option<Forwarded> {
    let mut elements = Vec::new();
    for value in headers.get_all(header::FORWARDED) {
        elements.extend(split(value.to_str().ok()?, ',')?);
    }
    let mut found = Forwarded::default();
    // The last element was written by the proxy that sent the request. Each earlier element is trusted if the node
    // named in the element after it is.
    for element in elements.iter().rev() {
        let mut asked_by = None;
        for pair in split(element, ';')? {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = unquoted(value.trim())?;
            match name.trim().to_ascii_lowercase().as_str() {
                "proto" => found.scheme = scheme(&value).or(found.scheme),
                "host" => found.authority = authority(&value).or(found.authority),
                "for" => asked_by = node(&value),
                _ => {}
            }
        }
        if !asked_by.is_some_and(&is_trusted) {
            break;
        }
    }
    Some(found)
}

/// The parts between separators outside of quotes; `None` if a quote is not closed.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (position, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(&text[begin..position]);
                begin = position + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (!quoted).then_some(parts)
}

/// A token as it is, or the content of a quoted string.
fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return Some(value.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let (mut text, mut escaped) = (String::new(), false);
    for character in inner.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            text.push(character);
            escaped = false;
        }
    }
    Some(text)
}

/// The address of a node (RFC 7239, section 6), if it is one: `192.0.2.7`, `192.0.2.7:80`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok();
    }
    let address = text.split_once(':').map_or(text, |(address, _)| address);
    address.parse().ok()
}

/// The last value of a header that may be a list, or appear several times.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    Some(value.rsplit(',').next().unwrap_or(value).trim())
}

fn scheme(text: &str) -> Option<Scheme> {
    [Scheme::HTTPS, Scheme::HTTP]
        .into_iter()
        .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
}

/// A name or address with or without a port, without characters that have another meaning in a URL.
pub(super) fn authority(text: &str) -> Option<String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (None, port.strip_prefix(':').or(port.is_empty().then_some("0"))?)
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, "0"));
            (Some(host), port)
        }
    };
    let host_fits = host.is_none_or(|host| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        !host.is_empty() && host.bytes().all(fits)
    });
    let port_fits = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (host_fits && port_fits && text.len() <= MAX_AUTHORITY_BYTES).then(|| text.to_owned())
}

/// Segments of a path, each after a slash, without a trailing slash; empty for `/`.
pub(super) fn prefix(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Some(String::new());
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let segment_fits = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(fits);
    let segments = text.strip_prefix('/')?;
    (text.len() <= MAX_PREFIX_BYTES && segments.split('/').all(segment_fits)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        for (rule, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("192.168.1.128/25", "192.168.1.200", "192.168.1.100"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("fd00::/8", "fdff::1", "fe80::1"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
        ] {
            assert!(network(rule).contains(inside.parse().unwrap()), "{rule} {inside}");
            assert!(!network(rule).contains(outside.parse().unwrap()), "{rule} {outside}");
        }
        for text in [
            "",
            "proxy",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::ffff:10.0.0.0/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    /// What is read, as the beginning of a URL; `-` stands for absent parts.
    fn read(peer: &str, given: &[(&'static str, &str)]) -> String {
        let trusted = [network("10.0.0.0/8"), network("::1")];
        let found = Forwarded::read(&headers(given), peer.parse().unwrap(), &trusted);
        let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
        format!(
            "{}://{}{}",
            or_none(found.scheme.as_ref().map(Scheme::as_str)),
            or_none(found.authority.as_deref()),
            or_none(found.prefix.as_deref())
        )
    }

    #[test]
    fn headers_count_only_from_trusted_proxies() {
        let given = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "windlass.example:8443"),
            ("x-forwarded-prefix", "/base/"),
        ];
        assert_eq!(read("10.0.0.1", &given), "https://windlass.example:8443/base");
        assert_eq!(read("::1", &given), "https://windlass.example:8443/base");
        assert_eq!(read("192.0.2.1", &given), "-://--");
        let standard = [("forwarded", "for=192.0.2.60;proto=https;host=windlass.example")];
        assert_eq!(read("10.0.0.1", &standard), "https://windlass.example-");
        assert_eq!(read("192.0.2.1", &standard), "-://--");
    }

    #[test]
    fn the_standard_header_wins_and_the_outermost_trusted_proxy_counts() {
        let both = [
            ("forwarded", "proto=http;host=a.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "b.example"),
        ];
        assert_eq!(read("10.0.0.1", &both), "http://a.example-");
        let check =
            |value: &str, expected: &str| assert_eq!(read("10.0.0.1", &[("forwarded", value)]), expected, "{value}");
        // The client has written the first element: the proxy that received it is not trusted.
        check(
            "proto=https;host=evil.example, for=192.0.2.1;proto=http;host=a.example",
            "http://a.example-",
        );
        check(
            "for=192.0.2.1;proto=https;host=a.example, for=10.0.0.2;proto=http;host=inner",
            "https://a.example-",
        );
        check(
            "for=192.0.2.1;host=a.example, For=\"[::1]:4711\";Proto=https",
            "https://a.example-",
        );
        check("host=\"a.example:8443\"", "-://a.example:8443-");
        check("host=\"a.exa\\mple\"", "-://a.example-");
        check("host=\"a.example", "-://--");
        check(";;=;proto", "-://--");
        assert_eq!(
            read(
                "10.0.0.1",
                &[
                    ("x-forwarded-proto", "https, http"),
                    ("x-forwarded-host", "evil.example, a.example")
                ]
            ),
            "http://a.example-"
        );
    }

    #[test]
    fn values_that_are_invalid_in_a_url_are_ignored() {
        for host in [
            "",
            "a b",
            "a/b",
            "user@a.example",
            "javascript:alert(1)",
            "a.example:99999",
            "a.example:",
            "a.example:1:2",
            "a.example\\",
            "<script>",
            "[::1",
            "[a]",
            "é.example",
            &"x".repeat(300),
        ] {
            assert_eq!(read("10.0.0.1", &[("x-forwarded-host", host)]), "-://--", "{host}");
            assert_eq!(authority(host), None, "{host}");
        }
        for scheme in ["javascript", "ftp", "https://", "httpss", ""] {
            assert_eq!(read("10.0.0.1", &[("x-forwarded-proto", scheme)]), "-://--", "{scheme}");
        }
        for prefix in [
            "base",
            "//evil.example",
            "/a/../b",
            "/a b",
            "/a?b",
            "/%2e",
            "/a//b",
            &"/x".repeat(200),
        ] {
            assert_eq!(
                read("10.0.0.1", &[("x-forwarded-prefix", prefix)]),
                "-://--",
                "{prefix}"
            );
        }
        for (host, expected) in [("[::1]:80", "-://[::1]:80-"), ("A.example", "-://A.example-")] {
            assert_eq!(read("10.0.0.1", &[("x-forwarded-host", host)]), expected);
        }
    }
}
