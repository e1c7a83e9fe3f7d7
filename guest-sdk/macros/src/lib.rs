//! The macros of `windlass-sdk`.
//!
//! The attributes turn a function into a unit struct of the same name that implements the SDK's traits and can still be called.
//! What they produce could be typed by hand, and is documented at `windlass_sdk`, where they are re-exported.

mod describe;
mod expand;
mod failure_type;
mod options;
mod shape;
mod signatures;

use proc_macro::TokenStream;
use quote::quote;
use syn::parse_macro_input;

use options::Options;
use shape::Kind;

/// Makes an `async fn` an orchestration.
///
/// The function takes an `Orchestration`, an input, both or neither, and returns `Result<T>`. Input and output are
/// written as JSON: their types implement `Serialize`, `Deserialize` and `JsonSchema`, which `#[payload]` derives.
/// The first line of its doc comment describes it to people.
///
/// * `name = "…"`: what it is exposed as. Without it, the function's own name.
/// * `signature = path`: implements a signature declared with `signatures!`; name, types and events are taken from
///   there.
/// * `events(payment, close: ())`: the events that it waits for, as declared with `signatures!`, or in place with what
///   they carry. The host refuses an event of such a name that does not fit where it is raised. A name that is no
///   identifier is written as a string. Waiting for a declared event as another type fails the orchestration; events
///   that are not declared can be awaited too.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// /// Greets whoever it is given.
/// #[orchestrator(name = "GreetingOrchestration")]
/// async fn greeting(ctx: Orchestration, name: String) -> Result<String> {
///     ctx.sleep(secs(1)).await;
///     Ok(format!("Hello {name}, it is {}", ctx.now()))
/// }
///
/// /// Adds up what it is sent until it is told to close.
/// #[orchestrator(events(payment: u64, close: ()))]
/// async fn account(ctx: Orchestration) -> Result<u64> {
///     let mut total = 0;
///     loop {
///         select! {
///             payment = ctx.event::<u64>("payment") => total += payment?,
///             _ = ctx.event::<()>("close") => return Ok(total),
///         }
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn orchestrator(options: TokenStream, function: TokenStream) -> TokenStream {
    function_macro(Kind::Orchestration, options, function)
}

/// Makes a function an activity.
///
/// The function, plain or `async`, takes an `Activity`, an input, both or neither, and returns `Result<T>`. Input and
/// output are written as JSON: their types implement `Serialize`, `Deserialize` and `JsonSchema`, which `#[payload]`
/// derives. The first line of its doc comment describes it to people.
///
/// * `name = "…"`: what it is exposed as. Without it, the function's own name.
/// * `signature = path`: implements a signature declared with `signatures!`; name and types are taken from there.
/// * `retry = Retry::exponential(secs(5))`, `attempt_timeout = secs(30)`, `timeout = mins(5)`: what a call gets that
///   sets no options of its own.
///
/// The function becomes a unit struct of its name, by which others refer to it, and can still be called like any
/// other function, in unit tests for example. Like any unit struct's, its name cannot be given to a variable where it
/// is in scope: the compiler says so.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// /// Says how long a text is.
/// #[activity(name = "CountActivity", retry = Retry::exponential(secs(5)), timeout = mins(5))]
/// fn count(text: String) -> Result<usize> {
///     Ok(text.len())
/// }
/// assert_eq!(count("four".into()).unwrap(), 4);
/// ```
#[proc_macro_attribute]
pub fn activity(options: TokenStream, function: TokenStream) -> TokenStream {
    function_macro(Kind::Activity, options, function)
}

fn function_macro(kind: Kind, options: TokenStream, function: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as Options);
    let function = parse_macro_input!(function as syn::ItemFn);
    expand::function(kind, options, function)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Declares functions without their bodies, and events, for a crate of types and signatures that both sides share.
///
/// An event is written as a function that takes its payload and returns nothing. `#[event(name = "…")]` sets a name that
/// differs from the function's.
///
/// ```
/// mod api {
///     use windlass_sdk::prelude::*;
///
///     windlass_sdk::signatures! {
///         /// Says how long a text is.
///         #[activity(name = "CountActivity")]
///         pub fn count(text: String) -> Result<usize>;
///
///         /// One more text.
///         #[event]
///         pub fn text(text: String);
///     }
/// }
///
/// use windlass_sdk::prelude::*;
///
/// // In the module of the activities:
/// #[activity(signature = api::count)]
/// fn count(text: String) -> Result<usize> {
///     Ok(text.len())
/// }
///
/// // In the module of the orchestrations:
/// #[orchestrator(events(api::text))]
/// async fn total(ctx: Orchestration, texts: usize) -> Result<usize> {
///     let mut total = 0;
///     for _ in 0..texts {
///         let text = ctx.event(api::text).await?;
///         total += ctx.call(api::count, &text).await?;
///     }
///     Ok(total)
/// }
/// ```
#[proc_macro]
pub fn signatures(input: TokenStream) -> TokenStream {
    let signatures = parse_macro_input!(input as signatures::Signatures);
    signatures
        .expand()
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Lets a struct or enum travel as a payload: derives `Clone`, `Debug`, `Serialize`, `Deserialize` and `JsonSchema`
/// from the SDK's own copies of `serde` and `schemars`.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// #[payload]
/// #[derive(PartialEq)]
/// #[serde(rename_all = "camelCase")]
/// struct OrderLine {
///     article: String,
///     #[serde(default)]
///     unit_price_cents: u64,
/// }
/// ```
#[proc_macro_attribute]
pub fn payload(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = proc_macro2::TokenStream::from(options);
    let item = parse_macro_input!(item as syn::DeriveInput);
    if !options.is_empty() {
        let message = "`#[payload]` takes no options: write further derives and `#[serde(…)]` attributes below it";
        return syn::Error::new_spanned(options, message).into_compile_error().into();
    }
    quote! {
        #[derive(
            ::core::clone::Clone,
            ::core::fmt::Debug,
            ::windlass_sdk::serde::Serialize,
            ::windlass_sdk::serde::Deserialize,
            ::windlass_sdk::schemars::JsonSchema,
        )]
        #[serde(crate = "::windlass_sdk::serde")]
        #[schemars(crate = "::windlass_sdk::schemars")]
        #item
    }
    .into()
}

/// Makes an error type the type of failures: each variant of an enum, or the struct, is one.
///
/// The name of the variant or struct becomes the type of the failure, and its text (`Display`) the message. Callers
/// match on the name, so rename with care, or fix the name with an option.
///
/// * `#[failure(name = "…")]` on a variant or a struct: the type, whatever the code calls it.
/// * `#[failure(non_retryable)]` on a variant, a struct or the whole enum: no retry policy applies.
/// * `#[failure(details)]` on a field: it becomes the details, so it implements `Serialize`.
/// * `#[failure(cause)]` on a field: an error, or a `Failure`, that becomes the cause.
///
/// ```
/// use std::fmt;
/// use windlass_sdk::prelude::*;
///
/// #[derive(Debug, FailureType)]
/// #[failure(non_retryable)]
/// enum BadOrder {
///     NoItems,
///     #[failure(name = "TooManyItems")]
///     TooMany(#[failure(details)] usize),
///     BadQuantity {
///         article: String,
///         #[failure(cause)]
///         error: std::num::ParseIntError,
///     },
/// }
///
/// impl fmt::Display for BadOrder {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         match self {
///             Self::NoItems => write!(f, "nothing was ordered"),
///             Self::TooMany(items) => write!(f, "{items} items are too many"),
///             Self::BadQuantity { article, .. } => write!(f, "the quantity of {article} is no number"),
///         }
///     }
/// }
///
/// #[activity]
/// fn quantity(order: Vec<(String, String)>) -> Result<u32> {
///     if order.len() > 100 {
///         return Err(BadOrder::TooMany(order.len()).into());
///     }
///     let (article, quantity) = order.into_iter().next().ok_or(BadOrder::NoItems)?;
///     Ok(quantity.parse::<u32>().map_err(|error| BadOrder::BadQuantity { article, error })?)
/// }
///
/// let failure = quantity(vec![Default::default(); 101]).unwrap_err();
/// assert!(failure.is("TooManyItems") && failure.is_non_retryable());
/// assert_eq!(failure.details_as(), Some(101));
/// assert_eq!(quantity(Vec::new()).unwrap_err().to_string(), "NoItems: nothing was ordered");
/// let failure = quantity(vec![("rope".into(), "many".into())]).unwrap_err();
/// assert_eq!(failure.to_string(), "BadQuantity: the quantity of rope is no number");
/// assert_eq!(failure.causes()[0].message(), "invalid digit found in string");
/// ```
///
/// It needs a text:
///
/// ```compile_fail,E0277
/// # use windlass_sdk::prelude::*;
/// #[derive(FailureType)]
/// struct Refused;
/// ```
///
/// It is no [`std::error::Error`], because `?` gives each of those the type `Error`:
///
/// ```compile_fail,E0119
/// # use std::fmt;
/// # use windlass_sdk::prelude::*;
/// #[derive(Debug, FailureType)]
/// struct Refused;
/// # impl fmt::Display for Refused {
/// #     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str("refused") }
/// # }
/// impl std::error::Error for Refused {}
/// ```
#[proc_macro_derive(FailureType, attributes(failure))]
pub fn failure_type(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as syn::DeriveInput);
    failure_type::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Misuse is answered by a message at the tokens that are wrong, never by a panic. What the types refuse (an input of
/// another type, an orchestration called as an activity) is shown by failing examples in `windlass_sdk`.
#[cfg(test)]
mod tests {
    use super::*;

    /// The message that a function with these options gets.
    #[track_caller]
    fn check(kind: Kind, options: &str, function: &str, expected: &str) {
        let expanded = syn::parse_str::<Options>(options)
            .and_then(|options| expand::function(kind, options, syn::parse_str(function)?));
        assert_eq!(expanded.expect_err("a misuse").to_string(), expected);
    }

    #[test]
    fn misuse_of_a_signature_is_explained() {
        use Kind::{Activity, Orchestration};
        check(
            Orchestration,
            "",
            "fn f() -> Result<()> {}",
            "an orchestration is an `async fn`",
        );
        check(
            Activity,
            "",
            "fn f(ctx: Orchestration) {}",
            "an activity takes its context as `Activity`",
        );
        check(
            Orchestration,
            "",
            "async fn f(ctx: &Activity) {}",
            "an orchestration takes its context as `Orchestration`",
        );
        check(
            Activity,
            "",
            "fn f(input: u32, ctx: Activity) {}",
            "the context comes first, and once",
        );
        check(
            Activity,
            "",
            "fn f(ctx: Activity, again: sdk::Activity) {}",
            "the context comes first, and once",
        );
        check(
            Activity,
            "",
            "fn f(input: &str) {}",
            "an activity takes its input by value",
        );
        check(
            Activity,
            "",
            "fn f(ctx: Activity, a: u32, b: u32) {}",
            "an activity takes one input: put several values into a struct or a tuple",
        );
        check(
            Activity,
            "",
            "fn f(&self) {}",
            "an activity is a free function: it has no `self`",
        );
        check(
            Activity,
            "",
            "fn f<T>() {}",
            "an activity cannot be generic: its name stands for one function",
        );
        check(
            Activity,
            "",
            "unsafe fn f() {}",
            "an activity cannot be unsafe: the host calls it",
        );
        check(
            Activity,
            "",
            "extern \"C\" fn f() {}",
            "an activity is an ordinary Rust function",
        );
        check(Activity, "", "struct NotAFunction;", "expected `fn`");
    }

    #[test]
    fn misuse_of_the_options_is_explained() {
        use Kind::{Activity, Orchestration};
        let unknown = "there is no option `retries`; there are `name`, `signature`, `events`, `retry`, `attempt_timeout`, `timeout`";
        check(Activity, "retries = 3", "fn f() {}", unknown);
        check(
            Activity,
            "name = \"A\", name = \"B\"",
            "fn f() {}",
            "`name` is set twice",
        );
        check(
            Activity,
            "timeout = a, timeout = b",
            "fn f() {}",
            "`timeout` is set twice",
        );
        check(Activity, "name = \"\"", "fn f() {}", "a name cannot be empty");
        check(
            Orchestration,
            "name = \"..\"",
            "async fn f() {}",
            "a name cannot be `.` or `..`: URLs cannot hold it",
        );
        check(
            Activity,
            "name = \"a\\nb\"",
            "fn f() {}",
            "a name has no control characters",
        );
        check(
            Activity,
            &format!("name = \"{:201}\"", ""),
            "fn f() {}",
            "a name has at most 200 bytes",
        );
        check(Activity, "name = 7", "fn f() {}", "expected string literal");
        check(
            Activity,
            "name = \"A\", signature = b",
            "fn f() {}",
            "the name is that of the signature",
        );
        check(
            Activity,
            "events(a: u8)",
            "fn f() {}",
            "`events` is for orchestrations: an activity waits for none",
        );
        let events = |options: &str, expected: &str| check(Orchestration, options, "async fn f() {}", expected);
        events("signature = b, events(a: u8)", "the events are those of the signature");
        events("events(a: u8), events(b: u8)", "`events` is set twice");
        events(
            "events(go: u8, \"Go\": u8)",
            "an event of that name is declared before; letter case does not matter",
        );
        events("events(\"\": u8)", "a name cannot be empty");
        events("events(a b)", "expected `,`");
        events("events(\"a\")", "expected `:`");
        events("events = a", "expected parentheses");
        let caller_decides = "`retry` is for activities: an orchestration's caller decides";
        check(Orchestration, "retry = x", "async fn f() {}", caller_decides);
    }

    #[test]
    fn misuse_of_signatures_is_explained() {
        #[track_caller]
        fn check(input: &str, expected: &str) {
            let expanded = syn::parse_str::<signatures::Signatures>(input).and_then(signatures::Signatures::expand);
            assert_eq!(expanded.expect_err("a misuse").to_string(), expected);
        }
        check(
            "fn f();",
            "say which it is: `#[activity]`, `#[orchestrator]` or `#[event]`",
        );
        check("#[activity] fn f() {}", "a signature has no body: end it with `;`");
        let option = "this option belongs to the function with the body";
        check("#[activity(retry = x)] fn f();", option);
        check("#[activity(signature = x)] fn f();", option);
        check(
            "#[orchestrator(timeout = x)] fn f();",
            "`timeout` is for activities: an orchestration's caller decides",
        );
    }

    #[test]
    fn misuse_of_events_is_explained() {
        #[track_caller]
        fn check(input: &str, expected: &str) {
            let expanded = syn::parse_str::<signatures::Signatures>(input).and_then(signatures::Signatures::expand);
            assert_eq!(expanded.expect_err("a misuse").to_string(), expected);
        }
        check("#[event(retry = x)] fn f();", "an event has the option `name` alone");
        check("#[event(name = \"\")] fn f();", "a name cannot be empty");
        let form = "an event is declared as `fn name(payload: Type);`";
        check("#[event] async fn f();", form);
        check("#[event] fn f<T>(a: T);", form);
        check("#[event] fn f() -> u8;", "an event returns nothing");
        check("#[event] fn f(&self);", "an event has no `self`");
        check(
            "#[event] fn f(a: u8, b: u8);",
            "an event carries one payload: put several values into a struct or a tuple",
        );
    }

    #[test]
    fn misuse_of_the_types_of_failures_is_explained() {
        #[track_caller]
        fn check(input: &str, expected: &str) {
            let expanded = syn::parse_str(input).and_then(|input| failure_type::expand(&input));
            assert_eq!(expanded.expect_err("a misuse").to_string(), expected);
        }
        check("union F { a: u8 }", "a type of failures is a struct or an enum");
        check("enum F {}", "an enum without variants is never a failure");
        check(
            "#[failure(name = \"A\")] enum F { B }",
            "the variants are the types: name them one by one",
        );
        check("#[failure(name = \"\")] struct F;", "a failure has a type");
        check(
            "enum F { #[failure(name = \"windlass.timeout\")] A }",
            "types that begin with `windlass.` are the host's",
        );
        let unknown = "a type of failure has the options `name` and `non_retryable`";
        check("#[failure(retry)] struct F;", unknown);
        check("enum F { #[failure(details)] A(u8) }", unknown);
        check(
            "struct F { #[failure(source)] a: u8 }",
            "a field of a failure has the options `details` and `cause`",
        );
        check(
            "enum F { A(#[failure(cause)] E, #[failure(cause)] E) }",
            "another field has this option",
        );
    }
}
