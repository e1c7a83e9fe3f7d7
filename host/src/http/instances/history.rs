//! The document that describes a history to clients: turns with their arrivals and decisions, and the attempts beside
//! them.
//!
//! Written by hand rather than derived from the stored types: the format on disk and the format for clients change for
//! different reasons.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        access::Caller,
        document::{FailureDocument, Verbatim, time},
        error::Refusal,
        params::Given,
        state::App,
    },
    model::{
        ActivityOptions, Arrival, Decision, EntityId, Event, Outcome, RetryPolicy, Rewinds, SubOrchestrationOptions,
        Turn, TurnNumber,
    },
    store::{
        AttemptRow, Completion, CompletionState, Heartbeat, HistoryCursor, HistoryFilter, HistoryFrom, HistoryPage,
    },
};

/// Maximum number of turns in one document.
const MAX_TURNS: u32 = 1_000;

/// Which turns a request asks for.
#[derive(Debug)]
pub(super) struct HistoryParams {
    is_wanted: bool,
    after: u32,
    cursor: Option<String>,
    limit: u32,
}

/// Which turns a request asks for, if any.
pub(super) fn wanted(given: &mut Given) -> Result<HistoryParams, Refusal> {
    let is_wanted = given.flag("history")?;
    let after = given.parsed::<u32>("historyAfter")?;
    let cursor = given.text("historyCursor");
    let limit = given.limit("historyLimit", MAX_TURNS, MAX_TURNS)?;
    if cursor.is_some() && after.is_some() {
        return Err(Refusal::InvalidParameter {
            name: "historyAfter".into(),
            message: "cannot be combined with historyCursor".into(),
        });
    }
    Ok(HistoryParams {
        is_wanted,
        after: after.unwrap_or_default(),
        cursor,
        limit,
    })
}

impl HistoryParams {
    /// What to read for the caller, if it asks for turns.
    ///
    /// # Errors
    /// If the tenant did not get this cursor.
    pub(super) fn filter(&self, app: &App, caller: Caller) -> Result<Option<HistoryFilter>, Refusal> {
        let cursor: Option<HistoryCursor> = app.position(caller, "historyCursor", self.cursor.as_deref())?;
        let filter = HistoryFilter {
            from: cursor.map_or(HistoryFrom::Turn(TurnNumber(self.after)), HistoryFrom::Cursor),
            limit: self.limit,
        };
        Ok(self.is_wanted.then_some(filter))
    }
}

/// Turns of an execution.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = History)]
pub(crate) struct HistoryDocument {
    /// The turns, in order. A page ends at 4 MiB, so it may have fewer turns than the limit.
    #[schema(required = false)]
    history: Vec<TurnDocument>,
    /// Attempts that did not end their task, of the tasks that these turns scheduled: at most the last ten of each, by
    /// task. If they take more than 1 MiB, only those of the first tasks.
    #[schema(required = false)]
    attempts: Vec<AttemptDocument>,
    /// The number of such attempts per task. Tasks without any are omitted.
    #[schema(required = false)]
    attempt_totals: Vec<AttemptTotalDocument>,
    /// The last stored heartbeats of these tasks. If they take more than 1 MiB, only those of the first tasks.
    #[schema(required = false)]
    heartbeats: Vec<HeartbeatDocument>,
    /// Those of these tasks that may be, or were, completed from outside.
    #[schema(required = false)]
    completions: Vec<CompletionDocument>,
    /// If there are more turns: the `historyCursor` of the next request. If the execution is over by then, the response
    /// is 410 `history-over`, because pages belong to one execution.
    #[serde(skip_serializing_if = "Option::is_none")]
    history_cursor: Option<String>,
    /// If there are more turns: the last turn of this page. A request with it as `historyAfter` returns the next turns
    /// of the execution that is current by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    history_next: Option<u32>,
}

/// One turn: its arrivals and decisions.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Turn)]
pub(crate) struct TurnDocument {
    /// The number of the turn, from 1 without gaps within the execution.
    turn: u32,
    /// The time that the orchestration saw.
    time: String,
    /// Fuel used.
    fuel: u64,
    /// A later rewind supersedes the turn: the execution continued as if it had not run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    superseded: bool,
    /// The arrivals, in order.
    arrivals: Vec<ArrivalDocument>,
    /// The decisions, in order.
    decisions: Vec<DecisionDocument>,
}

/// What reached the instance.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
#[schema(as = Arrival)]
pub(crate) enum ArrivalDocument {
    /// The execution started.
    #[serde(rename_all = "camelCase")]
    Started {
        execution: u32,
        name: String,
        input: Verbatim,
        carried_events: Vec<EventDocument>,
    },
    /// A task completed with a result.
    TaskCompleted { task: u32, output: Verbatim },
    /// A task failed for good.
    TaskFailed { task: u32, failure: FailureDocument },
    /// A timer fired.
    TimerFired { task: u32 },
    /// An event was raised.
    EventRaised { name: String, payload: Verbatim },
    /// The instance was terminated.
    Terminated { reason: String },
    /// The host's clock was set back to before the time of the turn. The orchestration does not see this.
    #[serde(rename_all = "camelCase")]
    ClockBehind { by_ms: u64 },
    /// The failed instance was rewound: the turns from this one to the one before are superseded.
    Rewound { from: u32, reason: String },
    /// The cancellation of the instance was requested.
    CancelRequested { reason: String },
}

/// What the orchestration asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type")]
#[schema(as = Decision)]
pub(crate) enum DecisionDocument {
    /// Call an activity.
    CallActivity {
        task: u32,
        name: String,
        input: Verbatim,
        options: OptionsDocument,
    },
    /// Start a sub-orchestration and wait until it ends.
    #[serde(rename_all = "camelCase")]
    CallSubOrchestration {
        task: u32,
        name: String,
        instance_id: String,
        input: Verbatim,
        options: OptionsDocument,
    },
    /// Start an instance without waiting for it.
    #[serde(rename_all = "camelCase")]
    StartOrchestration {
        name: String,
        instance_id: String,
        input: Verbatim,
    },
    /// Raise an event for another instance.
    #[serde(rename_all = "camelCase")]
    SendEvent {
        instance_id: String,
        name: String,
        payload: Verbatim,
    },
    /// Set a timer.
    #[serde(rename_all = "camelCase")]
    CreateTimer { task: u32, fire_at: String },
    /// Wait for an event.
    WaitForEvent { task: u32, name: String },
    /// Cancel a timer, a wait for an event, or a call.
    CancelTask { task: u32 },
    /// Call an operation of an entity.
    CallEntity {
        task: u32,
        entity: EntityLink,
        operation: String,
        input: Verbatim,
    },
    /// Send a one-way operation to an entity.
    SignalEntity {
        entity: EntityLink,
        operation: String,
        input: Verbatim,
        #[serde(skip_serializing_if = "Option::is_none")]
        due_time: Option<String>,
    },
    /// Lock entities: enter a critical section.
    LockEntities { task: u32, entities: Vec<EntityLink> },
    /// Leave a critical section.
    UnlockEntities { task: u32 },
    /// Wait for a request to cancel the instance.
    WaitForCancellation { task: u32 },
    /// Choose what happens to a sub-orchestration when this execution ends: `abandon`, `terminate` or `cancel`.
    SetParentClose { task: u32, policy: String },
    /// A marker: from here on, the execution has the code after a change.
    Patched {
        name: String,
        /// Later code may do without the patch.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        deprecated: bool,
    },
    /// A call that was rejected at once.
    Refused {
        #[serde(skip_serializing_if = "Option::is_none")]
        task: Option<u32>,
        call: String,
        name: String,
        failure: FailureDocument,
    },
    /// Complete with a result.
    Complete { output: Verbatim },
    /// Fail.
    Fail { failure: FailureDocument },
    /// End this execution and start the next one.
    #[serde(rename_all = "camelCase")]
    ContinueAsNew {
        input: Verbatim,
        carried_events: Vec<EventDocument>,
    },
}

/// An event that one execution passes on to the next.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventDocument {
    /// The name of the event.
    name: String,
    /// The payload of the event.
    payload: Verbatim,
}

/// Options of a call.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CallOptions)]
pub(crate) struct OptionsDocument {
    /// When to retry; if absent, there is one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RetryDocument>,
    /// Timeout of each attempt, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_timeout_ms: Option<u64>,
    /// Timeout of the whole call, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    /// The longest time of an attempt without a heartbeat, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_timeout_ms: Option<u64>,
}

/// When and how often a failed attempt is retried.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RetryPolicy)]
pub(crate) struct RetryDocument {
    /// Delay before the second attempt, in milliseconds.
    first_interval_ms: u64,
    /// Factor between consecutive delays.
    backoff_coefficient: f64,
    /// Maximum delay, in milliseconds.
    max_interval_ms: u64,
    /// Maximum number of attempts, including the first one.
    max_attempts: u32,
    /// Error types that are not retried.
    non_retryable_error_types: Vec<String>,
}

/// An attempt of an activity call that did not end the call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
pub(crate) struct AttemptDocument {
    /// The id of the task.
    task: u32,
    /// The number of the attempt, from 1. 0 for the note of a rewind: the failure that ended the call is void, and the
    /// attempts begin anew.
    attempt: u32,
    /// Whether the host ended during the attempt; such attempts do not count.
    cut_off: bool,
    /// Why it failed; long texts and details are truncated.
    failure: FailureDocument,
    /// Fuel used.
    fuel: u64,
    /// When it started.
    started_time: String,
    /// When it ended.
    ended_time: String,
    /// When the next attempt starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_time: Option<String>,
}

/// The last heartbeat of an activity call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Heartbeat)]
pub(crate) struct HeartbeatDocument {
    /// The id of the task.
    task: u32,
    /// What the attempt reported.
    #[schema(value_type = serde_json::Value)]
    details: Verbatim,
    /// When it reported this.
    time: String,
}

/// An activity call that may be, or was, completed from outside.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Completion)]
pub(crate) struct CompletionDocument {
    /// The id of the task.
    task: u32,
    /// The number of the attempt that got the token, from 1.
    attempt: u32,
    /// `running`: the attempt runs; `waiting`: it has ended, and the call waits; `used`: the token was used; `over`: the
    /// attempt ended by itself, or its time is over.
    state: &'static str,
    /// When the attempt started.
    started_time: String,
    /// When the wait ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_time: Option<String>,
}

/// The number of attempts that did not end their task, for one task.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptTotal)]
pub(crate) struct AttemptTotalDocument {
    /// The id of the task.
    task: u32,
    /// The number of attempts, including those cut off by the end of the host and those no longer stored.
    total: u32,
}

impl HistoryDocument {
    /// A page for the caller.
    pub(super) fn new(page: HistoryPage, app: &App, caller: Caller) -> Self {
        let HistoryPage {
            execution: _,
            turns,
            rewinds,
            attempts,
            attempt_totals,
            heartbeats,
            completions,
            next,
        } = page;
        let history_next = turns.last().filter(|_| next.is_some()).map(|turn| turn.number.0);
        Self {
            history: turns
                .into_iter()
                .map(|turn| TurnDocument::new(turn, &rewinds))
                .collect(),
            attempts: attempts.into_iter().map(Into::into).collect(),
            attempt_totals: attempt_totals
                .into_iter()
                .map(|(task, total)| AttemptTotalDocument { task: task.0, total })
                .collect(),
            heartbeats: heartbeats.into_iter().map(Into::into).collect(),
            completions: completions.into_iter().map(Into::into).collect(),
            history_cursor: next.map(|cursor| app.seal(caller, &cursor)),
            history_next,
        }
    }
}

impl TurnDocument {
    fn new(turn: Turn, rewinds: &Rewinds) -> Self {
        Self {
            superseded: rewinds.supersede(turn.number),
            turn: turn.number.0,
            time: time(turn.at),
            fuel: turn.fuel,
            arrivals: turn.arrivals.into_iter().map(Into::into).collect(),
            decisions: turn.decisions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Arrival> for ArrivalDocument {
    fn from(arrival: Arrival) -> Self {
        match arrival {
            Arrival::Started(started) => Self::Started {
                execution: started.execution.0,
                name: started.function.to_string(),
                input: Verbatim(started.input),
                carried_events: events(started.events),
            },
            Arrival::TaskEnded { task, outcome } => ended(task.0, outcome),
            Arrival::TimerFired { task } => Self::TimerFired { task: task.0 },
            Arrival::EventRaised(Event { name, payload }) => Self::EventRaised {
                name: name.to_string(),
                payload: Verbatim(payload),
            },
            Arrival::Terminated { reason } => Self::Terminated { reason },
            Arrival::ClockBehind { by_ms } => Self::ClockBehind { by_ms },
            Arrival::Rewound { from, reason, .. } => Self::Rewound { from: from.0, reason },
            Arrival::CancelRequested { reason } => Self::CancelRequested { reason },
        }
    }
}

fn ended(task: u32, outcome: Outcome) -> ArrivalDocument {
    match outcome {
        Ok(output) => ArrivalDocument::TaskCompleted {
            task,
            output: Verbatim(output),
        },
        Err(failure) => ArrivalDocument::TaskFailed {
            task,
            failure: failure.into(),
        },
    }
}

fn events(events: Vec<Event>) -> Vec<EventDocument> {
    let document = |Event { name, payload }| EventDocument {
        name: name.to_string(),
        payload: Verbatim(payload),
    };
    events.into_iter().map(document).collect()
}

/// The name and key of an entity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EntityId)]
pub(crate) struct EntityLink {
    /// The name, in lower case.
    name: String,
    /// The key.
    key: String,
}

impl From<&EntityId> for EntityLink {
    fn from(entity: &EntityId) -> Self {
        Self {
            name: entity.name().to_string(),
            key: entity.key().to_owned(),
        }
    }
}

impl From<Decision> for DecisionDocument {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::CallActivity {
                task,
                function,
                input,
                options,
                module: _,
            } => Self::CallActivity {
                task: task.0,
                name: function.to_string(),
                input: Verbatim(input),
                options: options.into(),
            },
            Decision::CallSubOrchestration {
                task,
                function,
                input,
                instance_id,
                fixed_id: _,
                options,
                module: _,
            } => Self::CallSubOrchestration {
                task: task.0,
                name: function.to_string(),
                instance_id: instance_id.to_string(),
                input: Verbatim(input),
                options: options.into(),
            },
            Decision::StartOrchestration {
                function,
                input,
                instance_id,
                module: _,
            } => Self::StartOrchestration {
                name: function.to_string(),
                instance_id: instance_id.to_string(),
                input: Verbatim(input),
            },
            Decision::SendEvent {
                instance_id,
                event: Event { name, payload },
            } => Self::SendEvent {
                instance_id: instance_id.to_string(),
                name: name.to_string(),
                payload: Verbatim(payload),
            },
            Decision::CreateTimer { task, fire_at } => Self::CreateTimer {
                task: task.0,
                fire_at: time(fire_at),
            },
            Decision::WaitForEvent { task, name } => Self::WaitForEvent {
                task: task.0,
                name: name.to_string(),
            },
            Decision::CancelTask { task } => Self::CancelTask { task: task.0 },
            Decision::CallEntity {
                task,
                entity,
                operation,
                input,
                section: _,
                module: _,
            } => Self::CallEntity {
                task: task.0,
                entity: (&entity).into(),
                operation,
                input: Verbatim(input),
            },
            Decision::SignalEntity {
                entity,
                operation,
                input,
                due_at,
                module: _,
            } => Self::SignalEntity {
                entity: (&entity).into(),
                operation,
                input: Verbatim(input),
                due_time: due_at.map(time),
            },
            Decision::LockEntities { task, entities } => Self::LockEntities {
                task: task.0,
                entities: entities.iter().map(|(id, _)| id.into()).collect(),
            },
            Decision::UnlockEntities { task } => Self::UnlockEntities { task: task.0 },
            Decision::WaitForCancellation { task } => Self::WaitForCancellation { task: task.0 },
            Decision::SetParentClose { task, policy } => Self::SetParentClose {
                task: task.0,
                policy: policy.name().to_owned(),
            },
            Decision::Patched { name, deprecated } => Self::Patched { name, deprecated },
            Decision::Refused {
                task,
                call,
                name,
                failure,
            } => Self::Refused {
                task: task.map(|task| task.0),
                call,
                name,
                failure: failure.into(),
            },
            Decision::Complete { output } => Self::Complete {
                output: Verbatim(output),
            },
            Decision::Fail { failure } => Self::Fail {
                failure: failure.into(),
            },
            Decision::ContinueAsNew { input, events: carried } => Self::ContinueAsNew {
                input: Verbatim(input),
                carried_events: events(carried),
            },
        }
    }
}

impl From<ActivityOptions> for OptionsDocument {
    fn from(
        ActivityOptions {
            retry,
            attempt_timeout_ms,
            timeout_ms,
            heartbeat_timeout_ms,
        }: ActivityOptions,
    ) -> Self {
        Self {
            retry: retry.map(Into::into),
            attempt_timeout_ms,
            timeout_ms,
            heartbeat_timeout_ms,
        }
    }
}

impl From<SubOrchestrationOptions> for OptionsDocument {
    fn from(SubOrchestrationOptions { retry, timeout_ms }: SubOrchestrationOptions) -> Self {
        Self {
            retry: retry.map(Into::into),
            attempt_timeout_ms: None,
            timeout_ms,
            heartbeat_timeout_ms: None,
        }
    }
}

impl From<RetryPolicy> for RetryDocument {
    fn from(policy: RetryPolicy) -> Self {
        let RetryPolicy {
            first_interval_ms,
            backoff_coefficient,
            max_interval_ms,
            max_attempts,
            non_retryable_error_types,
        } = policy;
        Self {
            first_interval_ms,
            backoff_coefficient,
            max_interval_ms,
            max_attempts,
            non_retryable_error_types,
        }
    }
}

impl From<Completion> for CompletionDocument {
    fn from(completion: Completion) -> Self {
        Self {
            task: completion.task.0,
            attempt: completion.attempt,
            state: match completion.state {
                CompletionState::Running => "running",
                CompletionState::Waiting => "waiting",
                CompletionState::Used => "used",
                CompletionState::Void => "over",
            },
            started_time: time(completion.started_at),
            expires_time: completion.expires_at.map(time),
        }
    }
}

impl From<Heartbeat> for HeartbeatDocument {
    fn from(heartbeat: Heartbeat) -> Self {
        Self {
            task: heartbeat.task.0,
            details: Verbatim(heartbeat.details),
            time: time(heartbeat.at),
        }
    }
}

impl From<AttemptRow> for AttemptDocument {
    fn from(row: AttemptRow) -> Self {
        Self {
            task: row.task.0,
            attempt: row.number,
            cut_off: row.cut_off,
            failure: row.failure.into(),
            fuel: row.fuel,
            started_time: time(row.started_at),
            ended_time: time(row.ended_at),
            next_time: row.next_at.map(time),
        }
    }
}
