//! Checks the description of a module: names, schemas, default options.

mod entities;

use std::collections::BTreeSet;

use crate::model::{EventDescription, EventName, FunctionDescription, FunctionKind, FunctionName, ModuleDescription};
use crate::schema::{PatternWork, SchemaValidator};

use super::{
    bindings::{WitEvent, wit},
    convert,
    describe::Described,
    upload::UploadError,
};

/// Maximum functions of one module.
const MAX_FUNCTIONS: usize = 1_000;
/// Maximum events that one module declares.
const MAX_EVENTS: usize = 1_000;
/// Maximum length of a doc line in bytes. Longer ones are truncated.
const MAX_DOC_BYTES: usize = 2_000;
/// Maximum length of the name of an SDK in bytes. Longer ones are truncated.
const MAX_SDK_BYTES: usize = 100;

/// Maximum memory of all schemas of a module together when they are compiled, in bytes. Bounds the time to check a module,
/// which compiles them one after the other.
const MAX_SCHEMAS_BYTES: u64 = 64 << 20;

/// What the schemas of the module may still take.
struct SchemaBudget {
    bytes: u64,
    pattern_work: PatternWork,
}

impl SchemaBudget {
    fn new() -> Self {
        Self {
            bytes: MAX_SCHEMAS_BYTES,
            pattern_work: PatternWork::default(),
        }
    }

    /// Compiles a schema. The error continues "the schema".
    fn check(&mut self, schema: &str) -> Result<(), String> {
        let compiled = SchemaValidator::compile_within(schema, &mut self.pattern_work);
        let compiled = compiled.map_err(|error| error.to_string())?;
        let left = self.bytes.checked_sub(compiled.bytes());
        self.bytes = left.ok_or_else(|| {
            let limit = MAX_SCHEMAS_BYTES >> 20;
            format!("takes, together with the other schemas of the module, more than {limit} MiB when it is compiled")
        })?;
        Ok(())
    }
}

/// Checks a description and converts it into the types of the model.
pub(super) fn check(kind: FunctionKind, described: Described) -> Result<ModuleDescription, UploadError> {
    match described {
        Described::Functions { module, events } => check_functions(kind, module, events),
        Described::Entities(module) => entities::check(module),
    }
}

fn check_functions(
    kind: FunctionKind,
    described: wit::ModuleDescription,
    events: Vec<WitEvent>,
) -> Result<ModuleDescription, UploadError> {
    let count = described.functions.len();
    if count == 0 {
        return Err(UploadError::NoFunctions);
    }
    if count > MAX_FUNCTIONS {
        return Err(UploadError::TooManyFunctions {
            count,
            limit: MAX_FUNCTIONS,
        });
    }
    let mut budget = SchemaBudget::new();
    let mut names = BTreeSet::new();
    let mut functions = Vec::with_capacity(count);
    for function in described.functions {
        let function = check_function(kind, function, &mut budget)?;
        if !names.insert(function.name.clone()) {
            return Err(UploadError::DuplicateFunction {
                name: function.name.as_str().to_owned(),
            });
        }
        functions.push(function);
    }
    let events = check_events(events, &names, &mut budget)?;
    Ok(ModuleDescription {
        kind,
        functions,
        events,
        entities: Vec::new(),
        sdk: cut(described.sdk, MAX_SDK_BYTES),
    })
}

fn check_function(
    kind: FunctionKind,
    function: wit::FunctionDescription,
    budget: &mut SchemaBudget,
) -> Result<FunctionDescription, UploadError> {
    let wit::FunctionDescription {
        name,
        doc,
        input_schema,
        output_schema,
        default_options,
    } = function;
    let name = name
        .parse::<FunctionName>()
        .map_err(|error| UploadError::BadFunctionName {
            name: cut(name, crate::model::ids::MAX_NAME_BYTES),
            reason: error.to_string(),
        })?;
    check_schema(&name, "input", input_schema.as_deref(), budget)?;
    check_schema(&name, "output", output_schema.as_deref(), budget)?;
    let default_options = match kind {
        FunctionKind::Activity => default_options.map(convert::activity_options),
        FunctionKind::Orchestration | FunctionKind::Entity => None,
    };
    let retry = default_options.as_ref().and_then(|options| options.retry.as_ref());
    if let Some(Err(reason)) = retry.map(|retry| retry.validate()) {
        return Err(UploadError::BadOptions {
            function: name.as_str().to_owned(),
            reason,
        });
    }
    Ok(FunctionDescription {
        name,
        doc: cut(doc, MAX_DOC_BYTES),
        input_schema,
        output_schema,
        default_options,
    })
}

/// Checks that events belong to functions of the module and are declared only once.
fn check_events(
    described: Vec<WitEvent>,
    functions: &BTreeSet<FunctionName>,
    budget: &mut SchemaBudget,
) -> Result<Vec<EventDescription>, UploadError> {
    let count = described.len();
    if count > MAX_EVENTS {
        return Err(UploadError::TooManyEvents {
            count,
            limit: MAX_EVENTS,
        });
    }
    let mut names = BTreeSet::new();
    let mut events = Vec::with_capacity(count);
    for event in described {
        let WitEvent {
            orchestration,
            name,
            payload_schema,
        } = event;
        let bad = |reason: String| UploadError::BadEvent {
            event: cut(name.clone(), crate::model::ids::MAX_NAME_BYTES),
            function: cut(orchestration.clone(), crate::model::ids::MAX_NAME_BYTES),
            reason,
        };
        let function = orchestration.parse::<FunctionName>().ok();
        let function = function
            .filter(|function| functions.contains(function))
            .ok_or_else(|| bad("belongs to an orchestration that the module does not describe".into()))?;
        let event = name
            .parse::<EventName>()
            .map_err(|error| bad(format!("has a name that {error}")))?;
        if !names.insert((function.clone(), event.folded())) {
            return Err(bad("is declared twice; letter case does not matter".into()));
        }
        if let Some(Err(error)) = payload_schema.as_deref().map(|schema| budget.check(schema)) {
            return Err(bad(format!("has a schema that {error}")));
        }
        events.push(EventDescription {
            function,
            name: event,
            payload_schema,
        });
    }
    Ok(events)
}

fn check_schema(
    function: &FunctionName,
    which: &'static str,
    schema: Option<&str>,
    budget: &mut SchemaBudget,
) -> Result<(), UploadError> {
    let Some(Err(reason)) = schema.map(|schema| budget.check(schema)) else {
        return Ok(());
    };
    Err(UploadError::BadSchema {
        function: function.as_str().to_owned(),
        which,
        reason,
    })
}

fn cut(mut text: String, bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes));
    text
}
