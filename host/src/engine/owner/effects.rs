//! The effects of a step besides its row, as a value. None of them happens before the step's commit.

use crate::model::{
    EntityId, Event, ExecutionNumber, FunctionName, InboxItem, InstanceId, InstanceNumber, LogLine, ModuleNumber,
    Operation, Outcome, Parent, Payload, SectionId, Started, TaskId, TenantId, Timestamp,
};
use crate::store::{AttemptRow, EntityAddress, NewInstance, OutboundMessage, Recipient, RewoundChild, Used};

use super::{ActivityChanges, OwnerContext};

/// Children, messages, attempts, activity calls and logs of one step, and the end of its execution.
#[derive(Default)]
pub(super) struct Effects {
    pub children: Vec<NewInstance>,
    /// Sub-orchestrations that run again because the instance is rewound.
    pub rewound: Vec<RewoundChild>,
    pub messages: Vec<OutboundMessage>,
    pub attempts: Vec<AttemptRow>,
    pub logs: Vec<LogLine>,
    pub custom_status: Option<Payload>,
    /// The outcome, if the guest has ended.
    pub outcome: Option<Outcome>,
    /// Whether the outcome is that of a cancellation which was requested.
    pub is_cancelled: bool,
    pub next_execution: Option<NextExecution>,
    /// Activity calls to start and to stop.
    pub activities: ActivityChanges,
    /// Fuel of the step and of the activity attempts whose results it takes.
    pub fuel: u64,
    /// Usage of the step and of the activity attempts whose results it takes.
    pub usage: Vec<Used>,
}

/// The execution that follows a continue-as-new.
pub(super) struct NextExecution {
    pub started: Started,
    /// The module version that it runs on.
    pub module: ModuleNumber,
}

impl Effects {
    /// Whether the step has no effects outside the instance.
    pub(super) fn is_empty(&self) -> bool {
        self.children.is_empty()
            && self.rewound.is_empty()
            && self.messages.is_empty()
            && self.attempts.is_empty()
            && self.usage.is_empty()
    }

    /// Starts an instance.
    pub(super) fn start(&mut self, context: &dyn OwnerContext, tenant: TenantId, child: Child<'_>) {
        self.children.push(Self::new_instance(context, tenant, child));
    }

    /// An instance to start.
    pub(super) fn new_instance(context: &dyn OwnerContext, tenant: TenantId, child: Child<'_>) -> NewInstance {
        NewInstance {
            tenant,
            id: child.id.clone(),
            module: child.module,
            started: Started {
                execution: ExecutionNumber::FIRST,
                function: child.function.clone(),
                input: child.input.clone(),
                seed: context.seed(),
                limits: context.limits(),
                parent: child.parent,
                events: Vec::new(),
                not_before: child.not_before,
            },
            created_at: context.now(),
        }
    }

    /// Terminates a sub-orchestration.
    pub(super) fn terminate_child(&mut self, id: InstanceId, reason: String) {
        self.messages.push(OutboundMessage {
            to: Recipient::Child(id),
            item: InboxItem::Terminate { reason },
        });
    }

    /// Requests the cancellation of a sub-orchestration.
    pub(super) fn cancel_child(&mut self, id: InstanceId, reason: String) {
        self.messages.push(OutboundMessage {
            to: Recipient::Child(id),
            item: InboxItem::Cancel { reason },
        });
    }

    /// Requests the cancellation of the instance again for its next execution, which begins with an empty history.
    pub(super) fn carry_cancellation(&mut self, instance: InstanceNumber, reason: String) {
        self.messages.push(OutboundMessage {
            to: Recipient::Number(instance),
            item: InboxItem::Cancel { reason },
        });
    }

    /// Raises an event for another instance.
    pub(super) fn send_event(&mut self, id: &InstanceId, event: &Event) {
        self.messages.push(OutboundMessage {
            to: Recipient::Id(id.clone()),
            item: InboxItem::Event(event.clone()),
        });
    }

    /// Sends an operation to an entity.
    pub(super) fn operate(&mut self, entity: &EntityId, module: ModuleNumber, operation: Operation) {
        self.send_to_entity(entity, module, InboxItem::Operation(Box::new(operation)));
    }

    /// Sends a message to an entity, which begins to exist with it.
    pub(super) fn send_to_entity(&mut self, entity: &EntityId, module: ModuleNumber, item: InboxItem) {
        let to = Recipient::Entity(EntityAddress::new(entity, module));
        self.messages.push(OutboundMessage { to, item });
    }

    /// Tells entities that a critical section was left.
    pub(super) fn unlock(&mut self, section: SectionId, entities: &[(EntityId, ModuleNumber)]) {
        for (entity, module) in entities {
            self.send_to_entity(entity, *module, InboxItem::Unlock { section });
        }
    }

    /// Sends the outcome of an operation, or the lock of all its entities, to the orchestration that waits for it.
    pub(super) fn answer_task(
        &mut self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
        outcome: Outcome,
    ) {
        self.messages.push(OutboundMessage {
            to: Recipient::Number(instance),
            item: InboxItem::TaskEnded {
                execution,
                task,
                attempt: 0,
                outcome,
            },
        });
    }

    /// Ends the instance with the outcome of its guest.
    pub(super) fn end(&mut self, parent: Option<&Parent>, outcome: Outcome) {
        self.notify_parent(parent, outcome.clone());
        self.outcome = Some(outcome);
    }

    /// Sends the outcome to the parent, if there is one.
    pub(super) fn notify_parent(&mut self, parent: Option<&Parent>, outcome: Outcome) {
        let Some(parent) = parent else { return };
        self.messages.push(OutboundMessage {
            to: Recipient::Number(parent.instance),
            item: InboxItem::TaskEnded {
                execution: parent.execution,
                task: parent.task,
                attempt: parent.attempt,
                outcome,
            },
        });
    }
}

/// An instance to start.
pub(super) struct Child<'a> {
    pub id: &'a InstanceId,
    pub module: ModuleNumber,
    pub function: &'a FunctionName,
    pub input: &'a Payload,
    pub parent: Option<Parent>,
    pub not_before: Option<Timestamp>,
}
