//! The executor: drives one orchestration's future over task ids and completions.
//!
//! It delivers ONE completion at a time, in the order in which the host recorded them, and polls the future until it
//! makes no more progress before it delivers the next. So a future sees the same order of events however the host
//! divided them into turns, and `select!` over two tasks that ended in one turn picks the one that ended first. All maps
//! are ordered, because iteration order must not depend on hashing. The executor does not use the imports itself; see
//! [`backend`](crate::backend).

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::LocalBoxFuture;

use crate::backend::{Backend, Completion, ExecutionInfo, Outcome, TaskId};
use crate::entity::address::EntityId;
use crate::entity::client::Sender;
use crate::event_declaration::EventDeclaration;
use crate::failure::{Failure, Result};
use crate::logging::{self, Level};
use crate::time::Timestamp;

/// The state that all futures of one execution share.
pub(crate) struct Core {
    backend: Box<dyn Backend>,
    /// The events that the orchestration declares.
    pub(crate) events: &'static [EventDeclaration],
    info: OnceCell<ExecutionInfo>,
    tasks: RefCell<BTreeMap<TaskId, Slot>>,
    /// An error that no future can report, for example of a method without a result. It fails the execution.
    broken: RefCell<Option<Failure>>,
    /// Whether the execution has ended. Futures that are dropped after that must not call the host.
    ended: Cell<bool>,
}

enum Slot {
    Waiting(Option<Waker>),
    Done(Outcome),
}

impl Core {
    pub(crate) fn new(backend: Box<dyn Backend>, events: &'static [EventDeclaration]) -> Rc<Self> {
        Rc::new(Self {
            backend,
            events,
            info: OnceCell::new(),
            tasks: RefCell::default(),
            broken: RefCell::default(),
            ended: Cell::new(false),
        })
    }

    pub(crate) fn host(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(crate) fn info(&self) -> &ExecutionInfo {
        self.info.get_or_init(|| self.backend.info())
    }

    /// Fails the execution after the current poll.
    pub(crate) fn break_with(&self, failure: Failure) {
        self.broken.borrow_mut().get_or_insert(failure);
    }

    /// Registers a task whose completion a future awaits.
    pub(crate) fn expect(&self, task: TaskId) {
        self.tasks.borrow_mut().insert(task, Slot::Waiting(None));
    }

    /// Returns the outcome of a task, once, and removes the task.
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

    /// Removes a task that continues without its future.
    pub(crate) fn forget(&self, task: TaskId) {
        self.tasks.borrow_mut().remove(&task);
    }

    /// Withdraws a timer or an event wait.
    pub(crate) fn withdraw(&self, task: TaskId) {
        self.forget(task);
        if !self.ended.get() {
            self.host().cancel_task(task);
        }
    }

    /// Leaves a critical section, or withdraws the request for one.
    pub(crate) fn unlock(&self, task: TaskId) {
        self.forget(task);
        if !self.ended.get() {
            self.host().unlock_entities(task);
        }
    }

    fn complete(&self, completion: Completion) {
        let mut tasks = self.tasks.borrow_mut();
        // The future of this task was dropped, or the task has completed before.
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

impl Sender for Core {
    fn now(&self) -> Timestamp {
        Timestamp::from_host(self.backend.now_ms())
    }

    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, at_ms: Option<u64>) {
        self.backend.signal_entity(entity, operation, input, at_ms);
    }

    fn start_orchestration(&self, name: &str, input: &str, instance_id: Option<&str>) -> String {
        self.backend.start_orchestration(name, input, instance_id)
    }

    fn break_with(&self, failure: Failure) {
        self.break_with(failure);
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

/// The state of an execution that cannot make progress by itself.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It waits for completions.
    Waiting,
    /// It ended. After continue-as-new, the payload has no meaning.
    Finished(Outcome),
}

impl Execution {
    /// Creates an execution without polling the future.
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

    /// Queues completions, which [`advance`](Self::advance) delivers one at a time.
    pub(crate) fn deliver(&mut self, completions: impl IntoIterator<Item = Completion>) {
        self.arrived.extend(completions);
    }

    /// Polls the future until it makes no more progress and all completions are delivered.
    ///
    /// # Panics
    /// If the execution has ended.
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
            (None, Poll::Pending) => return None,
            (None, Poll::Ready(outcome)) => outcome,
        };
        self.end();
        Some(match outcome {
            Err(failure) if failure.is_continue_as_new() => Ok("null".into()),
            outcome => outcome,
        })
    }

    /// Ends the execution. Futures that are dropped from now on do not call the host.
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

/// Whether the future was woken. Atomic only because wakers must be `Sync`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestration::Orchestration;
    use crate::retry::{ActivityOptions, SubOrchestrationOptions};
    use crate::time::secs;

    /// Records the requests of the orchestration. The payload of every event is `true`.
    #[derive(Default)]
    struct Recorder {
        asked: Rc<RefCell<Vec<String>>>,
        last_task: Cell<TaskId>,
    }

    impl Recorder {
        fn ask(&self, what: String) -> TaskId {
            self.asked.borrow_mut().push(what);
            self.last_task.set(self.last_task.get() + 1);
            self.last_task.get()
        }
    }

    impl Backend for Recorder {
        fn info(&self) -> ExecutionInfo {
            unreachable!("these tests do not ask for it")
        }
        fn history(&self) -> crate::backend::HistorySize {
            crate::backend::HistorySize::default()
        }
        fn now_ms(&self) -> u64 {
            0
        }
        fn new_uuid(&self) -> String {
            String::new()
        }
        fn call_activity(&self, name: &str, _: &str, _: &ActivityOptions) -> TaskId {
            self.ask(format!("call {name}"))
        }
        fn call_sub_orchestration(&self, name: &str, _: &str, _: &SubOrchestrationOptions) -> TaskId {
            self.ask(format!("child {name}"))
        }
        fn start_orchestration(&self, _: &str, _: &str, _: Option<&str>) -> String {
            String::new()
        }
        fn send_event(&self, _: &str, _: &str, _: &str) {}
        fn create_timer(&self, at: u64) -> TaskId {
            self.ask(format!("timer {at}"))
        }
        fn wait_for_event(&self, name: &str) -> TaskId {
            self.ask(format!("wait {name}"))
        }
        fn take_event(&self, task: TaskId) -> Option<String> {
            self.asked.borrow_mut().push(format!("take {task}"));
            Some("true".into())
        }
        fn cancel_task(&self, task: TaskId) {
            self.asked.borrow_mut().push(format!("cancel {task}"));
        }
        fn wait_for_cancellation(&self) -> TaskId {
            self.ask("wait for cancellation".into())
        }
        fn cancellation_requested(&self) -> Option<String> {
            None
        }
        fn patched(&self, name: &str) -> bool {
            self.asked.borrow_mut().push(format!("patched {name}"));
            true
        }
        fn deprecate_patch(&self, name: &str) {
            self.asked.borrow_mut().push(format!("deprecate {name}"));
        }
        fn call_entity(&self, entity: &EntityId, operation: &str, _: &str) -> TaskId {
            self.ask(format!("call {operation} of {entity}"))
        }
        fn signal_entity(&self, entity: &EntityId, operation: &str, _: &str, _: Option<u64>) {
            self.asked.borrow_mut().push(format!("signal {operation} of {entity}"));
        }
        fn lock_entities(&self, entities: &[EntityId]) -> TaskId {
            self.ask(format!("lock {entities:?}"))
        }
        fn unlock_entities(&self, task: TaskId) {
            self.asked.borrow_mut().push(format!("unlock {task}"));
        }
        fn set_custom_status(&self, _: &str) {}
        fn continue_as_new(&self, _: &str) {}
        fn log(&self, _: Level, _: &str) {}
    }

    /// Delivers the completions of these tasks, turn by turn, and returns the recorded requests.
    fn asked<F: Future<Output = Result<String>> + 'static>(
        orchestration: impl FnOnce(Orchestration) -> F,
        turns: &[&[TaskId]],
    ) -> Vec<String> {
        let recorder = Recorder::default();
        let asked = recorder.asked.clone();
        let core = Core::new(Box::new(recorder), &[]);
        let mut execution = Execution::new(core.clone(), orchestration(Orchestration::new(core)));
        let mut progress = execution.advance();
        for turn in turns {
            if matches!(progress, Progress::Finished(_)) {
                break;
            }
            execution.deliver(turn.iter().map(|&task| Completion {
                task,
                outcome: Ok("null".into()),
            }));
            progress = execution.advance();
        }
        if let Progress::Finished(outcome) = progress {
            asked.borrow_mut().push(format!("end {outcome:?}"));
        }
        asked.take()
    }

    async fn remind(ctx: Orchestration) -> Result<String> {
        for round in 0..3 {
            futures::select_biased! {
                event = ctx.event::<bool>("go") => return Ok(format!("{} in round {round}", event?)),
                () = ctx.sleep(secs(round)) => drop(ctx.call_named::<()>("remind", &()).start()),
            }
        }
        Ok("never".into())
    }

    #[test]
    fn completions_have_the_same_effect_in_one_turn_and_in_several() {
        let expected = [
            "wait go",
            "timer 0",
            // The timer fired first, so the wait is withdrawn although its event has arrived. The event is given back.
            "cancel 1",
            "call remind",
            "wait go",
            "timer 1000",
            "take 4",
            "cancel 5",
            "end Ok(\"true in round 1\")",
        ];
        for turns in [
            &[&[2, 1, 4][..], &[3]][..],
            &[&[2][..], &[1], &[4]],
            &[&[2, 1][..], &[4, 5, 3]],
        ] {
            assert_eq!(asked(remind, turns), expected);
        }
    }

    #[test]
    fn the_first_completion_wins_a_race() {
        async fn race(ctx: Orchestration) -> Result<String> {
            futures::select_biased! {
                _ = ctx.call_named::<()>("a", &()).start() => Ok("a".into()),
                _ = ctx.call_named::<()>("b", &()).start() => Ok("b".into()),
            }
        }
        assert_eq!(asked(race, &[&[2, 1]]), ["call a", "call b", "end Ok(\"b\")"]);
    }

    #[test]
    fn a_future_that_wakes_itself_is_polled_again() {
        async fn yields(_: Orchestration) -> Result<String> {
            let mut left = 3;
            std::future::poll_fn(move |cx| {
                left -= 1;
                cx.waker().wake_by_ref();
                if left == 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            Ok("done".into())
        }
        assert_eq!(asked(yields, &[]), ["end Ok(\"done\")"]);
    }

    #[test]
    fn a_critical_section_is_left_once_whenever_it_is_dropped() {
        async fn section(ctx: Orchestration) -> Result<String> {
            let id = EntityId::new("Account", "ada");
            drop(ctx.lock(id.clone()));
            let section = ctx.lock(id.clone()).await?;
            drop(section);
            futures::select_biased! {
                section = ctx.lock(id.clone()) => drop(section?),
                () = ctx.sleep(secs(1)) => {}
            }
            std::mem::forget(ctx.lock(id.clone()).await);
            let _section = ctx.lock(id).await?;
            Ok("done".into())
        }
        let lock = "lock [@Account@ada]";
        let expected = [
            lock,
            "unlock 1",
            lock,
            "unlock 2",
            lock,
            "timer 1000",
            "unlock 3",
            lock,
            lock,
            "unlock 6",
            "end Ok(\"done\")",
        ];
        assert_eq!(asked(section, &[&[1, 2], &[4], &[5], &[6]]), expected);
    }
}
