//! Where the next page of a list or of a history begins.

use crate::model::{ExecutionNumber, InstanceNumber, TurnNumber};

/// A place in a list of instances.
///
/// It contains an instance instead of an offset, so pages neither repeat nor skip instances when others are created or
/// deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(InstanceNumber);

/// A text is not a valid cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor from an earlier page")]
pub struct CursorError;

impl Cursor {
    /// The page that begins below an instance: the place after it, in a list.
    pub(crate) fn below(number: InstanceNumber) -> Self {
        Self(number)
    }

    /// The page that begins at an instance.
    pub(super) fn at(number: InstanceNumber) -> Self {
        Self(InstanceNumber(number.0.saturating_add(1)))
    }

    /// The instance below which the page begins.
    pub(crate) fn number(&self) -> InstanceNumber {
        self.0
    }
}

/// A place in the history of one execution of one instance.
///
/// It contains the execution, so that pages of two executions are never combined into one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryCursor {
    /// The instance.
    pub instance: InstanceNumber,
    /// The execution.
    pub execution: ExecutionNumber,
    /// The last turn of the page before.
    pub after: TurnNumber,
}
