//! `historyEvents`: the history of the current execution as a list of events.
//!
//! The original records a call and its result as two events, and shows them as one as soon as there is a result. Here,
//! turns become events one after another; the event of a call is kept at hand until the result takes it over.

use std::collections::HashMap;

use serde::Serialize;

use super::document::{Shown, error_text, reason_value};
use crate::{
    http::{
        document::{Verbatim, time},
        page::json_bytes,
    },
    model::{
        Arrival, Cause, Decision, EntityId, Event, Failure, InstanceStatus, Outcome, Payload, TaskId, Timestamp, Turn,
        failure::types,
    },
    store::ANSWER_BYTES,
};

/// The approximate size of an event besides its texts, in bytes.
const EVENT_BYTES: usize = 160;

/// One event. Fields that do not apply are left out.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HistoryEvent {
    event_type: &'static str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fire_at: Option<String>,
    /// JSON text in a string, unlike the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orchestration_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Verbatim>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_details: Option<FailureDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

/// A failure with its causes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct FailureDetails {
    error_type: String,
    error_message: String,
    stack_trace: &'static str,
    inner_failure: Option<Box<FailureDetails>>,
    is_non_retriable: bool,
}

/// What waits for its end.
#[derive(Debug)]
enum Open {
    /// A call, whose event is at this position.
    Call { position: usize, is_child: bool },
    /// A timer.
    Timer { fire_at: String },
    /// An operation of an entity, whose answer is an event.
    Operation { operation: String },
}

/// The events of the turns so far, up to a limit in bytes.
#[derive(Debug)]
pub(super) struct History {
    shown: Shown,
    /// `None` where a result has taken over the event of its call.
    events: Vec<Option<HistoryEvent>>,
    open: HashMap<TaskId, Open>,
    bytes: usize,
    last_at: Timestamp,
    is_cut: bool,
    /// The cancellation of the instance was requested.
    is_cancelled: bool,
}

impl History {
    pub(super) fn new(shown: Shown) -> Self {
        Self {
            shown,
            events: Vec::new(),
            open: HashMap::new(),
            bytes: 0,
            last_at: Timestamp(0),
            is_cut: false,
            is_cancelled: false,
        }
    }

    /// Whether further events are left out.
    pub(super) fn is_full(&self) -> bool {
        self.is_cut || self.bytes >= ANSWER_BYTES
    }

    /// Says that events follow which are not in the list.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Adds the events of the next turn.
    pub(super) fn add_turn(&mut self, turn: Turn) {
        self.last_at = turn.at;
        for arrival in turn.arrivals {
            self.add_arrival(turn.at, arrival);
        }
        for decision in turn.decisions {
            self.add_decision(turn.at, decision);
        }
    }

    /// All events, oldest first. If some are left out, the last event says so.
    pub(super) fn into_events(self) -> Vec<HistoryEvent> {
        let (is_cut, last_at) = (self.is_cut, self.last_at);
        let mut events: Vec<_> = self.events.into_iter().flatten().collect();
        if is_cut {
            let text = "the history is longer: GET /v1/instances/{id}?history=true shows it in pages";
            events.push(HistoryEvent {
                data: Some(text.into()),
                ..HistoryEvent::new("GenericEvent", last_at)
            });
        }
        events
    }

    fn add(&mut self, event: HistoryEvent) -> Option<usize> {
        if self.is_full() {
            self.is_cut = true;
            return None;
        }
        self.bytes += event.bytes();
        self.events.push(Some(event));
        Some(self.events.len() - 1)
    }

    fn input(&self, payload: &Payload) -> Option<String> {
        self.shown.input.then(|| payload.as_str().to_owned())
    }

    fn result(&self, payload: Option<Payload>) -> Option<Verbatim> {
        payload.filter(|_| self.shown.results).map(Verbatim)
    }

    fn add_arrival(&mut self, at: Timestamp, arrival: Arrival) {
        match arrival {
            Arrival::Started(started) => {
                self.add(HistoryEvent {
                    function_name: Some(started.function.to_string()),
                    input: self.input(&started.input),
                    ..HistoryEvent::new("ExecutionStarted", at)
                });
                started.events.into_iter().for_each(|event| self.add_raised(at, &event));
            }
            Arrival::TaskEnded { task, outcome } => self.add_end(at, task, outcome),
            Arrival::TimerFired { task } => {
                let fire_at = match self.open.remove(&task) {
                    Some(Open::Timer { fire_at }) => Some(fire_at),
                    _ => None,
                };
                self.add(HistoryEvent {
                    fire_at,
                    ..HistoryEvent::new("TimerFired", at)
                });
            }
            Arrival::EventRaised(event) => self.add_raised(at, &event),
            Arrival::Terminated { reason } => {
                self.add(HistoryEvent {
                    input: self.shown.input.then(|| reason.clone()),
                    ..HistoryEvent::new("ExecutionTerminated", at)
                });
                self.add(HistoryEvent {
                    orchestration_status: Some(InstanceStatus::Terminated.name()),
                    result: self.result(reason_value(&reason)),
                    ..HistoryEvent::new("ExecutionCompleted", at)
                });
            }
            Arrival::Rewound { reason, .. } => {
                self.add(HistoryEvent {
                    data: Some(format!("rewound: {reason}")),
                    ..HistoryEvent::new("GenericEvent", at)
                });
            }
            // The original has no such request.
            Arrival::CancelRequested { .. } => self.is_cancelled = true,
            Arrival::ClockBehind { .. } => {}
        }
    }

    fn add_raised(&mut self, at: Timestamp, event: &Event) {
        self.add(HistoryEvent {
            name: Some(event.name.to_string()),
            input: self.input(&event.payload),
            ..HistoryEvent::new("EventRaised", at)
        });
    }

    /// The end of a call takes over name, time and input of the call's own event.
    fn add_end(&mut self, at: Timestamp, task: TaskId, outcome: Outcome) {
        if self.is_full() {
            self.is_cut = true;
            return;
        }
        let open = self.open.remove(&task);
        if let Some(Open::Operation { operation }) = open {
            let answer = match &outcome {
                Ok(output) => output.as_str().to_owned(),
                Err(failure) => error_text(failure),
            };
            self.add(HistoryEvent {
                name: Some(operation),
                input: self.shown.input.then_some(answer),
                ..HistoryEvent::new("EventRaised", at)
            });
            return;
        }
        let (call, is_child) = match open {
            Some(Open::Call { position, is_child }) => (self.events[position].take(), is_child),
            _ => (None, false),
        };
        let call = call.unwrap_or_default();
        self.bytes = self.bytes.saturating_sub(call.bytes());
        let HistoryEvent {
            name, timestamp, input, ..
        } = call;
        let ended = HistoryEvent {
            function_name: name,
            scheduled_time: Some(timestamp).filter(|time| !time.is_empty()),
            input,
            ..HistoryEvent::default()
        };
        self.add(match outcome {
            Ok(output) => HistoryEvent {
                event_type: completed(is_child),
                timestamp: time(at),
                result: self.result(Some(output)),
                ..ended
            },
            Err(failure) => HistoryEvent {
                event_type: failed(is_child),
                timestamp: time(at),
                ..ended.failed(failure)
            },
        });
    }

    fn add_decision(&mut self, at: Timestamp, decision: Decision) {
        match decision {
            Decision::CallActivity {
                task, function, input, ..
            } => {
                let event = HistoryEvent {
                    name: Some(function.to_string()),
                    input: self.input(&input),
                    ..HistoryEvent::new("TaskScheduled", at)
                };
                self.add_call(task, event, false);
            }
            Decision::CallSubOrchestration {
                task,
                function,
                input,
                instance_id,
                ..
            } => {
                let event = HistoryEvent {
                    name: Some(function.to_string()),
                    instance_id: Some(instance_id.to_string()),
                    input: self.input(&input),
                    ..HistoryEvent::new("SubOrchestrationInstanceCreated", at)
                };
                self.add_call(task, event, true);
            }
            Decision::StartOrchestration {
                function,
                input,
                instance_id,
                ..
            } => {
                self.add(HistoryEvent {
                    name: Some(function.to_string()),
                    instance_id: Some(instance_id.to_string()),
                    input: self.input(&input),
                    ..HistoryEvent::new("SubOrchestrationInstanceCreated", at)
                });
            }
            Decision::SendEvent { instance_id, event } => {
                self.add(HistoryEvent {
                    name: Some(event.name.to_string()),
                    instance_id: Some(instance_id.to_string()),
                    input: self.input(&event.payload),
                    ..HistoryEvent::new("EventSent", at)
                });
            }
            Decision::CreateTimer { task, fire_at } => {
                let fire_at = time(fire_at);
                let event = HistoryEvent {
                    fire_at: Some(fire_at.clone()),
                    ..HistoryEvent::new("TimerCreated", at)
                };
                if self.add(event).is_some() {
                    self.open.insert(task, Open::Timer { fire_at });
                }
            }
            Decision::Refused {
                call, name, failure, ..
            } => self.add_refused(at, &call, name, failure),
            Decision::Complete { output } => self.add_completed(at, InstanceStatus::Completed.name(), Some(output)),
            Decision::Fail { failure } => {
                let result = self.result(Some(Payload::of(&error_text(&failure))));
                let status = match self.is_cancelled && failure.error_type == types::CANCELLED {
                    true => InstanceStatus::Canceled,
                    false => InstanceStatus::Failed,
                };
                self.add(HistoryEvent {
                    orchestration_status: Some(status.name()),
                    result,
                    failure_details: Some(failure.into()),
                    ..HistoryEvent::new("ExecutionCompleted", at)
                });
            }
            Decision::ContinueAsNew { input, .. } => self.add_completed(at, "ContinuedAsNew", Some(input)),
            // As in the original, operations are events between instances.
            Decision::CallEntity {
                task,
                entity,
                operation,
                input,
                ..
            } => {
                self.add_operation(at, &entity, &operation, &input);
                self.open.insert(task, Open::Operation { operation });
            }
            Decision::SignalEntity {
                entity,
                operation,
                input,
                ..
            } => self.add_operation(at, &entity, &operation, &input),
            // The original records neither waits for events, cancellations nor patches, and locks as events without
            // content.
            Decision::WaitForEvent { .. }
            | Decision::WaitForCancellation { .. }
            | Decision::SetParentClose { .. }
            | Decision::Patched { .. }
            | Decision::CancelTask { .. }
            | Decision::LockEntities { .. }
            | Decision::UnlockEntities { .. } => {}
        }
    }

    fn add_operation(&mut self, at: Timestamp, entity: &EntityId, operation: &str, input: &Payload) {
        self.add(HistoryEvent {
            name: Some(operation.to_owned()),
            instance_id: Some(entity.to_string()),
            input: self.input(input),
            ..HistoryEvent::new("EventSent", at)
        });
    }

    fn add_call(&mut self, task: TaskId, event: HistoryEvent, is_child: bool) {
        if let Some(position) = self.add(event) {
            self.open.insert(task, Open::Call { position, is_child });
        }
    }

    /// A call that was rejected at once: in the original, it is scheduled and fails.
    fn add_refused(&mut self, at: Timestamp, call: &str, name: String, failure: Failure) {
        let event_type = match call {
            "call-activity" => failed(false),
            "call-sub-orchestration" => failed(true),
            _ => {
                self.add(HistoryEvent {
                    data: Some(format!("{call} of {name:?} was rejected: {}", error_text(&failure))),
                    ..HistoryEvent::new("GenericEvent", at)
                });
                return;
            }
        };
        let ended = HistoryEvent {
            function_name: Some(name),
            scheduled_time: Some(time(at)),
            ..HistoryEvent::new(event_type, at)
        };
        self.add(ended.failed(failure));
    }

    fn add_completed(&mut self, at: Timestamp, status: &'static str, result: Option<Payload>) {
        self.add(HistoryEvent {
            orchestration_status: Some(status),
            result: self.result(result),
            ..HistoryEvent::new("ExecutionCompleted", at)
        });
    }
}

fn completed(is_child: bool) -> &'static str {
    if is_child {
        "SubOrchestrationInstanceCompleted"
    } else {
        "TaskCompleted"
    }
}

fn failed(is_child: bool) -> &'static str {
    if is_child {
        "SubOrchestrationInstanceFailed"
    } else {
        "TaskFailed"
    }
}

impl HistoryEvent {
    fn new(event_type: &'static str, at: Timestamp) -> Self {
        Self {
            event_type,
            timestamp: time(at),
            ..Self::default()
        }
    }

    fn failed(self, failure: Failure) -> Self {
        Self {
            reason: Some(failure.message.clone()),
            details: failure.details.as_ref().map(|details| details.as_str().to_owned()),
            failure_details: Some(failure.into()),
            ..self
        }
    }

    /// The approximate size of the event in JSON, in bytes.
    fn bytes(&self) -> usize {
        let texts = [
            &self.function_name,
            &self.name,
            &self.instance_id,
            &self.input,
            &self.reason,
            &self.details,
            &self.data,
        ];
        let texts = texts.into_iter().flatten().map(|text| json_bytes(text)).sum::<usize>();
        let result = self.result.as_ref().map_or(0, |Verbatim(result)| result.as_str().len());
        let failure = self.failure_details.as_ref().map_or(0, FailureDetails::bytes);
        EVENT_BYTES + texts + result + failure
    }
}

impl FailureDetails {
    fn bytes(&self) -> usize {
        let inner = self.inner_failure.as_ref().map_or(0, |inner| inner.bytes());
        EVENT_BYTES + json_bytes(&self.error_type) + json_bytes(&self.error_message) + inner
    }
}

impl From<Failure> for FailureDetails {
    fn from(failure: Failure) -> Self {
        // From the root to the direct cause.
        let inner = failure.causes.into_iter().rev().fold(None, |inner, cause| {
            let Cause {
                error_type, message, ..
            } = cause;
            Some(Box::new(Self {
                error_type,
                error_message: message,
                stack_trace: "",
                inner_failure: inner,
                is_non_retriable: false,
            }))
        });
        Self {
            error_type: failure.error_type,
            error_message: failure.message,
            stack_trace: "",
            inner_failure: inner,
            is_non_retriable: failure.non_retryable,
        }
    }
}
