//! Histories: one row per turn, append-only.

use super::Error;
use crate::model::{ExecutionNumber, InstanceNumber, TurnNumber};

/// How many turns are read with an instance when an owner takes it over. Enough for most histories; limits what is read
/// of a long history without being needed.
pub(super) const FIRST_TURNS: u32 = 32;

/// A row to write.
pub(super) struct NewTurn<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) execution: ExecutionNumber,
    pub(super) turn: TurnNumber,
    pub(super) body: &'a [u8],
}

/// The name of a turn in errors.
pub(super) fn name(instance: InstanceNumber, execution: ExecutionNumber, number: TurnNumber) -> String {
    format!("turn {number} of execution {execution} of instance {instance}")
}

/// The error for a turn whose predecessor is missing.
pub(super) fn gap(found: &str, missing: TurnNumber) -> Error {
    Error::Damaged(format!("{found}: turn {missing} should come before it"))
}
