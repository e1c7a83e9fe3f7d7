//! A history: the turns of one execution, each with what arrived and what was decided.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ActivityOptions, Event, EventName, Failure, FunctionName, InstanceId, InstanceNumber, ModuleNumber, Payload,
    SubOrchestrationOptions, TaskId, Timestamp, TurnNumber, ids::ExecutionNumber,
};

/// How a task or an instance ended: a result, or the reason why there is none.
pub type Outcome = Result<Payload, Failure>;

/// One turn: written whole or not at all, never changed afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// From 1 without gaps within the execution.
    pub number: TurnNumber,
    /// The time the guest saw during the turn; never before the previous turn's.
    pub at: Timestamp,
    /// What the guest was given, in the order it was given.
    pub arrivals: Vec<Arrival>,
    /// What the guest asked for, in the order it asked.
    pub decisions: Vec<Decision>,
    /// Fuel the guest used in this turn, in Wasmtime fuel units. Metering only: never compared on replay.
    pub fuel: u64,
}

/// What reaches an instance and is handed to its guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Arrival {
    /// The execution begins. Always the first arrival of the first turn, and only there.
    Started(Box<Started>),
    /// A task has its outcome: an activity's, or a sub-orchestration's.
    TaskEnded {
        /// Which task.
        task: TaskId,
        /// The final outcome, after all retries.
        outcome: Outcome,
    },
    /// A timer has fired.
    TimerFired {
        /// Which task.
        task: TaskId,
    },
    /// An external event was raised.
    EventRaised(Event),
    /// A person ended the instance. The guest does not run; this is the last arrival of the last turn.
    Terminated {
        /// The reason given, possibly empty.
        reason: String,
    },
    /// The host's clock was behind the time of the turn, because it was set back: the time of a turn never is. Guests are
    /// not told. It says when the turn's timers and time-outs are due by that clock.
    ClockBehind {
        /// By how much, in milliseconds.
        by_ms: u64,
    },
}

/// All that a new execution is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Which execution begins.
    pub execution: ExecutionNumber,
    /// The orchestration function.
    pub function: FunctionName,
    /// Its input.
    pub input: Payload,
    /// The source of all randomness of the execution; drawn by the host, never derived from an id.
    pub seed: [u8; 32],
    /// Limits that a guest can observe, fixed for the execution so that replay meets the same ones.
    pub limits: ObservableLimits,
    /// The instance that waits for this one, if it is a sub-orchestration.
    pub parent: Option<Parent>,
    /// Events that the previous execution did not take, in order.
    pub events: Vec<Event>,
    /// The first turn waits for this time: the backoff before another attempt of a sub-orchestration.
    pub not_before: Option<Timestamp>,
}

/// Limits that a guest can notice, and which therefore must not change under a recorded execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservableLimits {
    /// Linear memory, in bytes.
    pub memory_bytes: u64,
    /// Longest payload, in bytes.
    pub payload_bytes: u64,
}

/// Who waits for a sub-orchestration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The waiting instance.
    pub instance: InstanceNumber,
    /// Its id, for people and for the guest.
    pub instance_id: InstanceId,
    /// The execution that waits.
    pub execution: ExecutionNumber,
    /// The task in that execution.
    pub task: TaskId,
    /// Which attempt of the task this child is, from 1.
    pub attempt: u32,
}

impl Arrival {
    /// Bytes of what it brings: a payload, or a failure.
    pub fn payload_bytes(&self) -> u64 {
        match self {
            Self::Started(started) => started.input.bytes(),
            Self::TaskEnded { outcome, .. } => outcome_bytes(outcome),
            Self::EventRaised(event) => event.payload.bytes(),
            Self::TimerFired { .. } | Self::Terminated { .. } | Self::ClockBehind { .. } => 0,
        }
    }
}

impl Decision {
    /// Bytes of what it gives away: a payload, or a failure.
    pub fn payload_bytes(&self) -> u64 {
        match self {
            Self::CallActivity { input, .. }
            | Self::CallSubOrchestration { input, .. }
            | Self::StartOrchestration { input, .. }
            | Self::ContinueAsNew { input, .. } => input.bytes(),
            Self::SendEvent { event, .. } => event.payload.bytes(),
            Self::Complete { output } => output.bytes(),
            Self::Fail { failure } => failure.bytes(),
            Self::CreateTimer { .. } | Self::WaitForEvent { .. } | Self::CancelTask { .. } | Self::Refused { .. } => 0,
        }
    }
}

/// Bytes of a result, or of a failure's message and details.
pub fn outcome_bytes(outcome: &Outcome) -> u64 {
    match outcome {
        Ok(output) => output.bytes(),
        Err(failure) => failure.bytes(),
    }
}

/// What a turn asks for.
///
/// On replay, decisions are compared by kind, name and task order; never by payload, options or module, so that
/// harmless changes of serialisation do not break a running instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Decision {
    /// Call an activity.
    CallActivity {
        /// The task that gets the outcome.
        task: TaskId,
        /// Which activity.
        function: FunctionName,
        /// Its input.
        input: Payload,
        /// How to call it, defaults filled in.
        options: ActivityOptions,
        /// The module version that offered the activity when it was scheduled.
        module: ModuleNumber,
    },
    /// Start a child and wait for its end.
    CallSubOrchestration {
        /// The task that gets the outcome.
        task: TaskId,
        /// Which orchestration.
        function: FunctionName,
        /// Its input.
        input: Payload,
        /// The child's id (of the first attempt; a later one has a suffix unless the caller fixed the id).
        instance_id: InstanceId,
        /// Whether the caller fixed the id.
        fixed_id: bool,
        /// How to call it.
        options: SubOrchestrationOptions,
        /// The module version of the first attempt.
        module: ModuleNumber,
    },
    /// Start an instance that nobody awaits.
    StartOrchestration {
        /// Which orchestration.
        function: FunctionName,
        /// Its input.
        input: Payload,
        /// Its id.
        instance_id: InstanceId,
        /// The module version that offers it.
        module: ModuleNumber,
    },
    /// Raise an event for another instance.
    SendEvent {
        /// Whose.
        instance_id: InstanceId,
        /// The event.
        event: Event,
    },
    /// Set a timer.
    CreateTimer {
        /// The task that completes when it fires.
        task: TaskId,
        /// When.
        fire_at: Timestamp,
    },
    /// Wait for an external event.
    WaitForEvent {
        /// The task that completes when it comes.
        task: TaskId,
        /// Which.
        name: EventName,
    },
    /// Withdraw a timer or an event wait, or cancel a call.
    CancelTask {
        /// Which task.
        task: TaskId,
    },
    /// A scheduling call that was refused; its outcome was there at once.
    Refused {
        /// The task that got the failure (none for a call that has no task, such as a detached start).
        task: Option<TaskId>,
        /// What kind of call it was, for example `call-activity`.
        call: String,
        /// The name that was called.
        name: String,
        /// Why.
        failure: Failure,
    },
    /// The orchestration ended with a result.
    Complete {
        /// The result.
        output: Payload,
    },
    /// The orchestration ended with a failure.
    Fail {
        /// Why.
        failure: Failure,
    },
    /// This execution ended; the next one starts.
    ContinueAsNew {
        /// Its input.
        input: Payload,
        /// Events not taken, in order.
        events: Vec<Event>,
    },
}

impl Decision {
    /// Whether it ends the execution.
    pub fn ends_execution(&self) -> bool {
        matches!(
            self,
            Self::Complete { .. } | Self::Fail { .. } | Self::ContinueAsNew { .. }
        )
    }
}

impl Turn {
    /// How far the host's clock was behind the time of the turn.
    pub fn clock_behind(&self) -> Duration {
        let behind = self.arrivals.iter().find_map(|arrival| match arrival {
            Arrival::ClockBehind { by_ms } => Some(Duration::from_millis(*by_ms)),
            _ => None,
        });
        behind.unwrap_or_default()
    }

    /// What the host's clock showed.
    pub fn clock_at(&self) -> Timestamp {
        self.at.before(self.clock_behind())
    }

    /// The tasks of its decisions that may take several attempts: calls of activities and sub-orchestrations.
    pub fn called_tasks(&self) -> impl Iterator<Item = TaskId> {
        self.decisions.iter().filter_map(|decision| match decision {
            Decision::CallActivity { task, .. } | Decision::CallSubOrchestration { task, .. } => Some(*task),
            _ => None,
        })
    }

    /// Whether nothing follows it in its execution.
    pub fn is_last(&self) -> bool {
        self.decisions.last().is_some_and(Decision::ends_execution)
            || matches!(self.arrivals.last(), Some(Arrival::Terminated { .. }))
    }
}
