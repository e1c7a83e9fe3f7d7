//! The rows of instances: what the writer, the dispatcher and clients need to know about each.

use super::sizes::Sizes;
use crate::model::{
    ExecutionNumber, InstanceId, InstanceNumber, InstanceStatus, ModuleNumber, Parent, StuckReason, TenantId,
    Timestamp, TurnNumber, entity::ENTITY_MARK,
};

/// What the writer must know about an instance to check a change.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InstanceHead {
    pub(super) number: InstanceNumber,
    pub(super) tenant: TenantId,
    pub(super) id: InstanceId,
    pub(super) status: InstanceStatus,
    pub(super) execution: ExecutionNumber,
    pub(super) last_turn: TurnNumber,
    /// The instance that started it as a sub-orchestration.
    pub(super) parent: Option<InstanceNumber>,
    /// Whether a time is set at which it wakes.
    pub(super) has_wake_up: bool,
    /// If it is an entity: how many messages wait for it. When it is read from the database, no more than
    /// [`MAX_WAITING`](super::entities::MAX_WAITING) are counted.
    pub(super) waiting: u64,
    pub(super) sizes: Sizes,
}

impl InstanceHead {
    /// Whether it is an entity.
    pub(super) fn is_entity(&self) -> bool {
        self.id.as_str().starts_with(ENTITY_MARK)
    }

    /// Whether messages that are no control messages do not wake the instance.
    pub(super) fn is_at_rest(&self) -> bool {
        is_at_rest(self.status, self.has_wake_up)
    }
}

/// Whether an instance is suspended or stuck, or waits for the time of its first turn.
pub(super) fn is_at_rest(status: InstanceStatus, has_wake_up: bool) -> bool {
    match status {
        InstanceStatus::Suspended | InstanceStatus::Stuck => true,
        InstanceStatus::Pending => has_wake_up,
        _ => false,
    }
}

/// When the first turn of an instance runs, if it waits for that time.
pub(super) fn start_at(status: InstanceStatus, wake_at: Option<Timestamp>) -> Option<Timestamp> {
    wake_at.filter(|_| status == InstanceStatus::Pending)
}

/// A new instance in the state after its first step; pending if it took none.
pub(super) struct CreatedInstance<'a> {
    pub(super) tenant: TenantId,
    pub(super) id: &'a InstanceId,
    pub(super) function: u64,
    pub(super) created_at: Timestamp,
    pub(super) parent: Option<&'a Parent>,
    pub(super) state: ChangedInstance<'a>,
}

/// The columns that steps change.
pub(super) struct ChangedInstance<'a> {
    pub(super) number: InstanceNumber,
    pub(super) status: InstanceStatus,
    pub(super) execution: ExecutionNumber,
    pub(super) last_turn: TurnNumber,
    pub(super) wake_at: Option<Timestamp>,
    pub(super) in_flight: u32,
    pub(super) module: ModuleNumber,
    pub(super) updated_at: Timestamp,
    /// The fuel that the step used, added to the total.
    pub(super) fuel: u64,
    pub(super) stuck: Option<&'a StuckReason>,
    /// The new custom status, if it changed.
    pub(super) custom_status: Option<Option<&'a str>>,
    /// The new state of an entity, encoded.
    pub(super) entity: Option<&'a [u8]>,
    /// The new rewinds, encoded.
    pub(super) rewinds: Option<Vec<u8>>,
    /// The instance's sizes after the batch; filled in when the batch is complete.
    pub(super) sizes: Sizes,
}

/// Selects an instance by number.
#[derive(Clone, Copy)]
pub(super) struct ByNumber(pub(super) InstanceNumber);

/// Selects an instance by tenant and id.
pub(super) struct ById<'a>(pub(super) TenantId, pub(super) &'a InstanceId);
