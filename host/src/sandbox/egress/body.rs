//! The body of a response, with the limits of its attempt.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::model::LogLevel;
use crate::sandbox::activity::{lock, log::ActivityLog};

use crate::grants::RequestGroup;

use super::{connection::HttpConnection, connection::Reuse, pool::Pool, request::OpenRequest};

/// The bytes of responses that an attempt may still read.
#[derive(Debug)]
pub(super) struct ResponseBudget {
    limit: u64,
    left: AtomicU64,
    log: Arc<Mutex<ActivityLog>>,
}

impl ResponseBudget {
    pub(super) fn new(limit: u64, log: Arc<Mutex<ActivityLog>>) -> Arc<Self> {
        let left = AtomicU64::new(limit);
        Arc::new(Self { limit, left, log })
    }

    fn take(&self, bytes: u64) -> Result<(), Error> {
        let Self { limit, left, log } = self;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| {
            let message = format!("a response was cut off: an attempt may receive {limit} bytes");
            lock(log).line(LogLevel::Warn, &message);
            Error::HttpResponseBodySize(Some(*limit))
        })
    }
}

/// The connection of a response.
pub(super) struct Borrowed {
    pub(super) connection: HttpConnection,
    pub(super) reuse: Reuse,
    /// The pool to which it returns after the response was read.
    pub(super) pool: Arc<Pool>,
    pub(super) group: Arc<RequestGroup>,
}

impl Borrowed {
    /// Returns the connection to the pool if both sides can use it again. Otherwise it is closed.
    fn give_back(self) {
        if self.reuse.is_possible() {
            self.pool.put(&self.group, self.connection);
        }
    }
}

/// A body that ends with an error when the budget is used up, or when no data arrives for too long. The request counts as
/// open until this is dropped.
pub(super) struct LimitedBody {
    incoming: Incoming,
    /// Closed if the body is dropped before it was read completely.
    borrowed: Option<Borrowed>,
    budget: Arc<ResponseBudget>,
    patience: Duration,
    impatience: Pin<Box<Sleep>>,
    _open: OpenRequest,
}

impl LimitedBody {
    pub(super) fn boxed(
        incoming: Incoming,
        borrowed: Borrowed,
        budget: Arc<ResponseBudget>,
        patience: Duration,
        open: OpenRequest,
    ) -> WasiBody {
        Self {
            incoming,
            borrowed: Some(borrowed),
            budget,
            patience,
            impatience: Box::pin(sleep(patience)),
            _open: open,
        }
        .boxed_unsync()
    }
}

impl LimitedBody {
    /// Called when the body was read completely.
    fn end(&mut self) {
        if let Some(borrowed) = self.borrowed.take() {
            borrowed.give_back();
        }
    }
}

impl Drop for LimitedBody {
    fn drop(&mut self) {
        // If the body is empty, the guest may not have polled it to its end.
        if self.incoming.is_end_stream() {
            self.end();
        }
    }
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(context) {
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::Hyper(error)))),
            Poll::Ready(Some(Ok(frame))) => {
                this.impatience.as_mut().reset(Instant::now() + this.patience);
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                let frame = this.budget.take(bytes).map(|()| frame);
                // After trailers, the body is not polled again.
                if frame.as_ref().is_ok_and(Frame::is_trailers) {
                    this.end();
                }
                Poll::Ready(Some(frame))
            }
            Poll::Pending => {
                ready!(this.impatience.as_mut().poll(context));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
