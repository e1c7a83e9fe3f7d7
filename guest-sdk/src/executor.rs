//! The executor: drives one orchestration's future over task ids and completions.
//!
//! It hands over ONE completion at a time, in the order the host recorded them, and polls until nothing moves before
//! it hands over the next. So a future sees the same order of events however the host cut them into turns, and
//! `select!` over two tasks that ended in one turn picks the one that ended first. Ordered maps only: iteration order
//! must not depend on hashing. It knows no imports; see [`backend`](crate::backend).

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::LocalBoxFuture;

use crate::backend::{Backend, Completion, ExecutionInfo, Outcome, TaskId};
use crate::failure::{Failure, Result};
use crate::logging::{self, Level};
use crate::orchestration::call::Request;

/// What the futures of one execution share.
pub(crate) struct Core {
    backend: Box<dyn Backend>,
    info: OnceCell<ExecutionInfo>,
    tasks: RefCell<BTreeMap<TaskId, Slot>>,
    /// Calls made but not yet handed to the host, so that their options could still be set; in order.
    drafts: RefCell<VecDeque<Rc<RefCell<Request>>>>,
    /// Set by a mistake of the author that no future can report.
    broken: RefCell<Option<Failure>>,
    /// After the end nothing more is asked of the host, whatever is dropped then.
    ended: Cell<bool>,
}

enum Slot {
    Waiting(Option<Waker>),
    Done(Outcome),
}

impl Core {
    pub(crate) fn new(backend: Box<dyn Backend>) -> Rc<Self> {
        Rc::new(Self {
            backend,
            info: OnceCell::new(),
            tasks: RefCell::default(),
            drafts: RefCell::default(),
            broken: RefCell::default(),
            ended: Cell::new(false),
        })
    }

    /// The host, after all calls made so far were handed to it: it sees everything in the order of the code.
    pub(crate) fn host(&self) -> &dyn Backend {
        self.hand_over_drafts();
        &*self.backend
    }

    /// The host, for questions whose answer and effect do not depend on the order of scheduling.
    pub(crate) fn host_unordered(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(crate) fn info(&self) -> &ExecutionInfo {
        self.info.get_or_init(|| self.backend.info())
    }

    /// Ends the execution with this failure at the next chance.
    pub(crate) fn break_with(&self, failure: Failure) {
        self.broken.borrow_mut().get_or_insert(failure);
    }

    pub(crate) fn add_draft(&self, request: Rc<RefCell<Request>>) {
        self.drafts.borrow_mut().push_back(request);
    }

    pub(crate) fn hand_over_drafts(&self) {
        loop {
            let next = self.drafts.borrow_mut().pop_front();
            let Some(request) = next else { return };
            let task = request.borrow_mut().hand_over(&*self.backend);
            if let Some(task) = task {
                self.expect(task);
            }
        }
    }

    /// Begins to listen for a task's completion.
    pub(crate) fn expect(&self, task: TaskId) {
        self.tasks.borrow_mut().insert(task, Slot::Waiting(None));
    }

    /// The outcome of a task, once; the task is forgotten with it.
    pub(crate) fn poll_task(&self, task: TaskId, cx: &Context<'_>) -> Poll<Outcome> {
        let mut tasks = self.tasks.borrow_mut();
        match tasks.get_mut(&task) {
            Some(Slot::Waiting(waker)) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Slot::Done(_)) | None => match tasks.remove(&task) {
                Some(Slot::Done(outcome)) => Poll::Ready(outcome),
                _ => Poll::Pending,
            },
        }
    }

    /// No longer listens for a task that goes on without its future.
    pub(crate) fn forget(&self, task: TaskId) {
        self.tasks.borrow_mut().remove(&task);
    }

    /// Takes a timer or an event wait back.
    pub(crate) fn withdraw(&self, task: TaskId) {
        self.forget(task);
        if !self.ended.get() {
            self.host().cancel_task(task);
        }
    }

    fn complete(&self, completion: Completion) {
        let mut tasks = self.tasks.borrow_mut();
        // A task whose future was dropped is not listened for.
        let Some(slot @ Slot::Waiting(_)) = tasks.get_mut(&completion.task) else {
            return;
        };
        if let Slot::Waiting(Some(waker)) = std::mem::replace(slot, Slot::Done(completion.outcome)) {
            drop(tasks);
            waker.wake();
        }
    }
}

impl logging::Sink for Core {
    fn log(&self, level: Level, message: &str) {
        self.backend.log(level, message);
    }
}

/// One execution of an orchestration.
pub(crate) struct Execution {
    future: Option<LocalBoxFuture<'static, Result<String>>>,
    core: Rc<Core>,
    arrived: VecDeque<Completion>,
    woken: Arc<Woken>,
    waker: Waker,
}

/// Where an execution stands when it has done all it can.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It waits for completions.
    Waiting,
    /// It ended. After continue-as-new the payload means nothing.
    Finished(Outcome),
}

impl Execution {
    /// Runs nothing yet.
    pub(crate) fn new(core: Rc<Core>, future: impl Future<Output = Result<String>> + 'static) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        Self {
            future: Some(Box::pin(future)),
            core,
            arrived: VecDeque::new(),
            woken,
            waker,
        }
    }

    /// Takes completions, to be handed over one at a time.
    pub(crate) fn deliver(&mut self, completions: impl IntoIterator<Item = Completion>) {
        self.arrived.extend(completions);
    }

    /// Runs until nothing moves and every completion was handed over.
    ///
    /// # Panics
    /// When called again after the end.
    pub(crate) fn advance(&mut self) -> Progress {
        let _logging = logging::enter(self.core.clone());
        loop {
            if self.woken.take() {
                if let Some(outcome) = self.poll() {
                    return Progress::Finished(outcome);
                }
            } else if let Some(completion) = self.arrived.pop_front() {
                self.core.complete(completion);
            } else {
                return Progress::Waiting;
            }
        }
    }

    fn poll(&mut self) -> Option<Outcome> {
        let future = self.future.as_mut().expect("the execution has not ended");
        let polled = future.as_mut().poll(&mut Context::from_waker(&self.waker));
        let broken = self.core.broken.borrow_mut().take();
        let outcome = match (broken, polled) {
            (Some(failure), _) => Err(failure),
            (None, Poll::Pending) => {
                self.core.hand_over_drafts();
                return None;
            }
            (None, Poll::Ready(outcome)) => {
                self.core.hand_over_drafts();
                outcome
            }
        };
        self.end();
        Some(match outcome {
            Err(failure) if failure.is_continue_as_new() => Ok("null".into()),
            outcome => outcome,
        })
    }

    /// Ends the execution: what is dropped from now on asks nothing of the host.
    fn end(&mut self) {
        self.core.ended.set(true);
        self.future = None;
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the future asked to be polled. Atomic only because wakers must be.
struct Woken(AtomicBool);

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
