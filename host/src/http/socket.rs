//! A TCP socket that one task reads and writes while another one watches whether the client is still connected.
//!
//! What the host can learn about a client that sends nothing more:
//!
//! * A reset (the client's process aborted the connection, or its machine rejects packets) is an error of the socket.
//!   It is noticed at once, also while a request waits for its response.
//! * The end of the stream (FIN; over TLS, preceded by an alert) looks the same whether the client has closed only its
//!   sending half and still reads, or has closed the socket and is gone. Only sending data shows the difference: a
//!   closed socket responds with a reset. A response can be sent only once, so a waiting request continues until its
//!   response is due, unless its room is needed: see [`wait_limit`](super::wait_limit).
//!
//! An interim response (102) would make a client that is gone respond with a reset. It is not sent, because programs
//! that take the first response as the final one would break.

use std::{
    io::{self, IoSlice},
    net::{Shutdown, SocketAddr},
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// One socket; clones refer to the same socket. At most one of them is read and written.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<TcpStream>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Responses are written whole; waiting for more data to send would only add latency.
        let _ = stream.set_nodelay(true);
        Self(Arc::new(stream))
    }

    /// Returns when the connection is broken: the client has reset it, or the network gave it up.
    pub(super) async fn broken(&self) {
        // An error means that the runtime is shutting down.
        let _ = self.0.ready(Interest::ERROR).await;
    }

    /// Whether the client has closed its sending half. It may be gone, or may still read.
    pub(super) fn is_half_closed(&self) -> bool {
        // `Ok(0)` is the end of the stream; data of the next request is not.
        matches!(self.0.peek(&mut [0]).now_or_never(), Some(Ok(0)))
    }

    /// Reads the first bytes without consuming them.
    pub(super) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.peek(buffer).await
    }

    /// The client's address, or that of the last proxy in front of the host.
    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read_buf(buffer) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |stream| stream.try_write_vectored(data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// A TCP socket has no buffer of its own.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // tokio shuts down only a stream that it owns alone; shutting down another handle of the same socket has the
        // same effect.
        let handle = std::net::TcpStream::from(self.0.as_fd().try_clone_to_owned()?);
        Poll::Ready(match handle.shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Socket::new(accepted.unwrap().0), client.unwrap())
    }

    #[tokio::test]
    async fn data_written_on_one_side_is_read_on_the_other() {
        let (mut socket, mut client) = pair().await;
        client.write_all(b"ask").await.unwrap();
        let mut asked = [0; 3];
        socket.read_exact(&mut asked).await.unwrap();
        socket.write_all(b"answer").await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((&asked, answer.as_str()), (b"ask", "answer"));
    }

    #[tokio::test]
    async fn a_half_closed_connection_is_noticed_and_not_broken() {
        let (mut socket, mut client) = pair().await;
        assert!(!socket.is_half_closed());
        client.shutdown().await.unwrap();
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(socket.is_half_closed());
        assert!(socket.broken().now_or_never().is_none());
        socket.write_all(b"x").await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_reset_breaks_the_connection() {
        let (mut socket, client) = pair().await;
        // A socket that is closed with unread data resets its connection.
        socket.write_all(b"never read").await.unwrap();
        client.readable().await.unwrap();
        drop(client);
        socket.broken().await;
    }
}
