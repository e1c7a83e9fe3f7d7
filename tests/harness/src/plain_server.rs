//! A server for outgoing requests. Records which connection each request used.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::waiting::until;

/// A plain-text HTTP/1.1 server. Answers every request with the number of its connection, except requests that need a
/// `content-length` and have none (411).
#[derive(Debug)]
pub struct PlainServer {
    url: String,
    shared: Arc<Shared>,
}

/// When the server closes a connection. It does not announce this with `connection: close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closes {
    /// When [`PlainServer::close_connections`] is called.
    WhenTold,
    /// After each response.
    AfterEachAnswer,
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// The number of its connection, from 1.
    pub connection: usize,
    /// Method and path.
    pub target: String,
    /// The lines of its head, in lower case.
    pub headers: Vec<String>,
    /// Its body.
    pub body: String,
}

#[derive(Debug)]
struct Shared {
    closes: Closes,
    seen: Mutex<Vec<SeenRequest>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    /// The number of calls of [`PlainServer::close_connections`].
    closed: watch::Sender<usize>,
}

impl PlainServer {
    /// Starts a server on a free port.
    pub async fn start(closes: Closes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let shared = Arc::new(Shared {
            closes,
            seen: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            closed: watch::Sender::new(0),
        });
        tokio::spawn(accept(listener, shared.clone()));
        Self { url, shared }
    }

    /// The URL of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of accepted connections.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Relaxed)
    }

    /// The requests so far, in the order in which they were answered.
    pub fn seen(&self) -> Vec<SeenRequest> {
        self.shared.seen().clone()
    }

    /// Closes all open connections, and waits until they are closed.
    pub async fn close_connections(&self) {
        self.shared.closed.send_modify(|times| *times += 1);
        until("closed connections", async || {
            (self.shared.open.load(Relaxed) == 0).then_some(())
        })
        .await;
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<SeenRequest>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = shared.accepted.fetch_add(1, Relaxed) + 1;
        shared.open.fetch_add(1, Relaxed);
        let (shared, mut closed) = (shared.clone(), shared.closed.subscribe());
        tokio::spawn(async move {
            tokio::select! {
                // Errors also close the connection.
                _ = serve(stream, number, &shared) => {}
                _ = closed.changed() => {}
            }
            shared.open.fetch_sub(1, Relaxed);
        });
    }
}

async fn serve(stream: TcpStream, number: usize, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufStream::new(stream);
    while let Some(request) = read(&mut stream, number).await? {
        let needs_length = ["POST", "PUT", "PATCH"]
            .iter()
            .any(|method| request.target.starts_with(method));
        let has_length = request
            .headers
            .iter()
            .any(|header| header.starts_with("content-length:"));
        let status = match needs_length && !has_length {
            true => "411 Length Required",
            false => "200 OK",
        };
        shared.seen().push(request);
        let body = number.to_string();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        if shared.closes == Closes::AfterEachAnswer {
            break;
        }
    }
    Ok(())
}

/// Reads the next request; `None` if the client has closed the connection.
async fn read(stream: &mut BufStream<TcpStream>, connection: usize) -> std::io::Result<Option<SeenRequest>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Vec<String> = lines.split_off(1).iter().map(|line| line.to_lowercase()).collect();
    let target = lines.concat().replace(" HTTP/1.1", "");
    let length = headers
        .iter()
        .find_map(|header| header.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(SeenRequest {
        connection,
        target,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}
