//! [`Run`]: how an orchestration went, to be asserted on.

use std::fmt::Debug;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;
use crate::function::{ActivitySignature, OrchestrationSignature};
use crate::instance_id::InstanceId;
use crate::logging::Level;

/// How the instance stood when nothing more could happen.
#[derive(Clone, Debug)]
pub enum End<O> {
    /// It returned.
    Completed(O),
    /// It failed.
    Failed(Failure),
    /// It waits for something that never comes: what, in words.
    Waiting(Vec<String>),
    /// It would go on with this input, but the test follows no more executions.
    ContinuedAsNew(Value),
}

/// What a call was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalledKind {
    /// An activity.
    Activity,
    /// A sub-orchestration that is awaited.
    SubOrchestration,
    /// An orchestration that nobody awaits.
    Start,
}

/// Something the orchestration, or one of its children, asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Called {
    /// What was called.
    pub kind: CalledKind,
    /// The name it was called by.
    pub name: String,
    /// The input.
    pub input: Value,
    /// How often it was tried.
    pub attempts: u32,
    /// What came of it; `None` if it had not ended.
    pub outcome: Option<Result<Value, Failure>>,
}

/// An event that an orchestration sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SentEvent {
    /// To which instance.
    pub instance_id: InstanceId,
    /// Its name.
    pub name: String,
    /// Its payload.
    pub payload: Value,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogLine {
    /// Whose log.
    pub instance_id: InstanceId,
    /// How urgent.
    pub level: Level,
    /// What it says.
    pub message: String,
}

impl Called {
    pub(super) fn new(kind: CalledKind, name: &str, input: &str) -> Self {
        let input = serde_json::from_str(input).unwrap_or_default();
        Self {
            kind,
            name: name.into(),
            input,
            attempts: 0,
            outcome: None,
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

/// How an orchestration went.
#[derive(Clone, Debug)]
pub struct Run<O> {
    pub(super) end: End<O>,
    pub(super) elapsed: Duration,
    pub(super) executions: u32,
    pub(super) calls: Vec<Called>,
    pub(super) sent: Vec<SentEvent>,
    pub(super) logs: Vec<LogLine>,
    pub(super) custom_statuses: Vec<Value>,
}

impl<O: Debug> Run<O> {
    /// How it stood when nothing more could happen.
    pub fn end(&self) -> &End<O> {
        &self.end
    }

    /// What it returned.
    ///
    /// # Panics
    /// If it did not return.
    #[track_caller]
    pub fn output(&self) -> &O {
        match &self.end {
            End::Completed(output) => output,
            end => panic!("expected the orchestration to complete, but: {end:?}"),
        }
    }

    /// What it failed with.
    ///
    /// # Panics
    /// If it did not fail.
    #[track_caller]
    pub fn failure(&self) -> &Failure {
        match &self.end {
            End::Failed(failure) => failure,
            end => panic!("expected the orchestration to fail, but: {end:?}"),
        }
    }

    /// What it waits for in vain, in words such as `event approval`.
    ///
    /// # Panics
    /// If it ended.
    #[track_caller]
    pub fn waits_for(&self) -> &[String] {
        match &self.end {
            End::Waiting(waits) => waits,
            end => panic!("expected the orchestration to wait, but: {end:?}"),
        }
    }

    /// The virtual time it took.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// How many executions it had; more than one after continue-as-new.
    pub fn executions(&self) -> u32 {
        self.executions
    }

    /// Everything that was called, in order, by children too.
    pub fn calls(&self) -> &[Called] {
        &self.calls
    }

    /// The names of the activities and orchestrations that were called, in order.
    pub fn called_names(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.name.as_str()).collect()
    }

    /// The inputs an activity was called with, in order.
    ///
    /// # Panics
    /// If one of them, from a call by name, is not of the activity's type.
    #[track_caller]
    pub fn inputs_of<A: ActivitySignature>(&self, activity: A) -> Vec<A::Input> {
        let _ = activity;
        self.inputs(CalledKind::Activity, A::NAME)
    }

    /// The inputs a sub-orchestration was called or started with, in order.
    ///
    /// # Panics
    /// If one of them, from a call by name, is not of the orchestration's type.
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

    /// How many attempts of an activity were made, over all its calls.
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

    /// The log of all instances, in order.
    pub fn logs(&self) -> &[LogLine] {
        &self.logs
    }

    /// The custom statuses of the instance, in order, of all its executions.
    pub fn custom_statuses(&self) -> &[Value] {
        &self.custom_statuses
    }
}
