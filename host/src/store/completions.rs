//! Activity calls that are completed from outside. They are not part of the history, and replay does not see them.
//!
//! A call has at most one row: that of its last attempt which asked for a token. The row stays until its execution is
//! deleted.

use super::AttemptRow;
use crate::model::{ExecutionNumber, InboxItem, InstanceId, InstanceNumber, TaskId, TenantId, Timestamp};

/// The hash of the token that completes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// Whether a token can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionState {
    /// It can be used; the attempt is running.
    Running,
    /// It can be used; the attempt has ended, and the call waits.
    Waiting,
    /// It was used.
    Used,
    /// The attempt has ended by itself, its time is over, or the call was cancelled.
    Void,
}

/// A call that may be completed from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The execution that made the call.
    pub execution: ExecutionNumber,
    /// The task of the call.
    pub task: TaskId,
    /// The hash of its token.
    pub token: TokenHash,
    /// Whether the token can be used.
    pub state: CompletionState,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The position of the attempt among the recorded ones of the task, if it fails.
    pub ordinal: u32,
    /// The fuel that the attempt used; zero while it runs.
    pub fuel: u64,
    /// When the attempt started.
    pub started_at: Timestamp,
    /// When the wait ends.
    pub expires_at: Option<Timestamp>,
}

impl Completion {
    /// Whether the attempt has ended, and the call waits.
    pub(super) fn waits(&self) -> bool {
        self.state == CompletionState::Waiting
    }
}

/// A call, found by its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCompletion {
    /// The tenant of the instance.
    pub tenant: TenantId,
    /// The instance that made the call.
    pub instance: InstanceNumber,
    /// Its id.
    pub instance_id: InstanceId,
    /// The call.
    pub completion: Completion,
}

/// A change to a call that may be completed from outside.
#[derive(Debug, Clone)]
pub enum CompletionChange {
    /// A running attempt gets a token. Tokens of earlier attempts become unknown.
    Open,
    /// The attempt has ended, and the call waits.
    Wait {
        /// The fuel that the attempt used.
        fuel: u64,
    },
    /// The attempt has ended by itself, or the call was cancelled.
    Close,
    /// Somebody completes the call with this outcome of its task.
    Complete(InboxItem),
    /// Somebody lets the attempt fail, or its time is over: the state says which.
    Fail(Box<AttemptRow>, CompletionState),
}

/// What became of a [`CompletionChange`].
#[derive(Debug, Clone, PartialEq)]
pub enum CompletionOutcome {
    /// It is stored. Contains the message of [`CompletionChange::Complete`].
    Changed(Option<crate::model::InboxRow>),
    /// The token cannot be used for it any more.
    Refused(CompletionState),
    /// The instance has ended or continued as new, or the token is unknown.
    Gone,
}

/// The size of a row, in bytes.
pub(super) const COMPLETION_BYTES: usize = 96;

/// The key of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CompletionKey {
    pub(super) instance: InstanceNumber,
    pub(super) execution: ExecutionNumber,
    pub(super) task: TaskId,
}

impl CompletionKey {
    /// The key of a call.
    pub(super) fn of(instance: InstanceNumber, completion: &Completion) -> Self {
        Self {
            instance,
            execution: completion.execution,
            task: completion.task,
        }
    }
}

impl CompletionState {
    /// The stored number.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Running => 0,
            Self::Waiting => 1,
            Self::Used => 2,
            Self::Void => 3,
        }
    }

    /// Reads a stored number.
    pub(super) fn read(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Running),
            1 => Some(Self::Waiting),
            2 => Some(Self::Used),
            3 => Some(Self::Void),
            _ => None,
        }
    }
}

impl CompletionChange {
    /// The row after the change; `None` if the state does not allow it.
    pub(super) fn apply(&self, stored: &Completion) -> Option<Completion> {
        use CompletionState as S;
        let may = match self {
            Self::Open => true,
            Self::Wait { .. } => stored.state == S::Running,
            Self::Close | Self::Complete(_) | Self::Fail(..) => matches!(stored.state, S::Running | S::Waiting),
        };
        let (state, fuel) = match self {
            Self::Open => (S::Running, 0),
            Self::Wait { fuel } => (S::Waiting, *fuel),
            Self::Close => (S::Void, stored.fuel),
            Self::Complete(_) => (S::Used, stored.fuel),
            Self::Fail(_, state) => (*state, stored.fuel),
        };
        may.then(|| Completion {
            state,
            fuel,
            ..stored.clone()
        })
    }
}

/// A row to write.
pub(super) struct NewCompletion {
    pub(super) instance: InstanceNumber,
    pub(super) completion: Completion,
}
