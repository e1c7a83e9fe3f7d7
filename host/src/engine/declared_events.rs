//! The events that a module version declares, with compiled schemas.

use std::collections::BTreeMap;

use crate::model::{Event, EventDescription, FunctionName};
use crate::schema::{SchemaValidator, Violation};

/// The events that the orchestrations of one module version declare.
#[derive(Debug, Default)]
pub struct DeclaredEvents {
    /// Keyed by function and folded event name.
    schemas: BTreeMap<(FunctionName, String), SchemaValidator>,
}

impl DeclaredEvents {
    /// Compiles the schemas of a version. They were checked at upload; a schema that this host cannot compile any more
    /// accepts everything.
    pub(super) fn of(events: &[EventDescription]) -> Self {
        let schemas = events.iter().filter_map(|event| {
            let schema = SchemaValidator::compile(event.payload_schema.as_deref()?).ok()?;
            Some(((event.function.clone(), event.name.folded()), schema))
        });
        Self {
            schemas: schemas.collect(),
        }
    }

    /// Checks an event for an instance of this function. An undeclared event is valid.
    ///
    /// # Errors
    /// Where and why the event does not fit.
    pub(super) fn check(&self, function: &FunctionName, event: &Event) -> Result<(), Violation> {
        if self.schemas.is_empty() {
            return Ok(());
        }
        let schema = self.schemas.get(&(function.clone(), event.name.folded()));
        schema.map_or(Ok(()), |schema| schema.validate(&event.payload))
    }
}
