//! The event loop of an `async` activity, over `wasi:io/poll`.
//!
//! Orchestrations have their own executor; this one waits for real I/O. It is small because an activity is one future
//! on one thread: it keeps a list of pollables, each with the waker of the future that waits for it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a future to completion. The SDK runs `async` activities with it; a plain activity can use it for concurrent
/// requests.
///
/// # Panics
/// If the future waits for something that is not from this crate, because nothing could wake it. Outside of the
/// sandbox, in tests, such a future blocks forever.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        if !woken.0.swap(false, Ordering::Relaxed) {
            wait_for_any();
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn wait_for_any() {
    std::thread::park_timeout(std::time::Duration::from_millis(1));
}

#[cfg(target_arch = "wasm32")]
pub(crate) use pollables::ready;
#[cfg(target_arch = "wasm32")]
use pollables::wait_for_any;

#[cfg(target_arch = "wasm32")]
mod pollables {
    use std::cell::RefCell;
    use std::future::poll_fn;
    use std::rc::{Rc, Weak};
    use std::task::{Poll, Waker};

    use wasip2::io::poll::{self, Pollable};

    thread_local! {
        /// Weak, because dropping a future must drop its pollable, which must not outlive the stream it came from.
        static WAITING: RefCell<Vec<(Weak<Pollable>, Waker)>> = const { RefCell::new(Vec::new()) };
    }

    /// Waits until a pollable is ready.
    pub(crate) async fn ready(pollable: Pollable) {
        let pollable = Rc::new(pollable);
        poll_fn(|cx| {
            if pollable.ready() {
                return Poll::Ready(());
            }
            WAITING.with_borrow_mut(|waiting| waiting.push((Rc::downgrade(&pollable), cx.waker().clone())));
            Poll::Pending
        })
        .await;
    }

    /// Blocks until one of the pollables is ready, then wakes all futures. Those that must still wait register again.
    pub(super) fn wait_for_any() {
        let (waiting, wakers): (Vec<Weak<Pollable>>, Vec<Waker>) = WAITING.take().into_iter().unzip();
        let pollables: Vec<Rc<Pollable>> = waiting.iter().filter_map(Weak::upgrade).collect();
        assert!(
            !pollables.is_empty(),
            "the activity waits for something that cannot happen inside the sandbox"
        );
        poll::poll(&pollables.iter().map(|pollable| &**pollable).collect::<Vec<_>>());
        drop(pollables);
        wakers.iter().for_each(Waker::wake_by_ref);
    }
}
