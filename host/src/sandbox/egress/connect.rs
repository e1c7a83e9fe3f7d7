//! Resolves a destination, checks its addresses, and connects to one that was checked: the name is not looked up a
//! second time, so that it cannot resolve to something else in between.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use wasmtime_wasi_http::Error;

use super::{Destination, Reach, rule::Host, rule::Scheme};

/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

/// A connection, plain or encrypted.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Why there is no connection, for the guest and for the log.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: Error,
    pub(super) reason: String,
}

impl Refused {
    fn new(error: Error, reason: impl Into<String>) -> Self {
        Self {
            error,
            reason: reason.into(),
        }
    }
}

/// A connection to the destination within that time for each of its steps: lookup, connect, TLS handshake.
pub(super) async fn connect(
    reach: &Reach,
    destination: &Destination,
    step: Duration,
) -> Result<Box<dyn Connection>, Refused> {
    let addresses = allowed_addresses(reach, destination, step).await?;
    let stream = first_to_answer(&addresses, step).await?;
    // Requests are written in one piece; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    match destination.scheme {
        Scheme::Http => Ok(Box::new(stream)),
        Scheme::Https => encrypt(destination, stream, step).await,
    }
}

async fn allowed_addresses(
    reach: &Reach,
    destination: &Destination,
    step: Duration,
) -> Result<Vec<SocketAddr>, Refused> {
    let found: Vec<IpAddr> = match &destination.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => match timeout(step, lookup_host((name.as_str(), destination.port))).await {
            Err(_) => return Err(Refused::new(Error::DnsTimeout, "the name lookup took too long")),
            Ok(Err(error)) => {
                let guest = Error::DnsError {
                    rcode: Some("the name was not resolved".into()),
                    info_code: None,
                };
                return Err(Refused::new(guest, format!("the name was not resolved: {error}")));
            }
            Ok(Ok(addresses)) => addresses.map(|address| address.ip()).take(MAX_ADDRESSES).collect(),
        },
    };
    let mut allowed = Vec::new();
    let mut refused = None;
    for address in found {
        match reach.check_address(destination, address) {
            Ok(()) => allowed.push(SocketAddr::new(address, destination.port)),
            Err(class) => refused = Some((address, class)),
        }
    }
    match (allowed.is_empty(), refused) {
        (false, _) => Ok(allowed),
        (true, Some((address, class))) => {
            let named = Destination {
                host: Host::Address(super::address::canonical(address)),
                ..destination.clone()
            };
            let reason = format!("it resolves to {class}, and no rule names {named}");
            Err(Refused::new(Error::DestinationIpProhibited, reason))
        }
        (true, None) => Err(Refused::new(Error::DestinationNotFound, "the name has no address")),
    }
}

async fn first_to_answer(addresses: &[SocketAddr], step: Duration) -> Result<TcpStream, Refused> {
    let mut last = Refused::new(Error::DestinationUnavailable, "no address answered");
    for address in addresses {
        match timeout(step, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Refused::new(Error::ConnectionRefused, error.to_string()),
            Err(_) => last = Refused::new(Error::ConnectionTimeout, "the connection took too long"),
        }
    }
    Err(last)
}

async fn encrypt(destination: &Destination, stream: TcpStream, step: Duration) -> Result<Box<dyn Connection>, Refused> {
    let name = match &destination.host {
        Host::Address(address) => ServerName::from(*address),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|error| Refused::new(Error::TlsProtocolError, error.to_string()))?,
    };
    match timeout(step, tls().connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(Refused::new(Error::TlsCertificateError, format!("TLS: {error}"))),
        Err(_) => Err(Refused::new(
            Error::ConnectionTimeout,
            "the TLS handshake took too long",
        )),
    }
}

/// TLS with the root certificates of Mozilla, built in, so that the same are trusted on every machine.
fn tls() -> &'static TlsConnector {
    static TLS: OnceLock<TlsConnector> = OnceLock::new();
    TLS.get_or_init(|| {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider offers TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    })
}
