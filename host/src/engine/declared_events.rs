//! The events that a module version declares, with their schemas.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::schemas::{CheckLimits, Checked, NotChecked, SchemaKey, Schemas};
use crate::model::{Event, FunctionName, ModuleNumber, TenantId};
use crate::store::ModuleVersion;

/// The events that the orchestrations of one module version declare.
#[derive(Debug, Default)]
pub struct DeclaredEvents(Option<Declared>);

#[derive(Debug)]
struct Declared {
    schemas: Schemas,
    tenant: TenantId,
    module: ModuleNumber,
    /// The schemas as text, keyed by function and folded event name.
    texts: BTreeMap<(FunctionName, String), Arc<str>>,
}

impl DeclaredEvents {
    /// The events of a version.
    pub(super) fn of(version: ModuleVersion, schemas: &Schemas) -> Self {
        let events = version.description.events.into_iter();
        let texts =
            events.filter_map(|event| Some(((event.function, event.name.folded()), event.payload_schema?.into())));
        Self(Some(Declared {
            schemas: schemas.clone(),
            tenant: version.tenant,
            module: version.number,
            texts: texts.collect(),
        }))
    }

    /// Checks an event for an instance of this function. An undeclared event is valid.
    ///
    /// # Errors
    /// If no place for the check becomes free in time, or the host shuts down.
    pub(super) async fn check(
        &self,
        function: &FunctionName,
        event: &Event,
        limits: CheckLimits,
    ) -> Result<Checked, NotChecked> {
        let Some(declared) = self.0.as_ref().filter(|declared| !declared.texts.is_empty()) else {
            return Ok(Checked::default());
        };
        let name = (function.clone(), event.name.folded());
        let Some(schema) = declared.texts.get(&name) else {
            return Ok(Checked::default());
        };
        let key = SchemaKey::Event(declared.module, name.0, name.1);
        let schemas = &declared.schemas;
        schemas
            .check(declared.tenant, key, schema, &event.payload, limits)
            .await
    }
}
