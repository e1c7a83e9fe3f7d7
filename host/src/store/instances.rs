//! The instances' own rows: what the writer, the dispatcher and people need to know of each.

use super::sizes::Sizes;
use crate::model::{
    ExecutionNumber, InstanceId, InstanceNumber, InstanceStatus, ModuleNumber, Parent, StuckReason, TenantId,
    Timestamp, TurnNumber,
};

/// What the writer must know of an instance to judge a change.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InstanceHead {
    pub(super) number: InstanceNumber,
    pub(super) tenant: TenantId,
    pub(super) id: InstanceId,
    pub(super) status: InstanceStatus,
    pub(super) execution: ExecutionNumber,
    pub(super) last_turn: TurnNumber,
    pub(super) sizes: Sizes,
}

/// An instance to be created, in the state that its first step left it in; pending if it took none.
pub(super) struct CreatedInstance<'a> {
    pub(super) tenant: TenantId,
    pub(super) id: &'a InstanceId,
    pub(super) function: u64,
    pub(super) created_at: Timestamp,
    pub(super) parent: Option<&'a Parent>,
    pub(super) state: ChangedInstance<'a>,
}

/// What turns and other steps change of an instance.
pub(super) struct ChangedInstance<'a> {
    pub(super) number: InstanceNumber,
    pub(super) status: InstanceStatus,
    pub(super) execution: ExecutionNumber,
    pub(super) last_turn: TurnNumber,
    pub(super) wake_at: Option<Timestamp>,
    pub(super) in_flight: u32,
    pub(super) module: ModuleNumber,
    pub(super) updated_at: Timestamp,
    /// Added to the total.
    pub(super) fuel: u64,
    pub(super) stuck: Option<&'a StuckReason>,
    /// The new custom status, if it changed.
    pub(super) custom_status: Option<Option<&'a str>>,
    /// Whether a turn was written, which shows that the instance does not take the host down.
    pub(super) took_a_turn: bool,
    /// How much is stored of it after the batch; known when the batch is.
    pub(super) sizes: Sizes,
}

/// An instance named by its number.
#[derive(Clone, Copy)]
pub(super) struct ByNumber(pub(super) InstanceNumber);

/// An instance named by tenant and id.
pub(super) struct ById<'a>(pub(super) TenantId, pub(super) &'a InstanceId);
