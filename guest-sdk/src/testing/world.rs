//! [`World`]: the simulated host, and its loop over virtual time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::activity::Attempt as AttemptInfo;
use crate::backend::Outcome;
use crate::executor::{Core, Execution, Progress};
use crate::failure::{Failure, Result, failure_types};
use crate::function::{
    ActivityFunction, ActivitySignature, OrchestrationFunction, OrchestrationSignature, run_orchestration,
};
use crate::http::{Request, Response, scripted};
use crate::orchestration::Orchestration;
use crate::payload::{decode, encode};
use crate::retry::ActivityOptions;
use crate::time::Timestamp;

use super::host::{MAX_PAYLOAD_BYTES, SimulatedHost};
use super::instance::{Call, Happening, Index, Instance, Place, State};
use super::retries::wait_before_next;
use super::run::{End, Run};
use super::script::{Attempt, Run as ScriptRun, Script};

/// When a world begins unless told otherwise: 2026-01-01T00:00:00Z.
const DEFAULT_START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// How many executions of the instance are followed unless told otherwise.
const DEFAULT_MAX_EXECUTIONS: u32 = 10;

/// How much may happen before a test is taken for endless.
const MAX_HAPPENINGS: u64 = 1_000_000;

/// A simulated host: say what there is, then [`run`](World::run) an orchestration.
pub struct World {
    functions: Functions,
    start: Timestamp,
    instance_id: String,
    max_executions: u32,
    events: Vec<(Duration, Option<String>, String, String)>,
    http: Option<Rc<scripted::Answer>>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// An empty world in 2026, in which nothing happens.
    pub fn new() -> Self {
        Self {
            functions: Functions::default(),
            start: DEFAULT_START,
            instance_id: "test".into(),
            max_executions: DEFAULT_MAX_EXECUTIONS,
            events: Vec::new(),
            http: None,
        }
    }

    /// Says what an activity does. The script is run for every attempt; it may be of any length in virtual time, see
    /// [`Attempt::takes`].
    #[must_use]
    pub fn activity<A: ActivitySignature>(
        mut self,
        activity: A,
        script: impl FnMut(&Attempt<A::Input>) -> Result<A::Output> + 'static,
    ) -> Self {
        let _ = activity;
        self.functions
            .activities
            .insert(A::NAME.into(), Script::of(A::default_options(), script));
        self
    }

    /// Says what the activity of that name does.
    #[must_use]
    pub fn activity_named<I: DeserializeOwned, O: Serialize>(
        mut self,
        name: &str,
        script: impl FnMut(&Attempt<I>) -> Result<O> + 'static,
    ) -> Self {
        self.functions
            .activities
            .insert(name.into(), Script::of(ActivityOptions::default(), script));
        self
    }

    /// Really runs an activity. Its HTTP requests are answered by [`http`](Self::http).
    #[must_use]
    pub fn real_activity<A: ActivityFunction>(mut self, activity: A) -> Self {
        let _ = activity;
        self.functions
            .activities
            .insert(A::NAME.into(), Script::of_function::<A>());
        self
    }

    /// Says what a sub-orchestration does.
    #[must_use]
    pub fn sub_orchestration<O: OrchestrationSignature>(
        mut self,
        orchestration: O,
        script: impl FnMut(&Attempt<O::Input>) -> Result<O::Output> + 'static,
    ) -> Self {
        let _ = orchestration;
        self.functions
            .children
            .insert(O::NAME.into(), Script::of(ActivityOptions::default(), script));
        self
    }

    /// Says what the sub-orchestration of that name does.
    #[must_use]
    pub fn sub_orchestration_named<I: DeserializeOwned, O: Serialize>(
        mut self,
        name: &str,
        script: impl FnMut(&Attempt<I>) -> Result<O> + 'static,
    ) -> Self {
        self.functions
            .children
            .insert(name.into(), Script::of(ActivityOptions::default(), script));
        self
    }

    /// Really runs a sub-orchestration, or one that is started by the orchestration.
    #[must_use]
    pub fn orchestration<O: OrchestrationFunction>(mut self, orchestration: O) -> Self {
        let _ = orchestration;
        self.functions
            .orchestrations
            .insert(O::NAME.into(), run_orchestration::<O>);
        self
    }

    /// Raises an event for the instance after that time.
    ///
    /// # Panics
    /// If the event cannot be written as JSON.
    #[must_use]
    pub fn event(self, after: Duration, name: &str, event: &(impl Serialize + ?Sized)) -> Self {
        self.event_to(after, None, name, event)
    }

    /// Raises an event for another instance after that time.
    ///
    /// # Panics
    /// If the event cannot be written as JSON.
    #[must_use]
    pub fn event_for(self, instance_id: &str, after: Duration, name: &str, event: &(impl Serialize + ?Sized)) -> Self {
        self.event_to(after, Some(instance_id.into()), name, event)
    }

    fn event_to(
        mut self,
        after: Duration,
        instance_id: Option<String>,
        name: &str,
        event: &(impl Serialize + ?Sized),
    ) -> Self {
        let payload = encode("the event cannot be written", event).expect("an event that can be written as JSON");
        self.events.push((after, instance_id, name.into(), payload));
        self
    }

    /// Answers the HTTP requests of activities that really run.
    #[must_use]
    pub fn http(mut self, answer: impl Fn(&Request) -> Result<Response> + 'static) -> Self {
        self.http = Some(Rc::new(answer));
        self
    }

    /// The virtual time at which it begins.
    #[must_use]
    pub fn starting_at(mut self, time: impl Into<Timestamp>) -> Self {
        self.start = time.into();
        self
    }

    /// The instance's id; `test` unless set.
    #[must_use]
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.instance_id = id.into();
        self
    }

    /// How many executions are followed through continue-as-new; 10 unless set.
    #[must_use]
    pub fn max_executions(mut self, executions: u32) -> Self {
        self.max_executions = executions;
        self
    }

    /// Runs an orchestration until it ends or nothing more can happen.
    ///
    /// # Panics
    /// If the orchestration or a script panics, or if the orchestration calls something that the world does not know.
    pub fn run<O: OrchestrationFunction>(self, orchestration: O, input: &O::Input) -> Run<O::Output> {
        let world = self.orchestration(orchestration);
        let input = encode("the input cannot be written", input).expect("an input that can be written as JSON");
        let http = world.http.clone();
        let run = || Simulation::new(world).run(O::NAME, &input);
        match http {
            Some(answer) => scripted::with(answer, run),
            None => run(),
        }
    }
}

type Body = fn(Orchestration, &str) -> LocalBoxFuture<'static, Result<String>>;

/// What there is to call.
#[derive(Default)]
pub(super) struct Functions {
    activities: BTreeMap<String, Script>,
    children: BTreeMap<String, Script>,
    orchestrations: BTreeMap<String, Body>,
}

impl Functions {
    pub(super) fn activity(&self, name: &str) -> &Script {
        self.activities
            .get(name)
            .unwrap_or_else(|| panic!("the orchestration calls the activity `{name}`, which this test does not script"))
    }

    pub(super) fn is_orchestration(&self, name: &str) -> bool {
        self.orchestrations.contains_key(name)
    }

    fn body(&self, name: &str) -> Body {
        *self.orchestrations.get(name).unwrap_or_else(|| {
            panic!("the orchestration calls the sub-orchestration `{name}`, which this test does not script")
        })
    }

    /// Adds an instance and lets it run next.
    pub(super) fn start_instance(
        self: &Rc<Self>,
        state: &Rc<RefCell<State>>,
        id: String,
        name: &str,
        input: &str,
        parent: Option<(Place, u32)>,
    ) -> Index {
        let mut borrowed = state.borrow_mut();
        let mut instance = Instance::new(id, name, input, borrowed.now);
        instance.parent = parent;
        borrowed.instances.push(instance);
        let index = borrowed.instances.len() - 1;
        drop(borrowed);
        self.start_execution(state, index);
        index
    }

    fn start_execution(self: &Rc<Self>, state: &Rc<RefCell<State>>, index: Index) {
        let host = SimulatedHost {
            state: state.clone(),
            functions: self.clone(),
            instance: index,
        };
        let core = Core::new(Box::new(host));
        let mut state = state.borrow_mut();
        let instance = &mut state.instances[index];
        let body = self.body(&instance.function);
        let future = body(Orchestration::new(core.clone()), &instance.input);
        instance.guest = Some(Execution::new(core, future));
        state.runnable.push_back(index);
    }
}

/// A world at work.
struct Simulation {
    functions: Rc<Functions>,
    state: Rc<RefCell<State>>,
    instance_id: String,
    max_executions: u32,
    start: Timestamp,
}

/// The instance that the test is about.
const ROOT: Index = 0;

impl Simulation {
    fn new(world: World) -> Self {
        let mut state = State::new(world.start);
        for (after, instance_id, name, payload) in world.events {
            let instance_id = instance_id.unwrap_or_else(|| world.instance_id.clone());
            state.at(
                world.start + after,
                Happening::EventComes {
                    instance_id,
                    name,
                    payload,
                },
            );
        }
        Self {
            functions: Rc::new(world.functions),
            state: Rc::new(RefCell::new(state)),
            instance_id: world.instance_id,
            max_executions: world.max_executions,
            start: world.start,
        }
    }

    fn run<O: DeserializeOwned>(self, name: &str, input: &str) -> Run<O> {
        self.functions
            .start_instance(&self.state, self.instance_id.clone(), name, input, None);
        loop {
            self.settle();
            if self.state.borrow().instances[ROOT].outcome.is_some() || !self.let_something_happen() {
                return self.report();
            }
        }
    }

    /// Runs all guests that have something new to see.
    fn settle(&self) {
        loop {
            let next = self.state.borrow_mut().runnable.pop_front();
            let Some(index) = next else { return };
            self.run_guest(index);
            let ended = std::mem::take(&mut self.state.borrow_mut().ended_guests);
            drop(ended);
        }
    }

    fn run_guest(&self, index: Index) {
        let Some(mut guest) = self.state.borrow_mut().instances[index].guest.take() else {
            return;
        };
        loop {
            let arrivals = std::mem::take(&mut self.state.borrow_mut().instances[index].arrivals);
            guest.deliver(arrivals);
            match guest.advance() {
                Progress::Finished(outcome) => return self.finish(index, outcome),
                Progress::Waiting if self.state.borrow().instances[index].arrivals.is_empty() => break,
                Progress::Waiting => {}
            }
        }
        if self.state.borrow().instances[index].is_waiting() {
            self.state.borrow_mut().instances[index].guest = Some(guest);
        } else {
            drop(guest);
            let message = "it waits, but nothing that it asked for is outstanding";
            self.finish(index, Err(Failure::new(failure_types::WAITS_FOR_NOTHING, message)));
        }
    }

    /// Ends an execution, and with it the instance unless it continues as new.
    fn finish(&self, index: Index, outcome: Outcome) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        let instance = &mut state.instances[index];
        if outcome.is_ok()
            && let Some(input) = instance.next_input.take()
        {
            instance.events.begin_next_execution();
            instance.tasks.clear();
            instance.arrivals.clear();
            instance.input = input;
            instance.last_task = 0;
            if index == ROOT && instance.execution >= self.max_executions {
                // The report finds neither a guest nor an outcome.
                return;
            }
            instance.execution += 1;
            instance.started = now;
            drop(state);
            return self.functions.start_execution(&self.state, index);
        }
        instance.outcome = Some(outcome.clone());
        let parent = instance.parent;
        if let Some((place, attempt)) = parent {
            drop(state);
            self.end_attempt(place, attempt, outcome);
        }
    }

    /// Jumps to the next happening; false if there is none.
    fn let_something_happen(&self) -> bool {
        let mut state = self.state.borrow_mut();
        assert!(
            state.happenings < MAX_HAPPENINGS,
            "so much happens that the orchestration may never end"
        );
        let Some(((time, _), happening)) = state.agenda.pop_first() else {
            return false;
        };
        // A stale timer must not move the clock of a world in which nothing else happens.
        if state.is_stale(&happening) {
            return true;
        }
        state.now = time;
        drop(state);
        self.happen(happening);
        true
    }

    fn happen(&self, happening: Happening) {
        match happening {
            Happening::TimerFires(place) => self.state.borrow_mut().complete(place, Ok("null".into())),
            Happening::AttemptStarts(place, attempt) => self.start_attempt(place, attempt),
            Happening::AttemptEnds(place, attempt, outcome) => self.end_attempt(place, attempt, outcome),
            Happening::CallTimesOut(place) => self.time_out(place),
            Happening::EventComes {
                instance_id,
                name,
                payload,
            } => {
                let mut state = self.state.borrow_mut();
                let Some(index) = state.alive(&instance_id) else { return };
                if let Some(task) = state.instances[index].events.raise(&name, payload) {
                    state.event_arrives(index, task);
                }
            }
        }
    }

    fn start_attempt(&self, place: Place, attempt: u32) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        let Some(call) = state.call(place) else { return };
        call.attempt = attempt;
        let Call {
            is_child,
            name,
            input,
            instance_id,
            attempt_timeout,
            record,
            ..
        } = call;
        let (is_child, name, input, record) = (*is_child, name.clone(), input.clone(), *record);
        let (instance_id, attempt_timeout) = (instance_id.clone(), *attempt_timeout);
        state.calls[record].attempts = attempt;
        let caller = &state.instances[place.instance];
        let key = format!("{}/{}/{}", caller.id, place.execution, place.task);
        let info = AttemptInfo {
            instance_id: caller.id.clone(),
            execution: place.execution,
            function: name.clone(),
            attempt,
            idempotency_key: key.clone(),
            deadline_ms: attempt_timeout.map_or(u64::MAX, |timeout| (now + timeout).as_millis()),
            max_payload_bytes: MAX_PAYLOAD_BYTES,
        };
        drop(state);

        let script = match is_child {
            false => Some(self.functions.activity(&name)),
            true => self.functions.children.get(&name),
        };
        let Some(script) = script else {
            let id = instance_id.unwrap_or_else(|| format!("{key}/{attempt}"));
            let child = self
                .functions
                .start_instance(&self.state, id, &name, &input, Some((place, attempt)));
            if let Some(call) = self.state.borrow_mut().call(place) {
                call.child = Some(child);
            }
            return;
        };
        let host = SimulatedHost {
            state: self.state.clone(),
            functions: self.functions.clone(),
            instance: place.instance,
        };
        let ran = script.clone().run(ScriptRun {
            info,
            input,
            now,
            sink: Rc::new(host),
        });
        let (duration, outcome) = match attempt_timeout {
            Some(limit) if ran.duration > limit => (
                limit,
                Err(Failure::new(
                    failure_types::TIMEOUT,
                    format!("the attempt took longer than {limit:?}"),
                )),
            ),
            _ => (ran.duration, ran.outcome),
        };
        self.state
            .borrow_mut()
            .at(now + duration, Happening::AttemptEnds(place, attempt, outcome));
    }

    fn end_attempt(&self, place: Place, attempt: u32, outcome: Outcome) {
        let mut state = self.state.borrow_mut();
        let now = state.now;
        let Some(call) = state.call(place).filter(|call| call.attempt == attempt) else {
            return;
        };
        call.child = None;
        if let Err(failure) = &outcome
            && let Some(wait) = wait_before_next(call.retry.as_ref(), attempt, failure)
        {
            call.last_failure = Some(failure.clone());
            state.at(
                now + Duration::from_millis(wait),
                Happening::AttemptStarts(place, attempt + 1),
            );
            return;
        }
        state.complete(place, outcome);
    }

    fn time_out(&self, place: Place) {
        let mut state = self.state.borrow_mut();
        let Some(call) = state.call(place) else { return };
        let failure = Failure::new(failure_types::TIMEOUT, format!("`{}` did not end in time", call.name));
        let failure = match call.last_failure.take() {
            Some(last) => failure.caused_by(last),
            None => failure,
        };
        state.complete(place, Err(failure));
    }

    fn report<O: DeserializeOwned>(self) -> Run<O> {
        let is_waiting = self.state.borrow().instances[ROOT].guest.is_some();
        self.drop_guests();
        let mut state = self.state.borrow_mut();
        let elapsed = state.now - self.start;
        let root = &mut state.instances[ROOT];
        let end = match root.outcome.take() {
            Some(Ok(payload)) => match decode("the output is not of its type", &payload) {
                Ok(output) => End::Completed(output),
                Err(failure) => End::Failed(failure),
            },
            Some(Err(failure)) => End::Failed(failure),
            None if is_waiting => End::Waiting(root.waits()),
            None => End::ContinuedAsNew(serde_json::from_str(&root.input).unwrap_or_default()),
        };
        Run {
            end,
            elapsed,
            executions: root.execution,
            custom_statuses: std::mem::take(&mut root.custom_statuses),
            calls: std::mem::take(&mut state.calls),
            sent: std::mem::take(&mut state.sent),
            logs: std::mem::take(&mut state.logs),
        }
    }

    /// With nothing borrowed, since what a guest drops may ask for something.
    fn drop_guests(&self) {
        let mut state = self.state.borrow_mut();
        let guests: Vec<Execution> = state
            .instances
            .iter_mut()
            .filter_map(|instance| instance.guest.take())
            .collect();
        drop(state);
        drop(guests);
    }
}
