//! The body of a request, which a guest streams.
//!
//! A guest may open a body and write nothing to it, and a connection may turn out to be closed before any of the body was
//! sent. So the body can be peeked at before it is sent, and sent again as long as no part of it was read.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

/// A body that was not sent yet, or may have to be sent again.
pub(super) struct RequestBody(Arc<Mutex<State>>);

struct State {
    /// `None` at its end, and after a connection that read a part of it was dropped.
    body: Option<WasiBody>,
    /// The first frame, if it was peeked at and not read yet.
    first: Option<Result<Frame<Bytes>, Error>>,
    /// Whether any frame was read.
    begun: bool,
}

/// The body while a connection sends it.
pub(super) struct Sending {
    state: Arc<Mutex<State>>,
    done: Done,
}

/// Whether a connection has finished with a body.
#[derive(Debug, Clone, Default)]
pub(super) struct Done(Arc<AtomicBool>);

impl Done {
    pub(super) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl RequestBody {
    pub(super) fn new(body: WasiBody) -> Self {
        Self(Arc::new(Mutex::new(State {
            body: Some(body),
            first: None,
            begun: false,
        })))
    }

    /// Whether the body has ended and is empty. False as long as the guest may still write to it.
    pub(super) fn is_empty(&self) -> bool {
        // No waker is needed: the connection that sends the body polls again.
        let looked = lock(&self.0).poll_is_empty(&mut Context::from_waker(Waker::noop()));
        matches!(looked, Poll::Ready(true))
    }

    /// Waits until the body has a byte or ends, for at most `time`. Returns whether it ended without a byte.
    pub(super) async fn is_empty_within(&self, time: Duration) -> bool {
        let looked = poll_fn(|context| lock(&self.0).poll_is_empty(context));
        timeout(time, looked).await.unwrap_or(false)
    }

    /// Whether no part of it was read, so that it can be sent again.
    pub(super) fn is_untouched(&self) -> bool {
        !lock(&self.0).begun
    }

    /// Returns the body for a connection, and a flag that is set when the connection has finished with it.
    pub(super) fn send(&self) -> (Sending, Done) {
        let done = Done::default();
        let sending = Sending {
            state: self.0.clone(),
            done: done.clone(),
        };
        (sending, done)
    }
}

impl State {
    /// Whether the body is empty, once it has begun or ended.
    fn poll_is_empty(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.begun || self.first.is_some() {
            return Poll::Ready(false);
        }
        let first = ready!(self.poll_body(context));
        let is_empty = first.is_none();
        self.first = first;
        Poll::Ready(is_empty)
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.body = None;
        }
        frame
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = lock(&self.state);
        let frame = match state.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => state.poll_body(context),
        };
        state.begun |= matches!(frame, Poll::Ready(Some(_)));
        frame
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.state);
        state.first.is_none() && state.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let state = lock(&self.state);
        match (&state.first, &state.body) {
            (None, Some(body)) => body.size_hint(),
            (None, None) => SizeHint::with_exact(0),
            // The size hint of the body does not include the first frame.
            (Some(_), _) => SizeHint::default(),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        // If a part was read, the rest is useless: drop the body, so that the guest notices. Otherwise it may be sent over
        // another connection.
        if state.begun {
            state.body = None;
        }
        self.done.0.store(true, Relaxed);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Poisoning is ignored: a panic during a poll leaves at worst a body that ends early, which its connection notices.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::stream::poll_fn;
    use http_body_util::{BodyExt, Empty, Full, StreamBody};
    use tokio::{sync::mpsc, task::yield_now};

    use super::*;

    fn whole(bytes: &'static str) -> RequestBody {
        let body = Full::new(Bytes::from(bytes)).map_err(|never| match never {});
        RequestBody::new(body.boxed_unsync())
    }

    fn streamed() -> (mpsc::UnboundedSender<&'static str>, RequestBody) {
        let (guest, mut written) = mpsc::unbounded_channel();
        let frames = poll_fn(move |context| {
            let bytes = written.poll_recv(context);
            bytes.map(|bytes| bytes.map(|bytes: &str| Ok(Frame::data(Bytes::from(bytes)))))
        });
        (guest, RequestBody::new(StreamBody::new(frames).boxed_unsync()))
    }

    async fn sent(body: &RequestBody) -> Bytes {
        body.send().0.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_that_ends_without_a_byte_is_empty() {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        assert!(RequestBody::new(empty).is_empty());
        let (guest, body) = streamed();
        assert!(!body.is_empty(), "the guest may still write");
        assert!(!body.is_empty_within(Duration::from_millis(1)).await);
        let ends = async {
            yield_now().await;
            drop(guest);
        };
        let (is_empty, ()) = tokio::join!(body.is_empty_within(Duration::from_secs(60)), ends);
        assert!(is_empty && body.is_empty() && body.send().0.is_end_stream());
    }

    #[tokio::test]
    async fn peeking_at_a_body_consumes_nothing() {
        let body = whole("abc");
        assert!(!body.is_empty() && !body.is_empty());
        assert!(body.is_untouched() && !body.send().0.is_end_stream());
        assert_eq!(sent(&body).await, "abc");
        assert!(!body.is_untouched());
    }

    #[tokio::test]
    async fn an_untouched_body_can_be_sent_over_another_connection() {
        let body = whole("abc");
        let (sending, done) = body.send();
        assert!(!done.get());
        drop(sending);
        assert!(done.get() && body.is_untouched());
        assert_eq!(sent(&body).await, "abc");
    }

    #[tokio::test]
    async fn the_guest_notices_when_its_body_is_dropped() {
        let (guest, body) = streamed();
        guest.send("abc").unwrap();
        let (mut sending, _) = body.send();
        sending.frame().await.unwrap().unwrap();
        drop(sending);
        assert!(guest.is_closed());
    }
}
