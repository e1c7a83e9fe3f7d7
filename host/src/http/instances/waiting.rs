//! The part of an instance's document that says what it waits for.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    engine::{
        ActivityState, Attempts, Described, Section, WaitingActivity, WaitingCancellation, WaitingChild,
        WaitingEntityCall, WaitingEvent, WaitingFor, WaitingTimer,
    },
    http::document::time,
    model::{EntityId, InstanceStatus},
};

/// What an instance waits for, as of its last commit. Of each kind, at most the first 100 are described; `total` counts
/// all.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WaitingFor)]
pub(crate) struct WaitingDocument {
    /// The last turn that is taken into account.
    turn: u32,
    /// Whether all outstanding tasks are counted. It is `false` if the history of the execution is too long to be read
    /// for a query (more than 50000 turns or 16 MiB); then everything is empty.
    complete: bool,
    /// Activity calls, in the order in which they were scheduled.
    activities: DescribedActivities,
    /// Sub-orchestrations, in the order in which they were scheduled.
    sub_orchestrations: DescribedChildren,
    /// Timers, soonest first.
    timers: DescribedTimers,
    /// Waits for events, in the order in which they began.
    events: DescribedEvents,
    /// Waits for a request to cancel the instance, in the order in which they began.
    cancellation: DescribedCancellation,
    /// Calls of entities, in the order in which they were sent.
    entity_calls: DescribedEntityCalls,
    /// The critical section that the instance is in, or waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    critical_section: Option<SectionDocument>,
}

/// Declares a document of tasks of one kind, because each needs a name in the schema.
macro_rules! described {
    ($(#[$doc:meta])* $name:ident, $of:ident) => {
        $(#[$doc])*
        #[derive(Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $name {
            /// How many there are.
            total: usize,
            /// The first ones, at most 100.
            first: Vec<$of>,
        }

        impl<T: Into<$of>> From<Described<T>> for $name {
            fn from(Described { total, first }: Described<T>) -> Self {
                Self {
                    total,
                    first: first.into_iter().map(Into::into).collect(),
                }
            }
        }
    };
}

described!(
    /// Outstanding activity calls.
    DescribedActivities, WaitingActivityDocument
);
described!(
    /// Outstanding sub-orchestrations.
    DescribedChildren, WaitingChildDocument
);
described!(
    /// Outstanding timers.
    DescribedTimers, WaitingTimerDocument
);
described!(
    /// Waits for events.
    DescribedEvents, WaitingEventDocument
);
described!(
    /// Waits for a request to cancel the instance.
    DescribedCancellation, WaitingCancellationDocument
);
described!(
    /// Outstanding calls of entities.
    DescribedEntityCalls, WaitingEntityCallDocument
);
described!(
    /// The entities of a critical section.
    DescribedEntities, EntityReference
);

/// The attempts of a task.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempts)]
pub(crate) struct AttemptsDocument {
    /// The number of the current or next attempt, from 1.
    attempt: u32,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<BriefFailure>,
    /// When the next attempt starts, if it waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
}

/// A failure with at most 512 bytes of its message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BriefFailure {
    /// Machine-readable type.
    r#type: String,
    /// One sentence for people, possibly truncated.
    message: String,
}

/// An outstanding activity call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WaitingActivity)]
pub(crate) struct WaitingActivityDocument {
    /// Its task, as in the history.
    task: u32,
    /// The name of the activity.
    name: String,
    /// `running`; `queued`: it waits for a slot, for memory, or for its instance to be loaded; `backingOff`: it waits for
    /// the time of the next attempt; `waitingForCompletion`: its attempt has ended, and somebody outside completes it.
    #[schema(example = "running")]
    state: &'static str,
    /// When it was scheduled.
    since: String,
    /// When the whole call times out.
    #[serde(skip_serializing_if = "Option::is_none")]
    times_out_at: Option<String>,
    #[serde(flatten)]
    attempts: AttemptsDocument,
}

/// An outstanding sub-orchestration.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WaitingChild)]
pub(crate) struct WaitingChildDocument {
    /// Its task, as in the history.
    task: u32,
    /// The name of the orchestration.
    name: String,
    /// The id of the instance.
    instance_id: String,
    /// The status of the instance; absent if it does not exist any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_status: Option<&'static str>,
    /// When it was scheduled.
    since: String,
    /// When the whole call times out.
    #[serde(skip_serializing_if = "Option::is_none")]
    times_out_at: Option<String>,
    #[serde(flatten)]
    attempts: AttemptsDocument,
}

/// An outstanding timer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WaitingTimer)]
pub(crate) struct WaitingTimerDocument {
    /// Its task, as in the history.
    task: u32,
    /// When it fires.
    fires_at: String,
}

/// A wait for an event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WaitingEvent)]
pub(crate) struct WaitingEventDocument {
    /// Its task, as in the history.
    task: u32,
    /// The name of the event.
    name: String,
    /// When the wait began.
    since: String,
}

/// A wait for a request to cancel the instance.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WaitingCancellation)]
pub(crate) struct WaitingCancellationDocument {
    /// Its task, as in the history.
    task: u32,
    /// When the wait began.
    since: String,
}

/// An entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntityReference {
    /// Its name.
    name: String,
    /// Its key.
    key: String,
}

/// An outstanding call of an entity.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WaitingEntityCall)]
pub(crate) struct WaitingEntityCallDocument {
    /// Its task, as in the history.
    task: u32,
    /// The entity.
    entity: EntityReference,
    /// The name of the operation.
    operation: String,
    /// When it was sent.
    since: String,
}

/// A critical section.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Section)]
pub(crate) struct SectionDocument {
    /// Its lock task, as in the history.
    task: u32,
    /// `held` if all entities are locked; `waiting` if it waits for some of them.
    #[schema(example = "held")]
    state: &'static str,
    /// When the locks were requested.
    since: String,
    /// The entities.
    entities: DescribedEntities,
}

impl From<WaitingFor> for WaitingDocument {
    fn from(waiting: WaitingFor) -> Self {
        Self {
            turn: waiting.turn.0,
            complete: !waiting.is_too_long,
            activities: waiting.activities.into(),
            sub_orchestrations: waiting.children.into(),
            timers: waiting.timers.into(),
            events: waiting.events.into(),
            cancellation: waiting.cancellation.into(),
            entity_calls: waiting.entity_calls.into(),
            critical_section: waiting.section.map(Into::into),
        }
    }
}

impl From<Attempts> for AttemptsDocument {
    fn from(attempts: Attempts) -> Self {
        Self {
            attempt: attempts.number,
            last_failure: attempts.last_failure.map(|failure| BriefFailure {
                r#type: failure.error_type,
                message: failure.message,
            }),
            next_attempt_at: attempts.next_at.map(time),
        }
    }
}

impl From<WaitingActivity> for WaitingActivityDocument {
    fn from(activity: WaitingActivity) -> Self {
        Self {
            task: activity.task.0,
            name: activity.function.to_string(),
            state: match activity.state {
                ActivityState::Running => "running",
                ActivityState::Queued => "queued",
                ActivityState::BackingOff => "backingOff",
                ActivityState::WaitingForCompletion => "waitingForCompletion",
            },
            since: time(activity.since),
            times_out_at: activity.times_out_at.map(time),
            attempts: activity.attempts.into(),
        }
    }
}

impl From<WaitingChild> for WaitingChildDocument {
    fn from(child: WaitingChild) -> Self {
        Self {
            task: child.task.0,
            name: child.function.to_string(),
            instance_id: child.id.to_string(),
            runtime_status: child.status.map(InstanceStatus::name),
            since: time(child.since),
            times_out_at: child.times_out_at.map(time),
            attempts: child.attempts.into(),
        }
    }
}

impl From<WaitingTimer> for WaitingTimerDocument {
    fn from(timer: WaitingTimer) -> Self {
        Self {
            task: timer.task.0,
            fires_at: time(timer.fires_at),
        }
    }
}

impl From<WaitingCancellation> for WaitingCancellationDocument {
    fn from(wait: WaitingCancellation) -> Self {
        Self {
            task: wait.task.0,
            since: time(wait.since),
        }
    }
}

impl From<WaitingEvent> for WaitingEventDocument {
    fn from(event: WaitingEvent) -> Self {
        Self {
            task: event.task.0,
            name: event.name.to_string(),
            since: time(event.since),
        }
    }
}

impl From<WaitingEntityCall> for WaitingEntityCallDocument {
    fn from(call: WaitingEntityCall) -> Self {
        Self {
            task: call.task.0,
            entity: call.entity.into(),
            operation: call.operation,
            since: time(call.since),
        }
    }
}

impl From<EntityId> for EntityReference {
    fn from(entity: EntityId) -> Self {
        Self {
            name: entity.name().to_string(),
            key: entity.key().to_string(),
        }
    }
}

impl From<Section> for SectionDocument {
    fn from(section: Section) -> Self {
        Self {
            task: section.task.0,
            state: if section.is_held { "held" } else { "waiting" },
            since: time(section.since),
            entities: section.entities.into(),
        }
    }
}
