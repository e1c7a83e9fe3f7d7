//! What a function is to the SDK: its signature, and its body.
//!
//! The attribute macros turn a function into a unit struct of the same name that implements these traits. A caller
//! needs the signature alone: a component that calls an activity links nothing of its body.

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

/// What a caller must know of an activity. Implemented by `#[activity]` and `signatures!`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity",
    label = "expected a function with `#[activity]`",
    note = "call an activity by its string name with `ctx.call_named(\"Name\", &input)`"
)]
pub trait ActivitySignature {
    /// The name it is exposed under.
    const NAME: &'static str;
    /// What it takes; `()` if nothing.
    type Input: Serialize + DeserializeOwned + 'static;
    /// What it gives back when it succeeds.
    type Output: Serialize + DeserializeOwned + 'static;

    /// What a call gets that sets no options of its own, as far as the signature knows.
    fn default_options() -> ActivityOptions {
        ActivityOptions::default()
    }
}

/// What a caller must know of an orchestration. Implemented by `#[orchestrator]` and `signatures!`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an orchestration",
    label = "expected a function with `#[orchestrator]`",
    note = "call an orchestration by its string name with `ctx.sub_orchestration_named(\"Name\", &input)`"
)]
pub trait OrchestrationSignature {
    /// The name it is exposed under.
    const NAME: &'static str;
    /// What it takes; `()` if nothing.
    type Input: Serialize + DeserializeOwned + 'static;
    /// What it gives back when it succeeds.
    type Output: Serialize + DeserializeOwned + 'static;
    /// The events that it declares. It may wait for others besides.
    const EVENTS: &'static [EventDeclaration] = &[];
}

/// An activity with its body. Implemented by `#[activity]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity with a body",
    label = "expected a function with `#[activity]`"
)]
pub trait ActivityFunction: ActivitySignature<Input: JsonSchema, Output: JsonSchema> {
    /// One line for people.
    const DOC: &'static str;
    /// Whether the function has an input parameter. Without one, whatever comes is ignored.
    const TAKES_INPUT: bool;

    /// Runs the body.
    ///
    /// # Errors
    /// As the body does.
    fn invoke(ctx: Activity, input: Self::Input) -> Result<Self::Output>;
}

/// An orchestration with its body. Implemented by `#[orchestrator]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an orchestration with a body",
    label = "expected a function with `#[orchestrator]`"
)]
pub trait OrchestrationFunction: OrchestrationSignature<Input: JsonSchema, Output: JsonSchema> {
    /// One line for people.
    const DOC: &'static str;
    /// Whether the function has an input parameter. Without one, whatever comes is ignored.
    const TAKES_INPUT: bool;

    /// Runs the body.
    fn invoke(ctx: Orchestration, input: Self::Input) -> LocalBoxFuture<'static, Result<Self::Output>>;
}

/// What the functions of a module may return.
#[diagnostic::on_unimplemented(
    message = "activities and orchestrations return `Result<T>`, not `{Self}`",
    label = "expected `Result<T>` whose error converts into a `Failure`"
)]
pub trait Outcome {
    /// What a caller gets when the function succeeds.
    type Output;

    /// The outcome as the host takes it.
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

/// One function as `describe` answers it.
pub struct FunctionDescription {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) input_schema: Option<String>,
    pub(crate) output_schema: Option<String>,
    pub(crate) default_options: Option<ActivityOptions>,
}

/// One entry of an `export!` line of activities: the traits above without their types.
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

/// One entry of an `export!` line of orchestrations.
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
        "the input is not what the function takes",
        if takes_input { input } else { "null" },
    )
}
