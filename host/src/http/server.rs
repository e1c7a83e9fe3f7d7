//! The listening socket and the task of each connection, plain or over TLS. A connection ends gracefully, or when the
//! client is idle for too long or disconnects, or when its room is needed ([`connection`](super::connection)).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, response::Response};
use http::{Uri, uri::Scheme};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    admission::Places,
    connection::{Connection, Entry, FIRST_BYTE_TIME},
    durable_functions,
    error::Refusal,
    socket::Socket,
    write_timeout::WriteTimeout,
};
use crate::tls::Certificate;

/// Time limit for a TLS handshake, from the moment the connection is accepted.
const HANDSHAKE_TIME: Duration = FIRST_BYTE_TIME;

/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// How long a client may read nothing before its connection is closed.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection whose room is needed may continue to send a response that was already written.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Maximum length of the head of a request (request line and headers), in bytes. Browsers stay well below; larger ones
/// get 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Maximum number of headers of a request; more get 431.
const MAX_HEADERS: usize = 100;

/// Time between two warnings about failed accepts.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Options of the server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Limits the requests in progress and the connections.
    pub places: Places,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// How long requests in progress may continue after shutdown began.
    pub grace: Duration,
    /// The certificate of the server; with one, clients must use TLS.
    pub certificate: Option<Certificate>,
}

impl ServerOptions {
    /// The scheme of the server's addresses.
    pub fn scheme(&self) -> Scheme {
        match self.certificate {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }
}

/// Why the server could not start.
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

/// How many connections the kernel keeps that the host has not accepted yet, if the system allows as many. Further ones
/// fail or take seconds. A short flood needs more than the 128 of the standard library.
const BACKLOG: u32 = 4_096;

/// Listens like `TcpListener::bind`, with a longer backlog.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// Binds the socket.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(options: ServerOptions) -> Result<Self, ServerError> {
        let wanted = options.listen;
        let bind = |error| ServerError::Bind(wanted, error);
        let listener = listen(wanted).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// The bound address, with the actual port if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for clients on this machine.
    pub fn url(&self) -> String {
        format!("{}://{}", self.options.scheme(), self.address)
    }

    /// Serves until `stop` is cancelled, then lets requests in progress finish within the grace time. New connections
    /// get the current certificate, which may be replaced meanwhile.
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
        let tasks = TaskTracker::new();
        let abort = CancellationToken::new();
        let mut warned_at = None;
        while let Some(entry) = self.next_connection(&mut warned_at, stop).await {
            let connection = serve(
                entry.connection.clone(),
                self.options.certificate.clone(),
                self.options.idle_timeout,
                router.clone(),
                stop.clone(),
            );
            let abort = abort.clone();
            tasks.spawn(async move {
                let _entry = entry;
                abort.run_until_cancelled(connection).await;
            });
        }
        drop(self.listener);
        tasks.close();
        if timeout(self.options.grace, tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "closing connections whose requests did not finish in time"
            );
            abort.cancel();
            tasks.wait().await;
        }
    }

    /// Accepts the next connection, once there is room for it; `None` when the server stops.
    async fn next_connection(&self, warned_at: &mut Option<Instant>, stop: &CancellationToken) -> Option<Entry> {
        let connections = &self.options.places.connections;
        let accept = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        if let Some(entry) = connections.enter(Socket::new(stream)).await {
                            break entry;
                        }
                        tracing::debug!("closed a connection: its client has too many");
                    }
                    // The client has given up.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    // The usual reason is that the process has run out of file descriptors.
                    Err(error) => {
                        if warned_at.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                            *warned_at = Some(Instant::now());
                            tracing::warn!(%error, "cannot accept a connection");
                        }
                        connections.give_back_a_file().await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accept).await
    }
}

/// Serves one connection; after `stop`, only the request in progress.
async fn serve(
    connection: Arc<Connection>,
    certificate: Option<Certificate>,
    idle_timeout: Duration,
    router: Router,
    stop: CancellationToken,
) {
    let Some(socket) = connection.socket().cloned() else {
        return;
    };
    let conversation = Conversation {
        connection,
        idle_timeout,
        stop,
    };
    let stream = WriteTimeout::new(socket.clone(), conversation.connection.clone(), WRITE_PATIENCE);
    let Some(certificate) = certificate else {
        return conversation.converse(stream, router).await;
    };
    // There is no request yet, so there is nothing to finish when the server stops or the room is needed.
    let begun = tokio::select! {
        begun = timeout(HANDSHAKE_TIME, begin_tls(&socket, stream, &certificate)) => begun,
        () = conversation.stop.cancelled() => return,
        _ = conversation.connection.must_close() => return,
    };
    match begun {
        Ok(Ok(Begun::Tls(stream))) => {
            conversation.connection.secured();
            conversation.converse(stream, router).await;
        }
        Ok(Ok(Begun::Plain(stream))) => {
            conversation
                .converse(stream, Router::new().fallback(tls_required))
                .await
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// How a client has begun its connection.
enum Begun {
    Tls(Box<tokio_rustls::server::TlsStream<WriteTimeout<Socket>>>),
    /// Not TLS; nothing has been read from the stream.
    Plain(WriteTimeout<Socket>),
}

async fn begin_tls(socket: &Socket, stream: WriteTimeout<Socket>, certificate: &Certificate) -> io::Result<Begun> {
    let mut first = [0];
    let is_plain = socket.peek(&mut first).await? == 1 && first[0] != TLS_HANDSHAKE;
    if is_plain {
        return Ok(Begun::Plain(stream));
    }
    let acceptor = TlsAcceptor::from(certificate.config());
    Ok(Begun::Tls(Box::new(acceptor.accept(stream).await?)))
}

/// Answers all requests that are not encrypted, so that a client that used `http` instead of `https` learns the reason.
async fn tls_required(uri: Uri) -> Response {
    durable_functions::refuse(uri.path(), Refusal::TlsRequired)
}

/// What can end a connection.
struct Conversation {
    connection: Arc<Connection>,
    idle_timeout: Duration,
    stop: CancellationToken,
}

impl Conversation {
    /// Serves HTTP on the stream until the connection ends.
    async fn converse(&self, stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
        let (connection, router) = (&self.connection, TowerToHyperService::new(router));
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            router.call(request)
        });
        let http = http1::Builder::new()
            // Clients may close their sending half after a request and still read its response. With this option, hyper
            // does not notice the end of a connection while a request is in progress; `broken` does.
            .half_close(true)
            // `silence` distinguishes a slow head from an idle connection.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(http);
        let silence = connection.silence(self.idle_timeout);
        let broken = connection.broken();
        tokio::pin!(silence, broken);
        let closed = sleep(Duration::ZERO);
        tokio::pin!(closed);
        let (mut stopping, mut closing) = (false, false);
        loop {
            tokio::select! {
                result = http.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    http.as_mut().graceful_shutdown();
                }
                asked = connection.must_close(), if !closing => {
                    if !asked {
                        return;
                    }
                    closing = true;
                    http.as_mut().graceful_shutdown();
                    closed.as_mut().reset(Instant::now() + CLOSE_TIME);
                }
                () = closed.as_mut(), if closing => return,
                () = silence.as_mut() => return tracing::debug!("a connection was silent for too long"),
                () = broken.as_mut() => return tracing::debug!("a client went away"),
            }
        }
    }
}
