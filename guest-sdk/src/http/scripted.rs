//! The transport of native builds: requests are answered by a function that the test gave.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::body::Incoming;
use super::headers::Fields;
use super::response::Response;
use super::url::Url;
use super::{Request, wrong};
use crate::failure::Result;

/// Answers a request.
pub(crate) type Answer = dyn Fn(&Request) -> Result<Response>;

thread_local! {
    static ANSWER: RefCell<Option<Rc<Answer>>> = const { RefCell::new(None) };
}

/// Answers this thread's requests until the call returns.
pub(crate) fn with<T>(answer: Rc<Answer>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Rc<Answer>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ANSWER.set(self.0.take());
        }
    }
    let _restore = Restore(ANSWER.replace(Some(answer)));
    work()
}

pub(crate) async fn exchange(request: Request, _: Url, _: Fields) -> Result<Incoming> {
    let answer = ANSWER.with_borrow(Clone::clone);
    let answer = answer.ok_or_else(|| wrong("outside of the sandbox requests are answered by `testing::with_http`"))?;
    let response = answer(&request)?;
    Ok(Incoming::new(response.head, Body(Some(response.body))))
}

/// Never ends: scripted answers take no time.
pub(crate) async fn sleep(_: Duration) {
    std::future::pending().await
}

/// The whole body in one chunk.
pub(crate) struct Body(Option<Vec<u8>>);

impl Body {
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(self.0.take().filter(|body| !body.is_empty()))
    }
}
