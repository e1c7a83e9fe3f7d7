//! [`World`]: the configuration of a simulated host.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entity::address::{EntityAddress, EntityId};
use crate::entity::client::Signal;
use crate::entity::signature::{EntityClients, EntityEntry, EntityState};
use crate::event_declaration::EventName;
use crate::failure::Result;
use crate::function::{
    ActivityFunction, ActivitySignature, OrchestrationFunction, OrchestrationSignature, read_input, run_orchestration,
};
use crate::http::{Request, Response, scripted};
use crate::instance_id::InstanceId;
use crate::orchestration::Orchestration;
use crate::payload::encode;
use crate::retry::ActivityOptions;
use crate::time::{Timestamp, whole_millis};

use super::entities::{EntityCode, EntityOperation, NewSignal, Recorder, written};
use super::functions::{Body, Functions};
use super::run::Run;
use super::script::{Attempt, Script};
use super::simulation::Simulation;

/// The default virtual time at which a world begins: 2026-01-01T00:00:00Z.
pub(super) const DEFAULT_START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The default maximum number of executions of the instance.
const DEFAULT_MAX_EXECUTIONS: u32 = 10;

/// A simulated host: add functions and events, then [`run`](World::run) an orchestration.
pub struct World {
    pub(super) functions: Functions,
    pub(super) start: Timestamp,
    pub(super) instance_id: InstanceId,
    pub(super) max_executions: u32,
    pub(super) events: Vec<(Duration, Option<InstanceId>, String, String)>,
    pub(super) cancellations: Vec<(Duration, Option<InstanceId>, String)>,
    pub(super) states: Vec<(EntityId, String)>,
    pub(super) signals: Vec<(Duration, NewSignal)>,
    http: Option<Rc<scripted::Answer>>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("instance_id", &self.instance_id)
            .field("start", &self.start)
            .field("functions", &self.functions)
            .field("events", &self.events)
            .field("cancellations", &self.cancellations)
            .finish_non_exhaustive()
    }
}

impl World {
    /// Creates a world without functions and events, which begins in 2026.
    pub fn new() -> Self {
        Self {
            functions: Functions::default(),
            start: DEFAULT_START,
            instance_id: "test".into(),
            max_executions: DEFAULT_MAX_EXECUTIONS,
            events: Vec::new(),
            cancellations: Vec::new(),
            states: Vec::new(),
            signals: Vec::new(),
            http: None,
        }
    }

    /// Scripts an activity. The script runs for every attempt; [`Attempt::takes`] sets its virtual duration.
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

    /// Scripts the activity with that name.
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

    /// Adds an activity whose real code runs. The function given to [`http`](Self::http) handles its requests.
    #[must_use]
    pub fn real_activity<A: ActivityFunction>(mut self, activity: A) -> Self {
        let _ = activity;
        self.functions
            .activities
            .insert(A::NAME.into(), Script::of_function::<A>());
        self
    }

    /// Scripts a sub-orchestration.
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

    /// Scripts the sub-orchestration with that name.
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

    /// Adds an orchestration whose real code runs when it is called or started.
    #[must_use]
    pub fn orchestration<O: OrchestrationFunction>(mut self, orchestration: O) -> Self {
        let _ = orchestration;
        let body = Body {
            run: run_orchestration::<O>,
            check_input: |input| read_input::<O::Input>(O::TAKES_INPUT, input).map(drop),
            events: O::EVENTS,
        };
        self.functions.orchestrations.insert(O::NAME.into(), body);
        self
    }

    /// Adds an entity, whose real code runs.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::testing::World;
    /// # #[entity] #[payload] #[derive(Default)] struct Counter { count: i64 }
    /// # #[operations] impl Counter { fn add(&mut self, number: i64) -> i64 { self.count += number; self.count } }
    /// #[orchestrator]
    /// async fn count(ctx: Orchestration, number: i64) -> Result<i64> {
    ///     ctx.entity(Counter::at("visits")).add(&number).await
    /// }
    ///
    /// let run = World::new()
    ///     .entity::<Counter>()
    ///     .entity_state(Counter::at("visits"), &Counter { count: 40 })
    ///     .run(count, &2);
    /// assert_eq!(run.output(), &42);
    /// ```
    #[must_use]
    pub fn entity<E: EntityState>(mut self) -> Self {
        let code = EntityCode::Real(EntityEntry::of::<E>());
        self.functions.entities.insert(E::NAME.to_lowercase(), code);
        self
    }

    /// Scripts the entity with that name: the script applies operations to a state, which is `None` if the entity has
    /// none. What it does to the state counts if it returns an output.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::serde_json::json;
    /// # use windlass_sdk::testing::World;
    /// # windlass_sdk::signatures! { #[entity] trait Counter { fn add(number: i64) -> i64; } }
    /// #[orchestrator]
    /// async fn count(ctx: Orchestration, number: i64) -> Result<i64> {
    ///     ctx.entity(Counter::at("visits")).add(&number).await
    /// }
    ///
    /// let run = World::new()
    ///     .scripted_entity("Counter", |operation, state| match operation.name.as_str() {
    ///         "add" => {
    ///             *state = Some(operation.input.clone());
    ///             Ok(json!(42))
    ///         }
    ///         other => Err(Failure::new("Unexpected", other)),
    ///     })
    ///     .run(count, &2);
    /// assert_eq!(run.output(), &42);
    /// assert_eq!(run.state_as(Counter::at("visits")), Some(2));
    /// ```
    #[must_use]
    pub fn scripted_entity(
        mut self,
        name: &str,
        script: impl FnMut(&EntityOperation, &mut Option<serde_json::Value>) -> Result<serde_json::Value> + 'static,
    ) -> Self {
        let code = EntityCode::Script(Rc::new(RefCell::new(script)));
        self.functions.entities.insert(name.to_lowercase(), code);
        self
    }

    /// Sets the state of an entity before the run.
    ///
    /// # Panics
    /// If the state cannot be written as JSON.
    #[must_use]
    pub fn entity_state(mut self, entity: impl Into<EntityId>, state: &(impl Serialize + ?Sized)) -> Self {
        self.states.push((entity.into(), written(state)));
        self
    }

    /// Signals an entity, `after` the beginning of the run.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::testing::World;
    /// # #[entity] #[payload] #[derive(Default)] struct Counter { count: i64 }
    /// # #[operations] impl Counter { fn add(&mut self, number: i64) { self.count += number; } }
    /// let run = World::new()
    ///     .entity::<Counter>()
    ///     .signal(secs(1), Counter::at("visits"), |counter| counter.add(&1))
    ///     .signal(secs(5), Counter::at("visits"), |counter| counter.add(&1))
    ///     .run_entities(secs(2));
    /// assert_eq!(run.state_of(Counter::at("visits")).unwrap().count, 1);
    /// ```
    ///
    /// # Panics
    /// If the input cannot be written as JSON. [`run`](Self::run) panics if the world has no such entity or operation, or
    /// the input does not match, because the host would reject the signal.
    #[must_use]
    pub fn signal<A: EntityAddress>(
        mut self,
        after: Duration,
        entity: A,
        operation: impl FnOnce(&<A::Entity as EntityClients>::Signals),
    ) -> Self {
        let recorder = Rc::new(Recorder::default());
        operation(&Signal::<A::Entity>::new(recorder.clone(), entity.into_id()));
        let signals = recorder.into_signals();
        self.signals.extend(signals.into_iter().map(|signal| (after, signal)));
        self
    }

    /// Raises an event for the instance, `after` the beginning of the run.
    ///
    /// # Panics
    /// If the event cannot be written as JSON. [`run`](Self::run) panics if the event does not match the declaration of
    /// the orchestration, because the host would reject it.
    #[must_use]
    pub fn event<T: Serialize + ?Sized>(self, after: Duration, event: impl EventName<T>, payload: &T) -> Self {
        self.event_to(after, None, event.name(), payload)
    }

    /// Raises an event for another instance, `after` the beginning of the run.
    ///
    /// # Panics
    /// Like [`event`](Self::event).
    #[must_use]
    pub fn event_for<T: Serialize + ?Sized>(
        self,
        instance_id: impl Into<InstanceId>,
        after: Duration,
        event: impl EventName<T>,
        payload: &T,
    ) -> Self {
        self.event_to(after, Some(instance_id.into()), event.name(), payload)
    }

    /// Asks the instance to cancel itself, `after` the beginning of the run.
    #[must_use]
    pub fn cancel(mut self, after: Duration, reason: impl Into<String>) -> Self {
        self.cancellations.push((after, None, reason.into()));
        self
    }

    /// Asks another instance to cancel itself, `after` the beginning of the run.
    #[must_use]
    pub fn cancel_of(mut self, instance_id: impl Into<InstanceId>, after: Duration, reason: impl Into<String>) -> Self {
        self.cancellations
            .push((after, Some(instance_id.into()), reason.into()));
        self
    }

    /// Lets [`patched`](Orchestration::patched) return false for this name, as in an instance that passed the point with
    /// the code before the change: in the first execution of every instance. Without this, it returns true.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::testing::World;
    /// #[orchestrator]
    /// async fn price(ctx: Orchestration, cents: u64) -> Result<u64> {
    ///     Ok(if ctx.patched("new-tax") { cents + cents / 5 } else { cents + cents / 10 })
    /// }
    ///
    /// assert_eq!(World::new().run(price, &1_000).output(), &1_200);
    /// assert_eq!(World::new().without_patch("new-tax").run(price, &1_000).output(), &1_100);
    /// ```
    #[must_use]
    pub fn without_patch(mut self, name: impl Into<String>) -> Self {
        self.functions.old_branches.insert(name.into());
        self
    }

    fn event_to(
        mut self,
        after: Duration,
        instance_id: Option<InstanceId>,
        name: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Self {
        let payload = encode("the event cannot be written", payload).expect("an event that can be written as JSON");
        self.events.push((after, instance_id, name.into(), payload));
        self
    }

    /// Handles the HTTP requests of real activities with this function.
    #[must_use]
    pub fn http(mut self, handler: impl Fn(&Request) -> Result<Response> + 'static) -> Self {
        self.http = Some(Rc::new(handler));
        self
    }

    /// Adds a setting for real activities.
    #[must_use]
    pub fn config(mut self, name: &str, value: impl Into<String>) -> Self {
        Rc::make_mut(&mut self.functions.settings).give_config(name, value.into());
        self
    }

    /// Adds a secret for real activities.
    #[must_use]
    pub fn secret(mut self, name: &str, value: impl Into<String>) -> Self {
        Rc::make_mut(&mut self.functions.settings).give_secret(name, value.into());
        self
    }

    /// Sets the virtual time at which the run begins.
    #[must_use]
    pub fn starting_at(mut self, time: impl Into<Timestamp>) -> Self {
        self.start = time.into();
        self
    }

    /// Sets the id of the instance; `test` unless set.
    #[must_use]
    pub fn instance_id(mut self, id: impl Into<InstanceId>) -> Self {
        self.instance_id = id.into();
        self
    }

    /// Sets the maximum number of executions, which continue-as-new starts; 10 unless set.
    #[must_use]
    pub fn max_executions(mut self, executions: u32) -> Self {
        self.max_executions = executions;
        self
    }

    /// Runs an orchestration until it ends or nothing more can happen.
    ///
    /// # Panics
    /// If the orchestration or a script panics, or if the orchestration calls a function that the world does not have.
    pub fn run<O: OrchestrationFunction>(self, orchestration: O, input: &O::Input) -> Run<O::Output> {
        let world = self.orchestration(orchestration);
        let input = encode("the input cannot be written", input).expect("an input that can be written as JSON");
        let http = world.http.clone();
        let run = || Simulation::new(world).run(O::NAME, &input);
        match http {
            Some(handler) => scripted::with(handler, run),
            None => run(),
        }
    }

    /// Runs the entities for that virtual time, without an orchestration under test.
    ///
    /// # Panics
    /// If an operation panics.
    pub fn run_entities(self, duration: Duration) -> Run<()> {
        self.run(Rest, &whole_millis(duration))
    }
}

/// An orchestration that does nothing for so many milliseconds.
struct Rest;

impl OrchestrationSignature for Rest {
    const NAME: &'static str = "windlass_sdk::testing::Rest";
    type Input = u64;
    type Output = ();
}

impl OrchestrationFunction for Rest {
    const DOC: &'static str = "";
    const TAKES_INPUT: bool = true;

    fn invoke(ctx: Orchestration, millis: u64) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move {
            ctx.sleep(Duration::from_millis(millis)).await;
            Ok(())
        })
    }
}
