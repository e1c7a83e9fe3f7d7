//! Determines which addresses are public, according to the IANA special-purpose registries for IPv4 and IPv6.
//!
//! An IPv6 address that contains an IPv4 address (mapped, NAT64, 6to4) is classified by that address. Otherwise a private
//! address could be reached through it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Converts an IPv4-mapped address into the IPv4 address to which the system would connect.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The class of an address that is not public; `None` for a public one.
pub(crate) fn not_public(address: IpAddr) -> Option<&'static str> {
    match canonical(address) {
        IpAddr::V4(address) => not_public_v4(address),
        IpAddr::V6(address) => not_public_v6(address),
    }
}

/// The address of Azure's platform services, which is in a public range.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        _ if address == AZURE => Some("an address of a cloud's own services"),
        (0, ..) => Some("an address of \"this network\""),
        (127, ..) => Some("a loopback address"),
        (10, ..) | (192, 168, _) => Some("a private address"),
        (172, 16..=31, _) => Some("a private address"),
        (100, 64..=127, _) => Some("a shared address of a carrier"),
        (169, 254, _) => Some("a link-local address"),
        (192, 0, 0) => Some("an address for protocols"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("an address for documentation"),
        (192, 88, 99) => Some("a 6to4 relay"),
        (198, 18..=19, _) => Some("an address for benchmarks"),
        (224..=239, ..) => Some("a multicast address"),
        (240..=255, ..) => Some("a reserved address"),
        _ => None,
    }
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, d, e, f, ..] = address.segments();
    match (a, b) {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_loopback() => Some("a loopback address"),
        // The well-known prefix of NAT64. Addresses with the local prefix (64:ff9b:1::/48) are reserved below, because they
        // may lead anywhere.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => not_public_v4(last_32_bits(address)),
        (0xfe80..=0xfebf, _) => Some("a link-local address"),
        (0xfec0..=0xfeff, _) => Some("a site-local address"),
        (0xfc00..=0xfdff, _) => Some("a private address"),
        (0xff00..=0xffff, _) => Some("a multicast address"),
        (0x2001, 0x0db8) | (0x3fff, 0..=0x0fff) => Some("an address for documentation"),
        (0x2001, 0) => Some("a Teredo address"),
        (0x2001, 1..=0x01ff) => Some("an address for protocols"),
        (0x2002, _) => not_public_v4(Ipv4Addr::from((u32::from(b) << 16) | u32::from(c))),
        // Only this eighth of the address space is allocated to the public network.
        (0x2000..=0x3fff, _) => None,
        _ => Some("a reserved address"),
    }
}

fn last_32_bits(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(address: &str) -> Option<&'static str> {
        not_public(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_recognized() {
        for address in [
            "1.1.1.1",
            "93.184.215.14",
            "100.63.255.255",
            "100.128.0.0",
            "168.63.129.17",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::200e",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(class(address), None, "{address}");
        }
    }

    #[test]
    fn addresses_of_all_other_classes_are_not_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::a00:1",
            "64:ff9b:1::101:101",
            "100::1",
            "2001::1",
            "2001:1::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:c0a8:101::1",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(class(address).is_some(), "{address}");
        }
    }
}
