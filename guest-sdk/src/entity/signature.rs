//! The traits of entities: signatures, states and operations.
//!
//! `#[entity]` and `#[operations]` implement them for a type with its code, `signatures!` implements what a caller needs
//! for a declaration. As with functions, a component that calls an entity does not link its code.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Entity;
use super::client::{CallTarget, SignalTarget, UntypedCalls, UntypedSignals};
use super::step::{Live, LiveState};
use crate::failure::{Failure, Result};
use crate::function::read_input;
use crate::payload::{encode, schema_of};

/// The operations of an entity for callers. Implemented by `#[operations]` and `signatures!`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no operations",
    label = "expected an entity with operations",
    note = "write `#[operations]` above the `impl` block that has them"
)]
pub trait EntityClients {
    /// Has a method per operation, which calls it.
    type Calls;
    /// Has a method per operation, which signals it.
    type Signals;
    /// The operations, for the comparison of an entity with its signature.
    const DECLARED: &'static [DeclaredOperation];

    /// Creates the calls of one entity.
    fn calls(target: CallTarget) -> Self::Calls;

    /// Creates the signals to one entity.
    fn signals(target: SignalTarget) -> Self::Signals;
}

/// The signature of an entity: what a caller needs. Implemented by `#[entity]` and `signatures!`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity",
    label = "expected a type with `#[entity]`",
    note = "use an entity by its string name with `EntityId::new(\"Name\", \"key\")`"
)]
pub trait EntitySignature: EntityClients + 'static {
    /// The name under which the module exports it; letter case does not matter.
    const NAME: &'static str;
}

/// An entity with its state. Implemented by `#[entity]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entity with a state",
    label = "expected a type with `#[entity]`"
)]
pub trait EntityState:
    EntitySignature + EntityOperations + Default + Serialize + DeserializeOwned + JsonSchema
{
    /// The signature that it implements; itself if none was declared.
    type Signature: EntitySignature;
    /// A one-line description for people.
    const DOC: &'static str;
    /// Whether an operation that leaves the default state deletes the entity.
    const DELETE_WHEN_DEFAULT: bool;
}

/// The code of the operations. Implemented by `#[operations]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no operations with code",
    label = "expected an entity with operations",
    note = "write `#[operations]` above the `impl` block that has them"
)]
pub trait EntityOperations: Sized + 'static {
    /// The operations.
    const OPERATIONS: &'static [OperationEntry<Self>];
}

/// The name of an operation in a signature.
#[derive(Clone, Copy, Debug)]
pub struct DeclaredOperation {
    /// The name of the operation.
    pub name: &'static str,
    /// The error if an entity that implements the signature lacks it.
    pub missing: &'static str,
}

/// The type of an [`EntityId`](crate::EntityId): its operations are known by name only.
#[derive(Clone, Copy, Debug)]
pub struct Untyped;

impl EntityClients for Untyped {
    type Calls = UntypedCalls;
    type Signals = UntypedSignals;
    const DECLARED: &'static [DeclaredOperation] = &[];

    fn calls(target: CallTarget) -> UntypedCalls {
        UntypedCalls(target)
    }

    fn signals(target: SignalTarget) -> UntypedSignals {
        UntypedSignals(target)
    }
}

/// One operation of an entity, with its types erased.
pub struct OperationEntry<S> {
    /// The name that callers use.
    pub name: &'static str,
    /// A one-line description for people.
    pub doc: &'static str,
    /// Whether the operation takes `&mut self`.
    pub mutates: bool,
    /// The schema of the input; `None` if the operation takes none and ignores it.
    pub input_schema: Option<fn() -> String>,
    /// The schema of the output.
    pub output_schema: fn() -> String,
    /// Checks that an input is of the operation's type.
    pub check_input: fn(&str) -> Result<()>,
    /// Applies the operation to a state.
    pub apply: fn(&mut S, &Entity, &str) -> Result<String>,
}

impl<S> OperationEntry<S> {
    /// The operation `delete` of entities that do not define one.
    pub const fn delete() -> Self {
        Self {
            name: DELETE,
            doc: "Deletes the state of the entity.",
            mutates: false,
            input_schema: None,
            output_schema: schema_of::<()>,
            check_input: |_| Ok(()),
            apply: |_, ctx, _| {
                ctx.delete();
                Ok("null".into())
            },
        }
    }
}

impl<S> fmt::Debug for OperationEntry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationEntry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The name of the operation that deletes.
const DELETE: &str = "delete";

/// Decodes the input of an operation, for generated code.
pub fn read_operation_input<T: DeserializeOwned>(input: &str) -> Result<T> {
    read_input(true, input)
}

/// Encodes the output of an operation, for generated code.
pub fn write_operation_output(output: &impl Serialize) -> Result<String> {
    encode("the output cannot be written", output)
}

/// Checks an input, for generated code.
pub fn check_operation_input<T: DeserializeOwned>(input: &str) -> Result<()> {
    read_input::<T>(true, input).map(drop)
}

/// The description of an entity, as the export `describe` returns it.
pub struct EntityDescription {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) state_schema: String,
    pub(crate) operations: Vec<OperationDescription>,
}

/// The description of one operation.
pub(crate) struct OperationDescription {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) input_schema: Option<String>,
    pub(crate) output_schema: String,
}

/// One entry of an `export!` line of entities: [`EntityState`] with its type erased.
#[derive(Clone, Copy)]
pub struct EntityEntry {
    pub(crate) name: &'static str,
    pub(crate) describe: fn() -> EntityDescription,
    pub(crate) open: fn(Option<String>) -> Result<Box<dyn Live>>,
    #[cfg_attr(
        target_arch = "wasm32",
        expect(dead_code, reason = "the host checks; only tests do it here")
    )]
    pub(crate) check_input: fn(&str, &str) -> Option<Result<()>>,
}

impl EntityEntry {
    /// The entry of one entity.
    pub const fn of<S: EntityState>() -> Self {
        Self {
            name: S::NAME,
            describe: describe::<S>,
            open: |state| Ok(Box::new(LiveState::<S>::open(state)?)),
            check_input: |operation, input| find::<S>(operation).map(|entry| (entry.check_input)(input)),
        }
    }
}

/// The operation with that name.
pub(crate) fn find<S: EntityOperations>(name: &str) -> Option<&'static OperationEntry<S>> {
    S::OPERATIONS.iter().find(|entry| entry.name == name)
}

/// The failure of an operation that the entity does not have.
pub(crate) fn unknown_operation(entity: &str, operation: &str) -> Failure {
    let message = format!("the entity {entity:?} has no operation {operation:?}");
    Failure::new(crate::failure_types::UNKNOWN_OPERATION, message).non_retryable()
}

fn describe<S: EntityState>() -> EntityDescription {
    let operation = |entry: &OperationEntry<S>| OperationDescription {
        name: entry.name.into(),
        doc: entry.doc.into(),
        input_schema: entry.input_schema.map(|schema| schema()),
        output_schema: (entry.output_schema)(),
    };
    EntityDescription {
        name: S::NAME.into(),
        doc: S::DOC.into(),
        state_schema: schema_of::<S>(),
        operations: S::OPERATIONS.iter().map(operation).collect(),
    }
}

/// Rejects an entity that lacks an operation of its signature, at compile time.
pub const fn check_operations(signature: &[DeclaredOperation], entity: &[DeclaredOperation]) {
    let mut i = 0;
    while i < signature.len() {
        let mut j = 0;
        while j < entity.len() && !crate::export::same(signature[i].name, entity[j].name) {
            j += 1;
        }
        if j == entity.len() {
            panic!("{}", signature[i].missing);
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn declared(name: &'static str) -> DeclaredOperation {
        DeclaredOperation { name, missing: name }
    }

    #[test]
    fn an_entity_may_have_more_operations_than_its_signature() {
        check_operations(&[declared("b")], &[declared("a"), declared("b")]);
    }

    #[test]
    #[should_panic(expected = "lost")]
    fn an_entity_that_lacks_an_operation_of_its_signature_is_refused() {
        check_operations(&[declared("a"), declared("lost")], &[declared("a"), declared("Lost")]);
    }
}
