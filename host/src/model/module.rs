//! What a module says of itself.

use serde::{Deserialize, Serialize};

use super::{ActivityOptions, EventName, FunctionName};

/// Which of the three worlds a component belongs to; the numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum FunctionKind {
    /// Deterministic coordinating code.
    Orchestration = 0,
    /// Code with side effects.
    Activity = 1,
}

impl FunctionKind {
    /// The word clients see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Orchestration => "orchestration",
            Self::Activity => "activity",
        }
    }

    /// The kind of that number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Orchestration, Self::Activity]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// What a component offers, as it described itself at upload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleDescription {
    /// Its world.
    pub kind: FunctionKind,
    /// Its functions, in its own order; at least one, no two of one name.
    pub functions: Vec<FunctionDescription>,
    /// Which SDK built it; may be empty.
    pub sdk: String,
    /// The events that its orchestrations declare. Stored apart: the format of what is above is fixed.
    #[serde(skip)]
    pub events: Vec<EventDescription>,
}

/// An event that an orchestration declares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventDescription {
    /// The orchestration, one of the same module.
    pub function: FunctionName,
    /// Its name; no orchestration has two that compare as equal.
    pub name: EventName,
    /// JSON Schema of the payload.
    pub payload_schema: Option<String>,
}

/// One function of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionDescription {
    /// The name callers use.
    pub name: FunctionName,
    /// One line for people; may be empty.
    pub doc: String,
    /// JSON Schema of the input.
    pub input_schema: Option<String>,
    /// JSON Schema of the output.
    pub output_schema: Option<String>,
    /// Activities: options of calls that set none.
    pub default_options: Option<ActivityOptions>,
}
