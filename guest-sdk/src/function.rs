//! The traits of activities and orchestrations: signatures and bodies.
//!
//! The attribute macros turn a function into a unit struct of the same name that implements these traits. A caller
//! needs the signature only: a component that calls an activity does not link its body.

use futures::future::LocalBoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::activity::Activity;
use crate::event_declaration::EventDeclaration;
use crate::failure::{Failure, Result};
use crate::orchestration::Orchestration;
use crate::payload::{decode, encode, schema_of};
use crate::retry::ActivityOptions;

/// The signature of an activity: what a caller needs. Implemented by `#[activity]` and `signatures!`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity",
    label = "expected a function with `#[activity]`",
    note = "call an activity by its string name with `ctx.call_named(\"Name\", &input)`"
)]
pub trait ActivitySignature {
    /// The name under which the module exports it.
    const NAME: &'static str;
    /// The input; `()` if the function takes none.
    type Input: Serialize + DeserializeOwned + 'static;
    /// The output of a successful run.
    type Output: Serialize + DeserializeOwned + 'static;

    /// The options of a call that sets none itself, as far as the signature declares them.
    fn default_options() -> ActivityOptions {
        ActivityOptions::default()
    }
}

/// The signature of an orchestration: what a caller needs. Implemented by `#[orchestrator]` and `signatures!`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an orchestration",
    label = "expected a function with `#[orchestrator]`",
    note = "call an orchestration by its string name with `ctx.sub_orchestration_named(\"Name\", &input)`"
)]
pub trait OrchestrationSignature {
    /// The name under which the module exports it.
    const NAME: &'static str;
    /// The input; `()` if the function takes none.
    type Input: Serialize + DeserializeOwned + 'static;
    /// The output of a successful run.
    type Output: Serialize + DeserializeOwned + 'static;
    /// The events that it declares. It may also wait for events that it does not declare.
    const EVENTS: &'static [EventDeclaration] = &[];
}

/// An activity with its body. Implemented by `#[activity]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity with a body",
    label = "expected a function with `#[activity]`"
)]
pub trait ActivityFunction: ActivitySignature<Input: JsonSchema, Output: JsonSchema> {
    /// A one-line description for people.
    const DOC: &'static str;
    /// Whether the function has an input parameter. If not, any input is ignored.
    const TAKES_INPUT: bool;

    /// Runs the body.
    ///
    /// # Errors
    /// The failure that the body returns.
    fn invoke(ctx: Activity, input: Self::Input) -> Result<Self::Output>;
}

/// An orchestration with its body. Implemented by `#[orchestrator]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an orchestration with a body",
    label = "expected a function with `#[orchestrator]`"
)]
pub trait OrchestrationFunction: OrchestrationSignature<Input: JsonSchema, Output: JsonSchema> {
    /// A one-line description for people.
    const DOC: &'static str;
    /// Whether the function has an input parameter. If not, any input is ignored.
    const TAKES_INPUT: bool;

    /// Runs the body.
    fn invoke(ctx: Orchestration, input: Self::Input) -> LocalBoxFuture<'static, Result<Self::Output>>;
}

/// The return types that the functions of a module may have.
#[diagnostic::on_unimplemented(
    message = "activities and orchestrations return `Result<T>`, not `{Self}`",
    label = "expected `Result<T>` whose error converts into a `Failure`"
)]
pub trait Outcome {
    /// The output that a caller receives when the function succeeds.
    type Output;

    /// Converts the returned value into a result of the SDK.
    ///
    /// # Errors
    /// If the function failed.
    fn into_result(self) -> Result<Self::Output>;
}

impl<T, E: Into<Failure>> Outcome for std::result::Result<T, E> {
    type Output = T;

    fn into_result(self) -> Result<T> {
        self.map_err(Into::into)
    }
}

impl Outcome for () {
    type Output = ();

    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

/// The description of one function, as the export `describe` returns it.
pub struct FunctionDescription {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) input_schema: Option<String>,
    pub(crate) output_schema: Option<String>,
    pub(crate) default_options: Option<ActivityOptions>,
}

/// One entry of an `export!` line of activities: [`ActivityFunction`] with its types erased.
#[derive(Clone, Copy)]
pub struct ActivityEntry {
    pub(crate) name: &'static str,
    pub(crate) describe: fn() -> FunctionDescription,
    pub(crate) run: fn(Activity, &str) -> Result<String>,
}

impl ActivityEntry {
    /// The entry of one activity.
    pub const fn of<A: ActivityFunction>() -> Self {
        Self {
            name: A::NAME,
            describe: describe_activity::<A>,
            run: run_activity::<A>,
        }
    }
}

/// One entry of an `export!` line of orchestrations: [`OrchestrationFunction`] with its types erased.
#[derive(Clone, Copy)]
pub struct OrchestrationEntry {
    pub(crate) name: &'static str,
    pub(crate) events: &'static [EventDeclaration],
    pub(crate) describe: fn() -> FunctionDescription,
    pub(crate) run: fn(Orchestration, &str) -> LocalBoxFuture<'static, Result<String>>,
}

impl OrchestrationEntry {
    /// The entry of one orchestration.
    pub const fn of<O: OrchestrationFunction>() -> Self {
        Self {
            name: O::NAME,
            events: O::EVENTS,
            describe: describe_orchestration::<O>,
            run: run_orchestration::<O>,
        }
    }
}

fn describe_activity<A: ActivityFunction>() -> FunctionDescription {
    let options = A::default_options();
    FunctionDescription {
        name: A::NAME.into(),
        doc: A::DOC.into(),
        input_schema: A::TAKES_INPUT.then(schema_of::<A::Input>),
        output_schema: Some(schema_of::<A::Output>()),
        default_options: (options != ActivityOptions::default()).then_some(options),
    }
}

fn describe_orchestration<O: OrchestrationFunction>() -> FunctionDescription {
    FunctionDescription {
        name: O::NAME.into(),
        doc: O::DOC.into(),
        input_schema: O::TAKES_INPUT.then(schema_of::<O::Input>),
        output_schema: Some(schema_of::<O::Output>()),
        default_options: None,
    }
}

pub(crate) fn run_activity<A: ActivityFunction>(ctx: Activity, input: &str) -> Result<String> {
    let output = A::invoke(ctx, read_input(A::TAKES_INPUT, input)?)?;
    encode("the output cannot be written", &output)
}

pub(crate) fn run_orchestration<O: OrchestrationFunction>(
    ctx: Orchestration,
    input: &str,
) -> LocalBoxFuture<'static, Result<String>> {
    let input = read_input(O::TAKES_INPUT, input);
    Box::pin(async move {
        let output = O::invoke(ctx, input?).await?;
        encode("the output cannot be written", &output)
    })
}

pub(crate) fn read_input<T: DeserializeOwned>(takes_input: bool, input: &str) -> Result<T> {
    decode(
        "the input does not match the type that the function takes",
        if takes_input { input } else { "null" },
    )
}
