//! Counts the traffic of an attempt: the bytes of HTTP, above TLS.
//!
//! Bytes are counted on the connection, so the numbers are exact, and include failed requests.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Counter;

use super::connect::Stream;

/// The traffic of outgoing requests in bytes: heads and bodies, without the overhead of TLS and the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// Counts the traffic of one attempt.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct TrafficMeter {
    sent: Counter,
    received: Counter,
}

impl TrafficMeter {
    /// The traffic counted so far.
    pub(in crate::sandbox) fn read(&self) -> Traffic {
        Traffic {
            sent: self.sent.get(),
            received: self.received.get(),
        }
    }
}

/// Counts the traffic of one connection for its current user.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counting>);

#[derive(Debug, Default)]
struct Counting {
    meter: Option<Arc<TrafficMeter>>,
    since: Traffic,
}

impl Tally {
    /// Starts again at zero, for this meter or for none.
    pub(super) fn count_for(&self, meter: Option<Arc<TrafficMeter>>) {
        let since = Traffic::default();
        *self.lock() = Counting { meter, since };
    }

    /// The traffic since the last call of [`count_for`](Self::count_for).
    pub(super) fn read(&self) -> Traffic {
        self.lock().since
    }

    fn count_sent(&self, bytes: usize) {
        let mut counting = self.lock();
        counting.since.sent += bytes as u64;
        if let Some(meter) = &counting.meter {
            meter.sent.add(bytes as u64);
        }
    }

    fn count_received(&self, bytes: usize) {
        let mut counting = self.lock();
        counting.since.received += bytes as u64;
        if let Some(meter) = &counting.meter {
            meter.received.add(bytes as u64);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose traffic is counted.
pub(super) struct Metered {
    stream: Box<dyn Stream>,
    tally: Arc<Tally>,
}

impl Metered {
    pub(super) fn new(stream: Box<dyn Stream>, tally: Arc<Tally>) -> Self {
        Self { stream, tally }
    }

    fn count_sent(&self, written: &io::Result<usize>) {
        self.tally.count_sent(written.as_ref().map_or(0, |bytes| *bytes));
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.tally.count_received(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.count_sent(&written);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices));
        self.count_sent(&written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
