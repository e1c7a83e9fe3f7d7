//! Histories: one row per turn, append-only.

use super::Error;
use crate::model::{ExecutionNumber, InstanceNumber, TurnNumber};

/// How many turns are read along when an instance is taken over. Enough for most histories; bounds what is read of a long
/// one for nothing.
pub(super) const FIRST_TURNS: u32 = 32;

/// A turn to be written.
pub(super) struct NewTurn<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) execution: ExecutionNumber,
    pub(super) turn: TurnNumber,
    pub(super) body: &'a [u8],
}

/// A turn, as errors call it.
pub(super) fn name(instance: InstanceNumber, execution: ExecutionNumber, number: TurnNumber) -> String {
    format!("turn {number} of execution {execution} of instance {instance}")
}

/// A turn was found although the one before it is not there.
pub(super) fn gap(found: &str, missing: TurnNumber) -> Error {
    Error::Damaged(format!("{found}: turn {missing} should come before it"))
}
