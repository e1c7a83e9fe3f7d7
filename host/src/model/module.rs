//! The description of a module.

use serde::{Deserialize, Serialize};

use super::{ActivityOptions, EventName, FunctionName};

/// The kind of a module's functions, which is the world of the component. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum FunctionKind {
    /// Deterministic coordinating code.
    Orchestration = 0,
    /// Code with side effects.
    Activity = 1,
    /// Named states with operations, which are applied one at a time.
    Entity = 2,
}

impl FunctionKind {
    /// The name that clients see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Orchestration => "orchestration",
            Self::Activity => "activity",
            Self::Entity => "entity",
        }
    }

    /// The kind with that number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Orchestration, Self::Activity, Self::Entity]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// The description that a component gave of itself at upload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleDescription {
    /// The kind of its functions.
    pub kind: FunctionKind,
    /// Its functions, in its own order; at least one, with distinct names.
    pub functions: Vec<FunctionDescription>,
    /// The SDK that built it; may be empty.
    pub sdk: String,
    /// The events that its orchestrations declare. Stored separately, because the stored format of the other fields is
    /// fixed.
    #[serde(skip)]
    pub events: Vec<EventDescription>,
    /// Its entities with their operations; each is also one of the functions. Stored separately, like the events.
    #[serde(skip)]
    pub entities: Vec<EntityDescription>,
}

/// An entity of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityDescription {
    /// The name as the module declares it. Callers find it without regard to letter case.
    pub name: String,
    /// JSON Schema of the state.
    pub state_schema: Option<String>,
    /// Its operations, with distinct names. If there are none, every operation is passed to the guest.
    pub operations: Vec<OperationDescription>,
}

/// An operation of an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationDescription {
    /// The name that callers use.
    pub name: String,
    /// One line for people; may be empty.
    pub doc: String,
    /// JSON Schema of the input.
    pub input_schema: Option<String>,
    /// JSON Schema of the output.
    pub output_schema: Option<String>,
}

/// An event that an orchestration declares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventDescription {
    /// The name of the orchestration, which is in the same module.
    pub function: FunctionName,
    /// The name of the event; no orchestration declares two that compare equal.
    pub name: EventName,
    /// JSON Schema of the payload.
    pub payload_schema: Option<String>,
}

/// One function of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionDescription {
    /// The name that callers use.
    pub name: FunctionName,
    /// One line for people; may be empty.
    pub doc: String,
    /// JSON Schema of the input.
    pub input_schema: Option<String>,
    /// JSON Schema of the output.
    pub output_schema: Option<String>,
    /// Activities only: the options of calls that set none.
    pub default_options: Option<ActivityOptions>,
}
