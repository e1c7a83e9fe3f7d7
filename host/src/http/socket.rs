//! A TCP socket that one task reads and writes while another one watches whether the client is still there.
//!
//! What can be told apart about a client that sends nothing more:
//!
//! * A reset (the client's process aborted the connection, or its machine refuses our packets) is an error of the socket.
//!   It is noticed at once, also while a request waits for its answer.
//! * The end of what the client sends (FIN; over TLS an alert before it) looks the same whether the client has closed only
//!   its sending half and reads on, or has closed the socket and is gone. Nothing but sending data tells: a closed socket
//!   answers with a reset. An answer can be sent once, so a waiting request is carried on until its answer is due, unless
//!   its room is needed: see [`waits`](super::waits).
//!
//! An interim response (102) would make a client that is gone answer with a reset. It is not sent, because programs that
//! take what comes first for the answer would break.

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

/// One socket; clones are the same socket. At most one of them is read and written.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<TcpStream>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        // Answers are written whole; waiting for more to send along would only add latency.
        let _ = stream.set_nodelay(true);
        Self(Arc::new(stream))
    }

    /// Returns when the connection is broken: the client has reset it, or the network gave it up.
    pub(super) async fn broken(&self) {
        // An error means that the runtime ends.
        let _ = self.0.ready(Interest::ERROR).await;
    }

    /// Whether the client has said that it sends nothing more. It may be gone, or may read on.
    pub(super) fn is_half_closed(&self) -> bool {
        // Nothing to look at is the end; the next request, already sent, is not.
        matches!(self.0.peek(&mut [0]).now_or_never(), Some(Ok(0)))
    }

    /// Looks at the first bytes without taking them.
    pub(super) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.peek(buffer).await
    }

    /// The client's address, or that of the last proxy before us.
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
        // tokio shuts a stream down that it owns alone; shutting down another handle of the same socket is the same.
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
    async fn what_is_written_on_one_side_is_read_on_the_other() {
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
    async fn the_end_of_what_a_client_sends_is_seen_and_does_not_break_the_connection() {
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
