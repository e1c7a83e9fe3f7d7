//! The functions of a tenant by name, and suggestions for misspelt names.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{
    ActivityOptions, Failure, FunctionKind, FunctionName, ModuleNumber, entity::entity_name, failure::types,
};
use crate::schema::Violation;
use crate::store::ModuleVersion;

/// The maximum number of names suggested for an unknown one.
const MAX_NEAR: usize = 5;

/// The maximum number of names that are compared with an unknown one.
const MAX_COMPARED: usize = 2_000;

/// The maximum length of an unknown name for which others are suggested, in bytes.
const MAX_COMPARED_BYTES: usize = 64;

/// A snapshot of the functions of one tenant.
#[derive(Default)]
pub(super) struct Functions {
    by_name: BTreeMap<(FunctionKind, FunctionName), Function>,
    /// The operations of entities with the schemas of their inputs. An entity that declares none takes every operation.
    operations: BTreeMap<FunctionName, BTreeMap<String, Option<Arc<str>>>>,
    /// Whether any version, current or not, declares events.
    pub(super) declare_events: bool,
}

/// The current version of a function.
pub(super) struct Function {
    /// The module version that offers it.
    pub(super) module: ModuleNumber,
    /// The default options of its calls.
    pub(super) defaults: ActivityOptions,
    /// The schema of its input, as text.
    pub(super) input: Option<Arc<str>>,
}

impl Functions {
    /// The functions of these versions.
    pub(super) fn of(modules: &[ModuleVersion], declare_events: bool) -> Self {
        let (mut by_name, mut operations) = (BTreeMap::new(), BTreeMap::new());
        for module in modules {
            for entity in &module.description.entities {
                let Ok(name) = entity_name(&entity.name) else { continue };
                let declared = entity.operations.iter().map(|operation| {
                    let schema = operation.input_schema.as_deref().map(Arc::from);
                    (operation.name.clone(), schema)
                });
                operations.insert(name, declared.collect());
            }
            for function in &module.description.functions {
                let kind = module.description.kind;
                let entry = Function {
                    module: module.number,
                    defaults: function.default_options.clone().unwrap_or_default(),
                    input: function.input_schema.as_deref().map(Arc::from),
                };
                by_name.insert((kind, function.name.clone()), entry);
            }
        }
        Self {
            by_name,
            operations,
            declare_events,
        }
    }

    /// The function of this name.
    pub(super) fn find(&self, kind: FunctionKind, name: &FunctionName) -> Option<&Function> {
        self.by_name.get(&(kind, name.clone()))
    }

    /// The schema of an operation's input, if it has one.
    ///
    /// # Errors
    /// If the entity has no such operation.
    pub(super) fn operation(&self, entity: &FunctionName, operation: &str) -> Result<Option<&Arc<str>>, Problem> {
        let declared = self.operations.get(entity).filter(|declared| !declared.is_empty());
        let Some(declared) = declared else { return Ok(None) };
        match declared.get(operation) {
            Some(schema) => Ok(schema.as_ref()),
            None => Err(Problem::UnknownOperation {
                operation: operation.to_owned(),
                declared: declared.keys().take(MAX_NEAR).cloned().collect(),
            }),
        }
    }

    /// The most similar names, among those that may be a misspelling. Compares at most some thousand short names: each
    /// comparison takes about a microsecond.
    pub(super) fn near(&self, kind: FunctionKind, name: &FunctionName) -> Vec<FunctionName> {
        let wanted = name.as_str();
        if wanted.len() > MAX_COMPARED_BYTES {
            return Vec::new();
        }
        let wanted = wanted.to_lowercase();
        let offered = self.by_name.keys().filter(|(other, _)| *other == kind);
        let alike = offered.filter(|(_, name)| name.as_str().len().abs_diff(wanted.len()) <= wanted.len() / 2 + 2);
        let mut near: Vec<(f64, &FunctionName)> = alike
            .take(MAX_COMPARED)
            .map(|(_, name)| (strsim::jaro_winkler(&wanted, &name.as_str().to_lowercase()), name))
            .filter(|(likeness, _)| *likeness > 0.7)
            .collect();
        near.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.cmp(y)));
        near.into_iter().take(MAX_NEAR).map(|(_, name)| name.clone()).collect()
    }
}

/// Why a call is refused.
pub(super) enum Problem {
    Unknown {
        near: Vec<FunctionName>,
    },
    Input(Violation),
    OperationInput {
        operation: String,
        violation: Violation,
    },
    /// The entity has no such operation.
    UnknownOperation {
        operation: String,
        /// Some of those that it has.
        declared: Vec<String>,
    },
}

impl Problem {
    /// The outcome of the call.
    pub(super) fn into_failure(self, kind: FunctionKind, name: &FunctionName) -> Failure {
        let (kind, name) = (kind.name(), name.as_str());
        match self {
            Self::Unknown { near } => {
                let mut message = format!("no module offers the {kind} {name:?}");
                if let Some(nearest) = near.first() {
                    message += &format!("; did you mean {:?}?", nearest.as_str());
                }
                Failure::new(types::UNKNOWN_FUNCTION, message)
            }
            Self::UnknownOperation { operation, declared } => {
                let declared = declared.join(", ");
                let message = format!("the {kind} {name:?} has no operation {operation:?}; it has: {declared}");
                Failure::new(types::UNKNOWN_OPERATION, message).permanent()
            }
            Self::Input(violation) => does_not_fit(&format!("{kind} {name:?}"), &violation),
            Self::OperationInput { operation, violation } => {
                does_not_fit(&format!("operation {operation:?} of {kind} {name:?}"), &violation)
            }
        }
    }
}

/// The failure of a call whose input violates a schema.
fn does_not_fit(called: &str, Violation { path, message }: &Violation) -> Failure {
    let message = format!("the input of {called} does not fit its schema: {message} (at {path:?})");
    Failure::new(types::INPUT, message).permanent()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{FunctionDescription, ModuleDescription, ModuleDigest, TenantId, Timestamp};

    pub(in super::super) fn module(number: u32, function: &str) -> ModuleVersion {
        ModuleVersion {
            number: ModuleNumber(number),
            tenant: TenantId::DEFAULT,
            name: function.to_owned(),
            digest: ModuleDigest([0; 32]),
            description: ModuleDescription {
                kind: FunctionKind::Orchestration,
                functions: vec![FunctionDescription {
                    name: function.parse().unwrap(),
                    doc: String::new(),
                    input_schema: Some(r#"{"type": "string"}"#.into()),
                    output_schema: None,
                    default_options: None,
                }],
                sdk: String::new(),
                events: Vec::new(),
                entities: Vec::new(),
            },
            size: 1,
            uploaded_at: Timestamp(0),
            uploaded_by: None,
            superseded_at: None,
        }
    }

    #[test]
    fn similar_names_are_suggested() {
        let functions = Functions::of(&[module(1, "ProcessOrder"), module(2, "Other")], false);
        let near = |name: &str| functions.near(FunctionKind::Orchestration, &name.parse().unwrap());
        assert_eq!(near("ProcesOrder"), ["ProcessOrder".parse().unwrap()]);
        assert_eq!(near(&"ProcessOrder".repeat(10)), []);
    }
}
