//! A connection that times out when the client reads nothing or hardly anything, and that records when data arrives.
//!
//! hyper limits the time for a request's head, and [`body`](super::body) the time for its body. Without this limit, a
//! client that sends a request and then reads nothing would hold its connection, and the memory of the answer, for ever.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::connection::Connection;

/// Minimum rate at which a client reads while writes wait for it, in bytes per second, over any time longer than the
/// patience.
const MIN_BYTES_PER_SECOND: u64 = 1024;

/// Fails a write that makes no progress for `patience`, or too little over a longer time.
pub(super) struct WriteTimeout<S> {
    stream: S,
    connection: Arc<Connection>,
    patience: Duration,
    pace: Pace,
    /// Runs while a write waits for the client.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>, patience: Duration) -> Self {
        Self {
            stream,
            connection,
            patience,
            pace: Pace::default(),
            waiting: None,
        }
    }

    /// Watches a write of data, and measures its rate.
    fn watch_data(&mut self, progress: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let progress = self.watch(progress, context);
        if let Poll::Ready(Ok(bytes)) = progress
            && !self.pace.keeps(bytes, self.patience)
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client reads too slowly",
            )));
        }
        progress
    }

    fn watch<T>(&mut self, progress: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            if self.waiting.take().is_some() {
                self.connection.set_stalled(false);
                self.pace.resume();
            }
            return progress;
        }
        self.connection.set_stalled(true);
        self.pace.stall();
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        waiting.as_mut().reset(Instant::now() + patience);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no data")))
    }
}

/// The rate of a client while writes wait for it. Time in which it has nothing to read does not count.
#[derive(Debug, Default)]
struct Pace {
    stalled_since: Option<Instant>,
    stalled: Duration,
    bytes: u64,
}

impl Pace {
    fn stall(&mut self) {
        self.stalled_since.get_or_insert_with(Instant::now);
    }

    fn resume(&mut self) {
        if let Some(since) = self.stalled_since.take() {
            self.stalled += since.elapsed();
        }
    }

    /// Counts bytes that were written. Returns `false` if writes waited longer than `patience` in total, for too few
    /// bytes.
    fn keeps(&mut self, bytes: usize, patience: Duration) -> bool {
        self.bytes += bytes as u64;
        if self.stalled < patience {
            return true;
        }
        let enough = u128::from(self.bytes) * 1_000 >= u128::from(MIN_BYTES_PER_SECOND) * self.stalled.as_millis();
        *self = Self::default();
        enough
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let progress = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.received();
        }
        progress
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, data);
        self.watch_data(progress, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.watch_data(progress, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(progress, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(progress, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_connection_whose_client_reads_nothing_ends() {
        let (server, mut client) = duplex(8);
        let connection = Arc::new(Connection::new(None, Arc::default()));
        let mut server = WriteTimeout::new(server, connection, Duration::from_millis(20));
        server.write_all(b"12345678").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
        server.write_all(b"1234").await.unwrap();
        let stalled = server.write_all(b"5").await.unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
    }

    /// Writes 100 KB to a client that reads that many bytes at a time with pauses between; returns whether all of it was
    /// written.
    async fn write_to_reader(bytes: usize, pause: Duration) -> bool {
        let (server, mut client) = duplex(1_000);
        let connection = Arc::new(Connection::new(None, Arc::default()));
        let mut server = WriteTimeout::new(server, connection, Duration::from_secs(30));
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; bytes];
            while client.read_exact(&mut buffer).await.is_ok() {
                sleep(pause).await;
            }
        });
        let written = server.write_all(&[0; 100_000]).await;
        reading.abort();
        written.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_hardly_anything_is_disconnected_and_a_slow_one_is_not() {
        assert!(!write_to_reader(1_000, Duration::from_secs(29)).await);
        assert!(!write_to_reader(100, Duration::from_secs(1)).await);
        assert!(write_to_reader(1_000, Duration::from_millis(900)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_between_responses_does_not_count() {
        let mut pace = Pace::default();
        for _ in 0..2 {
            pace.stall();
            sleep(Duration::from_secs(1)).await;
            pace.resume();
            sleep(Duration::from_secs(1_000)).await;
        }
        assert!(pace.keeps(0, Duration::from_secs(30)));
        assert_eq!(pace.stalled.as_secs(), 2);
    }
}
