//! External events and how their names compare.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{FromStored, FunctionName, IdError, Payload};

/// The name of an external event. Stored as given, compared case-insensitively.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventName(FunctionName);

impl EventName {
    /// The text as given.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The form in which names are compared: Unicode lower case.
    pub fn folded(&self) -> String {
        self.as_str().to_lowercase()
    }
}

impl FromStr for EventName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self)
    }
}

impl FromStored for EventName {
    fn from_stored(text: &str) -> Result<Self, IdError> {
        FunctionName::from_stored(text).map(Self)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event raised for an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The name, as given by the sender.
    pub name: EventName,
    /// The payload that the recipient gets.
    pub payload: Payload,
}
