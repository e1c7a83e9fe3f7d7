//! The transport of native builds: a function of the test handles the requests.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::body::Incoming;
use super::headers::Fields;
use super::response::Response;
use super::url::Url;
use super::{Request, wrong};
use crate::failure::Result;

/// The function that handles requests.
pub(crate) type Answer = dyn Fn(&Request) -> Result<Response>;

thread_local! {
    static HANDLER: RefCell<Option<Rc<Answer>>> = const { RefCell::new(None) };
}

/// Handles the requests of this thread with `handler` while `work` runs.
pub(crate) fn with<T>(handler: Rc<Answer>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Rc<Answer>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HANDLER.set(self.0.take());
        }
    }
    let _restore = Restore(HANDLER.replace(Some(handler)));
    work()
}

pub(crate) async fn exchange(request: Request, _: Url, _: Fields) -> Result<Incoming> {
    let handler = HANDLER.with_borrow(Clone::clone);
    let handler = handler.ok_or_else(|| wrong("HTTP requests outside of the sandbox need `testing::with_http`"))?;
    let response = handler(&request)?;
    Ok(Incoming::new(response.head, Body(Some(response.body))))
}

/// Never completes: scripted responses take no time, so no request times out.
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
