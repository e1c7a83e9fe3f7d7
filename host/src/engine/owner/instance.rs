//! What an owner knows of every instance, whatever its kind.

use crate::model::{
    ExecutionNumber, FunctionName, InstanceId, InstanceNumber, InstanceStatus, ModuleNumber, Outcome, Parent, Payload,
    StuckReason, TaskId, TenantId, Timestamp, TurnNumber,
};
use crate::store::InstanceRecord;

/// An instance without its messages and its [behaviour](super::behaviour).
#[derive(Debug)]
pub struct Instance {
    pub(super) identity: Identity,
    /// The module version that the execution runs on.
    pub(super) module: ModuleNumber,
    pub(super) status: InstanceStatus,
    /// Why the instance is stuck, if it is.
    pub(super) stuck: Option<StuckReason>,
    pub(super) position: Position,
    pub(super) shown: Shown,
}

impl Instance {
    /// The instance as the store has it.
    pub(super) fn new(record: InstanceRecord) -> Self {
        Self {
            identity: Identity {
                number: record.number,
                tenant: record.tenant,
                id: record.id,
                function: record.function,
                parent: record.parent,
                created_at: record.created_at,
            },
            module: record.module,
            status: record.status,
            stuck: record.stuck,
            position: Position {
                execution: record.execution,
                last_turn: record.last_turn,
            },
            shown: Shown {
                updated_at: record.created_at,
                custom_status: record.custom_status,
                fuel: record.fuel,
                outcome: None,
            },
        }
    }

    pub(super) fn is_suspended_or_stuck(&self) -> bool {
        matches!(self.status, InstanceStatus::Suspended | InstanceStatus::Stuck)
    }
}

/// The part of an instance that never changes.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) number: InstanceNumber,
    pub(super) tenant: TenantId,
    pub(super) id: InstanceId,
    pub(super) function: FunctionName,
    pub(super) parent: Option<Parent>,
    pub(super) created_at: Timestamp,
}

impl Identity {
    /// This instance as the parent of an attempt of a sub-orchestration.
    pub(super) fn as_parent(&self, execution: ExecutionNumber, task: TaskId, attempt: u32) -> Parent {
        Parent {
            instance: self.number,
            instance_id: self.id.clone(),
            execution,
            task,
            attempt,
        }
    }
}

/// The current execution and its last turn. It is ahead of what is durable while a commit is in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) execution: ExecutionNumber,
    pub(super) last_turn: TurnNumber,
}

impl Position {
    /// Whether the execution has had no turn.
    pub(super) fn is_first_turn(self) -> bool {
        self.last_turn == TurnNumber::NONE
    }

    /// The position before the first turn of the next execution.
    pub(super) fn next_execution(self) -> Self {
        Self {
            execution: self.execution.next(),
            last_turn: TurnNumber::NONE,
        }
    }
}

/// What queries show of an instance; the owner's decisions do not depend on it.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) updated_at: Timestamp,
    pub(super) custom_status: Option<Payload>,
    /// Fuel used by all of its turns and activities.
    pub(super) fuel: u64,
    /// The outcome, once the guest has ended.
    pub(super) outcome: Option<Outcome>,
}
