//! How much goes over the connections of an attempt: the bytes of HTTP, above TLS.
//!
//! Counted where they pass, so that nothing has to be estimated, and what was sent for nothing is in it too.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Counter;

use super::connect::Connection;

/// What outgoing requests sent and received, in bytes: heads and bodies, without what TLS and the network add.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

/// Counts the traffic of one attempt.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct TrafficMeter {
    sent: Counter,
    received: Counter,
}

impl TrafficMeter {
    /// What it has counted by now.
    pub(in crate::sandbox) fn read(&self) -> Traffic {
        Traffic {
            sent: self.sent.get(),
            received: self.received.get(),
        }
    }
}

/// A connection whose traffic is counted.
pub(super) struct Metered {
    connection: Box<dyn Connection>,
    meter: Arc<TrafficMeter>,
}

impl Metered {
    pub(super) fn new(connection: Box<dyn Connection>, meter: Arc<TrafficMeter>) -> Self {
        Self { connection, meter }
    }

    fn count_sent(&self, written: &io::Result<usize>) {
        let bytes = written.as_ref().map_or(0, |bytes| *bytes);
        self.meter.sent.add(bytes as u64);
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(context, buffer);
        self.meter.received.add((buffer.filled().len() - before) as u64);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.connection).poll_write(context, bytes));
        self.count_sent(&written);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.connection).poll_write_vectored(context, slices));
        self.count_sent(&written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}
