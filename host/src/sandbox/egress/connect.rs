//! Resolves a destination, checks its addresses, and connects to one of the checked addresses. The name is resolved only
//! once, so that it cannot resolve to another address after the check (DNS rebinding).

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use wasmtime_wasi_http::Error;

use super::{
    Reach,
    network::{Network, SystemNetwork},
    pool::{ConnectionCounts, Pool},
    race::first_to_answer,
    socket::{Socket, Watch},
};
use crate::grants::egress::rule::Host;
use crate::grants::{Destination, Scheme};
use crate::tls::ExtraRoots;

/// Maximum addresses of a name that are considered. More than are tried, so that both address families are represented.
const MAX_RESOLVED: usize = 64;

/// A stream in both directions, plain or encrypted.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An established connection.
pub(super) struct Connected {
    pub(super) stream: Box<dyn Stream>,
    /// The TCP connection under the stream.
    pub(super) socket: Watch,
    /// The address that it is connected to.
    pub(super) address: IpAddr,
}

/// Why a request was refused or failed: an error for the guest, and a reason for the log.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: Error,
    pub(super) reason: String,
}

impl Refused {
    pub(super) fn new(error: Error, reason: impl Into<String>) -> Self {
        Self {
            error,
            reason: reason.into(),
        }
    }
}

/// Creates connections for all attempts.
pub(in crate::sandbox) struct Connector {
    /// Idle connections. This connector created all of them, so they have the same trusted authorities.
    pool: Arc<Pool>,
    network: Box<dyn Network>,
    roots: ExtraRoots,
    /// Created when it is first needed, because there are many roots.
    tls: OnceLock<TlsConnector>,
}

impl Connector {
    /// Creates a connector for the network of the machine.
    pub(in crate::sandbox) fn system(roots: ExtraRoots) -> Self {
        Self::over(SystemNetwork::new(), roots)
    }

    /// Creates a connector for this network.
    pub(in crate::sandbox) fn over(network: impl Network + 'static, roots: ExtraRoots) -> Self {
        Self {
            pool: Arc::default(),
            network: Box::new(network),
            roots,
            tls: OnceLock::new(),
        }
    }

    /// The pool of idle connections.
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Counters of connections.
    pub(in crate::sandbox) fn counts(&self) -> ConnectionCounts {
        self.pool.counts()
    }

    /// Opens a connection to the destination. `step` is the timeout of each step: lookup, connect, TLS handshake.
    pub(super) async fn connect(
        &self,
        reach: &Reach,
        destination: &Destination,
        step: Duration,
    ) -> Result<Connected, Refused> {
        let found = self.resolve(reach, destination, step).await?;
        let addresses = allowed(reach, destination, found)?;
        let (address, stream) = first_to_answer(&*self.network, reach.group(), &addresses, step).await?;
        self.pool.count_opened();
        // Requests are written in one piece, so Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        let stream = Socket::new(stream);
        let socket = stream.watch();
        let stream: Box<dyn Stream> = match destination.scheme {
            Scheme::Http => Box::new(stream),
            Scheme::Https => self.encrypt(destination, stream, step).await?,
        };
        Ok(Connected {
            stream,
            socket,
            address: address.ip(),
        })
    }

    async fn resolve(&self, reach: &Reach, destination: &Destination, step: Duration) -> Result<Vec<IpAddr>, Refused> {
        let name = match &destination.host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let lookup = async {
            let place = reach.group().look_up().await;
            self.network.resolve(name, place).await
        };
        match timeout(step, lookup).await {
            Err(_) => Err(Refused::new(Error::DnsTimeout, "the name lookup took too long")),
            Ok(Err(error)) => {
                let guest = Error::DnsError {
                    rcode: Some("the name was not resolved".into()),
                    info_code: None,
                };
                Err(Refused::new(guest, format!("the name was not resolved: {error}")))
            }
            Ok(Ok(addresses)) => Ok(addresses.into_iter().take(MAX_RESOLVED).collect()),
        }
    }

    async fn encrypt(
        &self,
        destination: &Destination,
        stream: Socket,
        step: Duration,
    ) -> Result<Box<dyn Stream>, Refused> {
        let name = match &destination.host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone())
                .map_err(|error| Refused::new(Error::TlsProtocolError, error.to_string()))?,
        };
        let tls = self.tls.get_or_init(|| TlsConnector::from(self.roots.client_config()));
        match timeout(step, tls.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(Refused::new(Error::TlsCertificateError, format!("TLS: {error}"))),
            Err(_) => Err(Refused::new(
                Error::ConnectionTimeout,
                "the TLS handshake took too long",
            )),
        }
    }
}

/// Filters the addresses at which the destination may be reached.
fn allowed(reach: &Reach, destination: &Destination, found: Vec<IpAddr>) -> Result<Vec<SocketAddr>, Refused> {
    let mut allowed = Vec::new();
    let mut refused = None;
    for address in found {
        match reach.check_address(destination, address) {
            Ok(()) => allowed.push(SocketAddr::new(address, destination.port)),
            Err(class) => {
                // Only the operator may see the address: tenants must not learn what names of an internal network resolve
                // to.
                tracing::debug!(%destination, %address, class, "an address was refused");
                refused = Some(class);
            }
        }
    }
    match (allowed.is_empty(), refused) {
        (false, _) => Ok(allowed),
        (true, Some(class)) => {
            let rule = reach
                .rule_for(destination)
                .map_or_else(String::new, ToString::to_string);
            let reason =
                format!("{rule} allows it, but it resolves to {class}, which no --allow rule of the operator names");
            Err(Refused::new(Error::DestinationIpProhibited, reason))
        }
        (true, None) => Err(Refused::new(Error::DestinationNotFound, "the name has no address")),
    }
}
