//! The socket: connections, plain or over TLS, with bounds on their number, their heads and their silence, ended
//! gracefully.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use http::uri::Scheme;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{error::Refusal, stall::Stall};
use crate::tls::Certificate;

/// The time in which a TLS handshake must be done, from the moment the connection is there.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// The first byte of a TLS connection: the record is one of a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

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
    /// What to show to clients, who must speak TLS then.
    pub certificate: Option<Certificate>,
}

impl ServerOptions {
    /// With what the addresses of the server begin.
    pub fn scheme(&self) -> Scheme {
        match self.certificate {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }
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

    /// Where clients on this machine find it.
    pub fn url(&self) -> String {
        format!("{}://{}", self.options.scheme(), self.address)
    }

    /// Serves until `stop` is cancelled, then lets requests under way finish within the grace time. Meanwhile it shows
    /// whatever certificate there is.
    pub async fn run(self, router: Router, stop: CancellationToken) {
        let certificate = self.options.certificate.clone();
        let keep_current = async {
            if let Some(certificate) = certificate {
                certificate.keep_current(&stop).await;
            }
        };
        tokio::join!(self.serve_all(router, &stop), keep_current);
    }

    async fn serve_all(self, router: Router, stop: &CancellationToken) {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(self.options.max_connections));
        let abort = CancellationToken::new();
        while let Some((stream, permit)) = next_connection(&self.listener, &room, stop).await {
            let connection = serve(stream, self.options.certificate.clone(), router.clone(), stop.clone());
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
async fn serve(stream: TcpStream, certificate: Option<Certificate>, router: Router, stop: CancellationToken) {
    // Answers are written whole; waiting for more to send along would only add latency.
    let _ = stream.set_nodelay(true);
    let Some(certificate) = certificate else {
        return converse(Stall::new(stream, WRITE_PATIENCE), router, stop).await;
    };
    // Nothing was asked yet, so there is nothing to finish when the end comes first.
    let begun = stop.run_until_cancelled(timeout(HANDSHAKE_TIME, begin_tls(stream, &certificate)));
    match begun.await {
        Some(Ok(Ok(Begun::Tls(stream)))) => converse(stream, router, stop).await,
        Some(Ok(Ok(Begun::Plain(stream)))) => converse(stream, Router::new().fallback(tls_required), stop).await,
        Some(Ok(Err(error))) => tracing::debug!(%error, "a TLS handshake failed"),
        Some(Err(_)) => tracing::debug!("a TLS handshake took too long"),
        None => {}
    }
}

/// What a client has begun with.
enum Begun {
    Tls(Box<tokio_rustls::server::TlsStream<Stall<TcpStream>>>),
    /// Not TLS; what it said has not been read.
    Plain(Stall<TcpStream>),
}

async fn begin_tls(stream: TcpStream, certificate: &Certificate) -> io::Result<Begun> {
    let mut first = [0];
    let is_plain = stream.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE;
    let stream = Stall::new(stream, WRITE_PATIENCE);
    if is_plain {
        return Ok(Begun::Plain(stream));
    }
    let acceptor = TlsAcceptor::from(certificate.config());
    Ok(Begun::Tls(Box::new(acceptor.accept(stream).await?)))
}

/// The answer to all requests that are not encrypted: whoever forgot the `s` of `https` reads what is wrong.
async fn tls_required() -> Refusal {
    Refusal::TlsRequired
}

/// HTTP over what has become a connection.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
