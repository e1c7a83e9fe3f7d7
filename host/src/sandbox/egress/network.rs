//! The network for activities: resolves names, and connects to addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use tokio::{net::TcpStream, sync::Semaphore, task::spawn_blocking};
use wasmtime_wasi::async_trait;

use crate::grants::request_group::{self, LookupPermit};

/// Maximum concurrent name lookups of all attempts together.
///
/// The lookup of the system blocks a thread until it gives up, even if its request was dropped. Without a limit, names
/// whose servers never answer would block all threads.
pub(super) const MAX_LOOKUPS: usize = 4 * request_group::MAX_LOOKUPS;

/// A network. It is a trait so that tests can simulate a resolver whose answers change.
#[async_trait]
pub(in crate::sandbox) trait Network: Send + Sync {
    /// Resolves a name. `place` is held until the lookup has ended, even if the future is dropped.
    async fn resolve(&self, name: &str, place: LookupPermit) -> io::Result<Vec<IpAddr>>;

    /// Connects to exactly this address.
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
    async fn resolve(&self, name: &str, place: LookupPermit) -> io::Result<Vec<IpAddr>> {
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
