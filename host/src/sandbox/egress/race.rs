//! Connects to the address that answers first: "Happy Eyeballs" (RFC 8305).
//!
//! A name often has addresses of both families, and one family may not work: its packets are dropped without an answer. So
//! the next address is tried while the last one has not answered. The caller has resolved and checked the addresses.

use std::{io, iter, net::SocketAddr, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    sync::SemaphorePermit,
    time::{sleep, timeout},
};
use wasmtime_wasi_http::Error;

use crate::grants::RequestGroup;

use super::{connect::Refused, network::Network};

/// Maximum addresses that are tried for one connection.
const MAX_ADDRESSES: usize = 8;

/// How long to wait for an address before the next one is tried concurrently. The value that RFC 8305 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The shortest such delay, however short the timeout is: the minimum of RFC 8305.
const MIN_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

/// Connects to the first address that answers, with a timeout for all of them. The other attempts are dropped.
///
/// The first attempt is covered by the request, which is counted as open already. Further concurrent attempts take a place
/// in the group, so that names with many addresses that do not answer do not multiply the sockets of a tenant.
pub(super) async fn first_to_answer(
    network: &dyn Network,
    group: &RequestGroup,
    addresses: &[SocketAddr],
    within: Duration,
) -> Result<(SocketAddr, TcpStream), Refused> {
    let addresses = in_turn(addresses);
    match timeout(within, race(network, group, &addresses, within)).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(Some(error))) => Err(Refused::new(Error::ConnectionRefused, error.to_string())),
        Ok(Err(None)) => Err(Refused::new(
            Error::DestinationUnavailable,
            "there is no address to try",
        )),
        Err(_) => Err(Refused::new(Error::ConnectionTimeout, "the connection took too long")),
    }
}

/// Starts the attempts one after another. Fails with the last error when all have failed.
async fn race(
    network: &dyn Network,
    group: &RequestGroup,
    addresses: &[SocketAddr],
    within: Duration,
) -> Result<(SocketAddr, TcpStream), Option<io::Error>> {
    let delay = delay(addresses.len(), within);
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut last = None;
    // After a failure, the next attempt starts immediately.
    let mut has_failed = false;
    loop {
        if attempts.is_empty() {
            let Some(address) = waiting.next() else {
                return Err(last);
            };
            attempts.push(attempt(network, address, None));
            has_failed = false;
        }
        let place = async {
            if !has_failed {
                sleep(delay).await;
            }
            group.further_attempt().await
        };
        tokio::select! {
            biased;
            Some((address, result)) = attempts.next() => match result {
                Ok(stream) => return Ok((address, stream)),
                Err(error) => {
                    last = Some(error);
                    has_failed = true;
                }
            },
            place = place, if waiting.len() > 0 => {
                attempts.extend(waiting.next().map(|address| attempt(network, address, Some(place))));
                has_failed = false;
            }
        }
    }
}

async fn attempt(
    network: &dyn Network,
    address: SocketAddr,
    _place: Option<SemaphorePermit<'_>>,
) -> (SocketAddr, io::Result<TcpStream>) {
    (address, network.connect(address).await)
}

/// The delay between attempts, short enough that all addresses are tried within the timeout.
fn delay(addresses: usize, within: Duration) -> Duration {
    let share = within / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX);
    share.clamp(MIN_ATTEMPT_DELAY, ATTEMPT_DELAY)
}

/// The addresses to try: alternating between the families, beginning with that of the first address. Within a family the
/// order is that of the resolver's preference.
fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let prefers_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut preferred, mut others): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv6() == prefers_v6);
    preferred.truncate(MAX_ADDRESSES);
    others.truncate(MAX_ADDRESSES);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let pairs = iter::from_fn(|| match (preferred.next(), others.next()) {
        (None, None) => None,
        (first, second) => Some(first.into_iter().chain(second)),
    });
    pairs.flatten().take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_beginning_with_the_one_that_the_resolver_prefers() {
        let found = addresses(&["[2001::1]:1", "[2001::2]:1", "1.0.0.1:1", "[2001::3]:1", "1.0.0.2:1"]);
        let expected = addresses(&["[2001::1]:1", "1.0.0.1:1", "[2001::2]:1", "1.0.0.2:1", "[2001::3]:1"]);
        assert_eq!(in_turn(&found), expected);
        let found = addresses(&["1.0.0.1:1", "1.0.0.2:1", "[2001::1]:1"]);
        assert_eq!(in_turn(&found), addresses(&["1.0.0.1:1", "[2001::1]:1", "1.0.0.2:1"]));
        assert_eq!(in_turn(&[]), []);
    }

    #[test]
    fn many_addresses_of_one_family_leave_room_for_the_other() {
        let mut found: Vec<SocketAddr> = (1..=20).map(|last| ([1, 0, 0, last], 1).into()).collect();
        found.extend(addresses(&["[2001::1]:1"]));
        let tried = in_turn(&found);
        assert_eq!(tried.len(), MAX_ADDRESSES);
        assert!(tried[1].is_ipv6(), "{tried:?}");
    }

    #[test]
    fn all_addresses_are_tried_within_the_timeout() {
        assert_eq!(delay(2, Duration::from_secs(10)), ATTEMPT_DELAY);
        assert_eq!(delay(8, Duration::from_millis(400)), Duration::from_millis(50));
        assert_eq!(delay(8, Duration::from_millis(8)), MIN_ATTEMPT_DELAY);
        assert_eq!(delay(0, Duration::ZERO), MIN_ATTEMPT_DELAY);
    }
}
