//! The status of an instance.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The status of an instance. The numbers are stored, and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum InstanceStatus {
    /// Accepted; its first turn has not run.
    Pending = 0,
    /// Between its first turn and its end.
    Running = 1,
    /// Suspended by a person; messages are stored until it is resumed.
    Suspended = 2,
    /// Its history and its code no longer agree, or the code cannot run; [`StuckReason`] says why. Can be resumed,
    /// terminated and purged.
    Stuck = 3,
    /// Ended with a result.
    Completed = 10,
    /// Ended with a failure.
    Failed = 11,
    /// Terminated by a person.
    Terminated = 12,
    /// Ended with the failure `windlass.cancelled` after its cancellation was requested.
    Canceled = 13,
}

impl InstanceStatus {
    /// All statuses, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::Suspended,
        Self::Stuck,
        Self::Completed,
        Self::Failed,
        Self::Terminated,
        Self::Canceled,
    ];

    /// The lowest number of an ended status; queries use it.
    pub const FIRST_ENDED: u8 = 10;

    /// Whether the instance has ended.
    pub fn has_ended(self) -> bool {
        self as u8 >= Self::FIRST_ENDED
    }

    /// The status with that number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as u8 == number)
    }

    /// The status with that name, case-insensitive.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.name().eq_ignore_ascii_case(name))
    }

    /// The name that clients see, spelled as in Durable Functions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Suspended => "Suspended",
            Self::Stuck => "Stuck",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Terminated => "Terminated",
            Self::Canceled => "Canceled",
        }
    }
}

impl fmt::Display for InstanceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why an instance is stuck. The code is stable; each code has a page in `docs/errors/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckReason {
    /// `nondeterminism`, `trap-on-replay`, `fuel-on-replay`, `module-unavailable`, `history-unreadable`, `took-host-down`,
    /// `turn-too-large`, `rewound-too-often`.
    pub code: String,
    /// What happened, with the turn, what the history holds, and what the code asked for.
    pub message: String,
}
