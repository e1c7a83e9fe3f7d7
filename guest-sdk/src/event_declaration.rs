//! [`EventDeclaration`]: an event that an orchestration says it waits for.
//!
//! Made by the option `events(…)` of `#[orchestrator]`. The host refuses events that do not fit where they are raised;
//! an orchestration that waits for one as another type has a mistake, and fails.

use std::any::type_name;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::failure::{Failure, Result};
use crate::payload::{decode, schema_of};

/// The name of an event and the type of its payload.
#[derive(Clone, Copy)]
pub struct EventDeclaration {
    name: &'static str,
    type_name: fn() -> &'static str,
    schema: fn() -> String,
    check: fn(&str) -> Result<()>,
}

impl EventDeclaration {
    /// An event of that name with a `T`.
    pub const fn of<T: DeserializeOwned + JsonSchema>(name: &'static str) -> Self {
        Self {
            name,
            type_name: type_name::<T>,
            schema: schema_of::<T>,
            check: check::<T>,
        }
    }

    /// The name of the event. Letter case does not matter.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The JSON Schema of the payload.
    pub(crate) fn schema(&self) -> String {
        (self.schema)()
    }

    /// Whether the payload is of the declared type.
    #[cfg_attr(
        target_arch = "wasm32",
        expect(dead_code, reason = "the host checks; only tests do it here")
    )]
    pub(crate) fn check(&self, payload: &str) -> Result<()> {
        (self.check)(payload)
    }

    /// Whether the orchestration may wait for it as a `T`.
    fn check_type<T>(&self) -> Result<()> {
        let (declared, awaited) = ((self.type_name)(), type_name::<T>());
        if declared == awaited {
            return Ok(());
        }
        let message = format!(
            "the event `{}` is declared as `{declared}` and awaited as `{awaited}`",
            self.name
        );
        Err(Failure::new("EventTypeMismatch", message).non_retryable())
    }
}

fn check<T: DeserializeOwned>(payload: &str) -> Result<()> {
    decode::<T>("the event is not what was declared", payload).map(drop)
}

/// The declaration of that name.
pub(crate) fn find<'e>(events: &'e [EventDeclaration], name: &str) -> Option<&'e EventDeclaration> {
    let name = name.to_lowercase();
    events.iter().find(|event| event.name.to_lowercase() == name)
}

/// Whether an orchestration with these declarations may wait for an event of that name as a `T`.
pub(crate) fn check_wait<T>(events: &[EventDeclaration], name: &str) -> Result<()> {
    find(events, name).map_or(Ok(()), EventDeclaration::check_type::<T>)
}
