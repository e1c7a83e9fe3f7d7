//! Checks the description of a module of entities: names, operations, schemas.

use std::collections::BTreeSet;

use crate::model::{
    EntityDescription, FunctionDescription, FunctionKind, FunctionName, ModuleDescription, OperationDescription,
    entity::{check_operation_name, entity_name},
    ids::MAX_NAME_BYTES,
};
use crate::sandbox::{bindings::wit_entity, upload::UploadError};

use super::{MAX_DOC_BYTES, MAX_FUNCTIONS, MAX_SDK_BYTES, SchemaBudget, cut};

/// Maximum operations of all entities of a module together.
const MAX_OPERATIONS: usize = 5_000;

/// Checks the description of a module of entities and converts it into the types of the model.
pub(super) fn check(described: wit_entity::EntityModuleDescription) -> Result<ModuleDescription, UploadError> {
    let count = described.entities.len();
    if count == 0 {
        return Err(UploadError::NoEntities);
    }
    if count > MAX_FUNCTIONS {
        return Err(UploadError::TooManyEntities {
            count,
            limit: MAX_FUNCTIONS,
        });
    }
    let count = described.entities.iter().map(|entity| entity.operations.len()).sum();
    if count > MAX_OPERATIONS {
        return Err(UploadError::TooManyOperations {
            count,
            limit: MAX_OPERATIONS,
        });
    }
    let mut budget = SchemaBudget::new();
    let mut names = BTreeSet::new();
    let mut functions = Vec::with_capacity(described.entities.len());
    let mut entities = Vec::with_capacity(described.entities.len());
    for described in described.entities {
        let (function, entity) = check_entity(described, &mut names, &mut budget)?;
        functions.push(function);
        entities.push(entity);
    }
    Ok(ModuleDescription {
        kind: FunctionKind::Entity,
        functions,
        events: Vec::new(),
        entities,
        sdk: cut(described.sdk, MAX_SDK_BYTES),
    })
}

/// Checks an entity. Returns it as a function with its name in lower case, and as the module declares it.
fn check_entity(
    described: wit_entity::EntityDescription,
    names: &mut BTreeSet<FunctionName>,
    budget: &mut SchemaBudget,
) -> Result<(FunctionDescription, EntityDescription), UploadError> {
    let wit_entity::EntityDescription {
        name,
        doc,
        state_schema,
        operations: described,
    } = described;
    let bad = |reason: String| UploadError::BadEntity {
        entity: cut(name.clone(), MAX_NAME_BYTES),
        reason,
    };
    let folded = entity_name(&name).map_err(|error| bad(format!("has a name that {error}")))?;
    if !names.insert(folded.clone()) {
        return Err(bad("is described twice; letter case does not matter".into()));
    }
    if let Some(Err(error)) = state_schema.as_deref().map(|schema| budget.check(schema)) {
        return Err(bad(format!("has a state schema that {error}")));
    }
    let mut names = BTreeSet::new();
    let mut operations = Vec::with_capacity(described.len());
    for operation in described {
        let operation = check_operation(&name, operation, budget)?;
        if !names.insert(operation.name.clone()) {
            return Err(UploadError::BadOperation {
                operation: operation.name,
                entity: name,
                reason: "is described twice".into(),
            });
        }
        operations.push(operation);
    }
    let function = FunctionDescription {
        name: folded,
        doc: cut(doc, MAX_DOC_BYTES),
        input_schema: None,
        output_schema: None,
        default_options: None,
    };
    let entity = EntityDescription {
        name,
        state_schema,
        operations,
    };
    Ok((function, entity))
}

fn check_operation(
    entity: &str,
    described: wit_entity::OperationDescription,
    budget: &mut SchemaBudget,
) -> Result<OperationDescription, UploadError> {
    let wit_entity::OperationDescription {
        name,
        doc,
        input_schema,
        output_schema,
    } = described;
    let bad = |reason: String| UploadError::BadOperation {
        operation: cut(name.clone(), MAX_NAME_BYTES),
        entity: entity.to_owned(),
        reason,
    };
    check_operation_name(&name).map_err(|error| bad(format!("has a name that {error}")))?;
    for (schema, which) in [(&input_schema, "an input schema"), (&output_schema, "an output schema")] {
        if let Some(Err(error)) = schema.as_deref().map(|schema| budget.check(schema)) {
            return Err(bad(format!("has {which} that {error}")));
        }
    }
    Ok(OperationDescription {
        name,
        doc: cut(doc, MAX_DOC_BYTES),
        input_schema,
        output_schema,
    })
}
