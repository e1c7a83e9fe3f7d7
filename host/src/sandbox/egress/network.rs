//! The network of the host, as far as activities use it: what a name resolves to, and connections to addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use tokio::{net::TcpStream, sync::Semaphore, task::spawn_blocking};
use wasmtime_wasi::async_trait;

use crate::grants::request_room::{self, LookupPlace};

/// Most names that are looked up at the same time, for all attempts together.
///
/// The system's lookup holds a thread until it gives up, even when nobody waits for it any more; without a bound, names
/// whose servers never answer would take all the threads there are.
pub(super) const MAX_LOOKUPS: usize = 4 * request_room::MAX_LOOKUPS;

/// Names and addresses. A trait so that a test can be a resolver that changes its mind.
#[async_trait]
pub(in crate::sandbox) trait Network: Send + Sync {
    /// The addresses of a name. The place is taken until the lookup has ended, whether or not anybody still waits for it.
    async fn resolve(&self, name: &str, place: LookupPlace) -> io::Result<Vec<IpAddr>>;

    /// A connection to that address and to no other.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// The network of the machine.
pub(super) struct SystemNetwork {
    lookups: Arc<Semaphore>,
}

impl SystemNetwork {
    pub(super) fn new() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        }
    }
}

#[async_trait]
impl Network for SystemNetwork {
    async fn resolve(&self, name: &str, place: LookupPlace) -> io::Result<Vec<IpAddr>> {
        let lookup = self.lookups.clone().acquire_owned().await;
        let lookup = lookup.expect("the semaphore is never closed");
        let name = name.to_owned();
        let found = spawn_blocking(move || {
            let _until_it_ends = (lookup, place);
            let addresses = (name.as_str(), 0).to_socket_addrs()?;
            Ok(addresses.map(|address| address.ip()).collect())
        });
        found.await.map_err(io::Error::other)?
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}
