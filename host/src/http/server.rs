//! The socket: connections with bounds on their number, their heads and their silence, ended gracefully.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::stall::Stall;

/// The time in which a request's head must arrive; also how long a connection may stay idle between requests.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long a client may take no data before its connection is closed.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Largest head of a request (request line and headers), in bytes. Browsers stay well below; 431 beyond.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Most headers of a request; 431 beyond.
const MAX_HEADERS: usize = 100;

/// Pause after a failed accept, which mostly means that the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the server may do.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Most connections at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long requests under way may go on after the end was asked for.
    pub grace: Duration,
}

/// Why the server could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be bound.
    #[error("cannot listen on {0}")]
    Bind(SocketAddr, #[source] io::Error),
}

/// A bound socket that serves when it is [run](Self::run).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    options: ServerOptions,
}

impl Server {
    /// Binds the socket.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(options: ServerOptions) -> Result<Self, ServerError> {
        let wanted = options.listen;
        let bind = |error| ServerError::Bind(wanted, error);
        let listener = TcpListener::bind(wanted).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// The address it is bound to; tells which port was chosen for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled, then lets requests under way finish within the grace time.
    pub async fn run(self, router: Router, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(self.options.max_connections));
        let abort = CancellationToken::new();
        while let Some((stream, permit)) = next_connection(&self.listener, &room, &stop).await {
            let connection = serve(stream, router.clone(), stop.clone());
            let abort = abort.clone();
            connections.spawn(async move {
                let _permit = permit;
                abort.run_until_cancelled(connection).await;
            });
        }
        drop(self.listener);
        connections.close();
        if timeout(self.options.grace, connections.wait()).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "closing connections whose requests did not finish in time"
            );
            abort.cancel();
            connections.wait().await;
        }
    }
}

/// The next connection when there is room for one; none when the end was asked for.
async fn next_connection(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accept = async {
        let permit = room
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => break (stream, permit),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await
}

/// Serves one connection; after `stop` only the request under way.
async fn serve(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Answers are written whole; waiting for more to send along would only add latency.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(Stall::new(stream, WRITE_PATIENCE));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(stream, TowerToHyperService::new(router));
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
