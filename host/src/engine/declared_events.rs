//! The events that a module version declares, with what checks them.

use std::collections::BTreeMap;

use crate::model::{Event, EventDescription, FunctionName};
use crate::schema::{SchemaValidator, Violation};

/// The events that the orchestrations of one version declare.
#[derive(Debug, Default)]
pub struct DeclaredEvents {
    /// By function and folded name.
    schemas: BTreeMap<(FunctionName, String), SchemaValidator>,
}

impl DeclaredEvents {
    /// Those of a version. Schemas were checked at upload; one that this host cannot compile any more lets everything
    /// pass.
    pub(super) fn of(events: &[EventDescription]) -> Self {
        let schemas = events.iter().filter_map(|event| {
            let schema = SchemaValidator::compile(event.payload_schema.as_deref()?).ok()?;
            Some(((event.function.clone(), event.name.folded()), schema))
        });
        Self {
            schemas: schemas.collect(),
        }
    }

    /// Checks an event for an instance of that function. One that it does not declare fits.
    ///
    /// # Errors
    /// Where and how it does not fit.
    pub(super) fn check(&self, function: &FunctionName, event: &Event) -> Result<(), Violation> {
        if self.schemas.is_empty() {
            return Ok(());
        }
        let schema = self.schemas.get(&(function.clone(), event.name.folded()));
        schema.map_or(Ok(()), |schema| schema.validate(&event.payload))
    }
}
