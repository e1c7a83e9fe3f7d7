//! [`Run`]: the result of a simulated run, for assertions.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::entity::address::{EntityId, EntityRef};
use crate::entity::signature::EntitySignature;
use crate::failure::Failure;
use crate::function::{ActivitySignature, OrchestrationSignature};
use crate::instance_id::InstanceId;
use crate::logging::Level;
use crate::time::Timestamp;

/// The final state of the instance, when nothing more can happen.
#[derive(Clone, Debug)]
pub enum End<O> {
    /// It returned.
    Completed(O),
    /// It failed.
    Failed(Failure),
    /// It waits for events that are never raised. Descriptions of its outstanding tasks.
    Waiting(Vec<String>),
    /// It continued as new with this input, but the maximum number of executions is reached.
    ContinuedAsNew(Value),
}

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalledKind {
    /// An activity.
    Activity,
    /// A sub-orchestration.
    SubOrchestration,
    /// The start of an independent orchestration.
    Start,
    /// An operation of an entity.
    Entity,
}

/// A call or start that the orchestration or one of its children made, or a start that an entity made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Called {
    /// The kind of the called function.
    pub kind: CalledKind,
    /// The name of the called function or operation.
    pub name: String,
    /// The called entity, if it is one.
    pub entity: Option<EntityId>,
    /// The input as JSON.
    pub input: Value,
    /// The number of attempts started; 0 for operations of entities.
    pub attempts: u32,
    /// The outcome; `None` if the call has not ended.
    pub outcome: Option<Result<Value, Failure>>,
}

/// An event that an orchestration sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SentEvent {
    /// The id of the recipient.
    pub instance_id: InstanceId,
    /// The name of the event.
    pub name: String,
    /// The payload as JSON.
    pub payload: Value,
}

/// A signal that an orchestration or an entity sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SentSignal {
    /// The recipient.
    pub entity: EntityId,
    /// The name of the operation.
    pub operation: String,
    /// The input as JSON.
    pub input: Value,
    /// The time until which it is delayed, if it is.
    pub at: Option<Timestamp>,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// The instance that wrote the line, or whose activity did; for an entity, its id such as `@account@ada`.
    pub instance_id: InstanceId,
    /// The severity.
    pub level: Level,
    /// The text, including fields.
    pub message: String,
}

impl Called {
    pub(super) fn new(kind: CalledKind, name: &str, input: &str) -> Self {
        let input = serde_json::from_str(input).unwrap_or_default();
        Self {
            kind,
            name: name.into(),
            entity: None,
            input,
            attempts: 0,
            outcome: None,
        }
    }

    pub(super) fn of_entity(entity: &EntityId, operation: &str, input: &str) -> Self {
        Self {
            entity: Some(entity.clone()),
            ..Self::new(CalledKind::Entity, operation, input)
        }
    }
}

impl SentEvent {
    pub(super) fn new(instance_id: &str, name: &str, payload: &str) -> Self {
        let payload = serde_json::from_str(payload).unwrap_or_default();
        Self {
            instance_id: instance_id.into(),
            name: name.into(),
            payload,
        }
    }
}

/// The result of a simulated run.
#[derive(Clone, Debug)]
pub struct Run<O> {
    pub(super) end: End<O>,
    pub(super) elapsed: Duration,
    pub(super) executions: u32,
    pub(super) calls: Vec<Called>,
    pub(super) sent: Vec<SentEvent>,
    pub(super) signals: Vec<SentSignal>,
    pub(super) states: BTreeMap<EntityId, String>,
    pub(super) logs: Vec<LogLine>,
    pub(super) custom_statuses: Vec<Value>,
}

impl<O: Debug> Run<O> {
    /// The final state of the instance.
    pub fn end(&self) -> &End<O> {
        &self.end
    }

    /// The output of the orchestration.
    ///
    /// # Panics
    /// If the orchestration did not complete.
    #[track_caller]
    pub fn output(&self) -> &O {
        match &self.end {
            End::Completed(output) => output,
            end => panic!("expected the orchestration to complete, but: {end:?}"),
        }
    }

    /// The failure of the orchestration.
    ///
    /// # Panics
    /// If the orchestration did not fail.
    #[track_caller]
    pub fn failure(&self) -> &Failure {
        match &self.end {
            End::Failed(failure) => failure,
            end => panic!("expected the orchestration to fail, but: {end:?}"),
        }
    }

    /// Descriptions of the tasks for which the orchestration waits, such as `event approval`.
    ///
    /// # Panics
    /// If the orchestration ended.
    #[track_caller]
    pub fn waits_for(&self) -> &[String] {
        match &self.end {
            End::Waiting(waits) => waits,
            end => panic!("expected the orchestration to wait, but: {end:?}"),
        }
    }

    /// The virtual duration of the run.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The number of executions; more than one after continue-as-new.
    pub fn executions(&self) -> u32 {
        self.executions
    }

    /// All calls and starts in order, including those of children.
    pub fn calls(&self) -> &[Called] {
        &self.calls
    }

    /// The names of the called activities, orchestrations and operations, in order.
    pub fn called_names(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.name.as_str()).collect()
    }

    /// The inputs of all calls of an activity, in order.
    ///
    /// # Panics
    /// If an input does not match the activity's type, which is possible in calls by name.
    #[track_caller]
    pub fn inputs_of<A: ActivitySignature>(&self, activity: A) -> Vec<A::Input> {
        let _ = activity;
        self.inputs(CalledKind::Activity, A::NAME)
    }

    /// The inputs of an orchestration: of its calls as a sub-orchestration in order, then of its starts in order.
    ///
    /// # Panics
    /// If an input does not match the orchestration's type, which is possible in calls by name.
    #[track_caller]
    pub fn sub_inputs_of<S: OrchestrationSignature>(&self, orchestration: S) -> Vec<S::Input> {
        let _ = orchestration;
        let mut inputs = self.inputs(CalledKind::SubOrchestration, S::NAME);
        inputs.extend(self.inputs(CalledKind::Start, S::NAME));
        inputs
    }

    #[track_caller]
    fn inputs<T: DeserializeOwned>(&self, kind: CalledKind, name: &str) -> Vec<T> {
        let calls = self.calls.iter().filter(|call| call.kind == kind && call.name == name);
        calls
            .map(|call| serde_json::from_value(call.input.clone()).expect("the input of its type"))
            .collect()
    }

    /// The number of attempts of an activity, over all its calls.
    pub fn attempts_of<A: ActivitySignature>(&self, activity: A) -> u32 {
        let _ = activity;
        let calls = self
            .calls
            .iter()
            .filter(|call| call.kind == CalledKind::Activity && call.name == A::NAME);
        calls.map(|call| call.attempts).sum()
    }

    /// The events that were sent, in order.
    pub fn sent_events(&self) -> &[SentEvent] {
        &self.sent
    }

    /// The signals to entities that were sent, in order, except those of the test.
    pub fn sent_signals(&self) -> &[SentSignal] {
        &self.signals
    }

    /// The state of an entity at the end of the run; `None` if it has none.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # use windlass_sdk::testing::World;
    /// # #[entity] #[payload] #[derive(Default)] struct Counter { count: i64 }
    /// # #[operations] impl Counter { fn add(&mut self, number: i64) { self.count += number; } }
    /// #[orchestrator]
    /// async fn visit(ctx: Orchestration) -> Result<()> {
    ///     ctx.entity(Counter::at("visits")).signal().add(&1);
    ///     Ok(())
    /// }
    ///
    /// let run = World::new().entity::<Counter>().run(visit, &());
    /// assert_eq!(run.state_of(Counter::at("visits")).unwrap().count, 1);
    /// ```
    ///
    /// # Panics
    /// If the state does not match its type.
    #[track_caller]
    pub fn state_of<E: EntitySignature + DeserializeOwned>(&self, entity: EntityRef<E>) -> Option<E> {
        self.state_as(entity)
    }

    /// The state of an entity at the end of the run as a `T`; `None` if it has none.
    ///
    /// # Panics
    /// If the state does not match the type.
    #[track_caller]
    pub fn state_as<T: DeserializeOwned>(&self, entity: impl Into<EntityId>) -> Option<T> {
        let state = self.states.get(&entity.into())?;
        Some(serde_json::from_str(state).expect("a state of its type"))
    }

    /// The log lines of all instances and entities, in order.
    pub fn logs(&self) -> &[LogLine] {
        &self.logs
    }

    /// All custom statuses that the instance set in any execution, in order.
    pub fn custom_statuses(&self) -> &[Value] {
        &self.custom_statuses
    }
}
