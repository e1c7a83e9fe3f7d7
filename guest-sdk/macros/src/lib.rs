//! The macros of `windlass-sdk`.
//!
//! The attributes turn a function into a unit struct of the same name that implements the SDK's traits and can still be
//! called. One could write the expansion by hand. Use the macros through `windlass_sdk`, which re-exports them.

mod describe;
mod entity;
mod expand;
mod failure_type;
mod operations;
mod options;
mod shape;
mod signatures;

use proc_macro::TokenStream;
use quote::quote;
use syn::parse_macro_input;

use options::Options;
use shape::Kind;

/// Turns an `async fn` into an orchestration.
///
/// The function takes an `Orchestration`, an input, both or neither, and returns `Result<T>`. Input and output are
/// written as JSON: their types implement `Serialize`, `Deserialize` and `JsonSchema`, which `#[payload]` derives.
/// The first line of its doc comment is its description for people.
///
/// * `name = "…"`: the name under which it is exported; that of the function unless set.
/// * `signature = path`: implements a signature declared with `signatures!`, with its name, types and events.
/// * `events(payment, close: ())`: the events that it declares, either declared with `signatures!` or in place with the
///   type of the payload. The host rejects an event with a declared name and another payload when it is raised. A name
///   that is not an identifier is written as a string. The orchestration fails if it waits for a declared event as
///   another type. It may also wait for events that it does not declare.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// /// Greets someone by name.
/// #[orchestrator(name = "GreetingOrchestration")]
/// async fn greeting(ctx: Orchestration, name: String) -> Result<String> {
///     ctx.sleep(secs(1)).await;
///     Ok(format!("Hello {name}, it is {}", ctx.now()))
/// }
///
/// /// Adds up payments until it receives `close`.
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

/// Turns a function into an activity.
///
/// The function, plain or `async`, takes an `Activity`, an input, both or neither, and returns `Result<T>`. Input and
/// output are written as JSON: their types implement `Serialize`, `Deserialize` and `JsonSchema`, which `#[payload]`
/// derives. The first line of its doc comment is its description for people.
///
/// * `name = "…"`: the name under which it is exported; that of the function unless set.
/// * `signature = path`: implements a signature declared with `signatures!`, with its name and types.
/// * `retry = Retry::exponential(secs(5))`, `attempt_timeout = secs(30)`, `timeout = mins(5)`: the defaults of options
///   that a call does not set.
///
/// The function becomes a unit struct with its name, which `call` and `export!` refer to. It can still be called like
/// any other function, for example in unit tests. As with any unit struct, no variable can have its name where it is in
/// scope; the compiler reports that.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// /// Counts the bytes of a text.
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

/// Makes a type the state of an entity.
///
/// The type, a struct or an enum, is written as JSON: it implements `Serialize`, `Deserialize` and `JsonSchema`, which
/// `#[payload]` derives, and `Default`, which is the state of an entity before its first operation. The first line of its
/// doc comment is its description for people. [`#[operations]`](macro@operations) has its operations.
///
/// * `name = "…"`: the name under which it is exported; that of the type unless set. Letter case does not matter.
/// * `signature = path`: implements a signature declared with `signatures!`, with its name. The operations must be those
///   of the signature; the entity may have more.
/// * `delete_when_default`: an operation that leaves a state equal to the default deletes it.
///
/// The type gets the function `at`, which names an entity by its key: `Account::at("ada")`.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// /// An account, in cents.
/// #[entity(name = "Account", delete_when_default)]
/// #[payload]
/// #[derive(Default)]
/// struct Account {
///     cents: i64,
/// }
///
/// #[operations]
/// impl Account {
///     /// Pays in.
///     fn deposit(&mut self, cents: i64) -> i64 {
///         self.cents += cents;
///         self.cents
///     }
///
///     /// Pays out, if there is enough.
///     fn withdraw(&mut self, ctx: &Entity, cents: i64) -> Result<i64> {
///         if cents > self.cents {
///             let message = format!("{} has {}, not {cents}", ctx.key(), self.cents);
///             return Err(Failure::new("InsufficientFunds", message));
///         }
///         self.cents -= cents;
///         Ok(self.cents)
///     }
///
///     fn balance(&self) -> i64 {
///         self.cents
///     }
/// }
///
/// #[orchestrator]
/// async fn pay(ctx: Orchestration, cents: i64) -> Result<i64> {
///     ctx.entity(Account::at("ada")).withdraw(&cents).await?;
///     ctx.entity(Account::at("bob")).deposit(&cents).await
/// }
/// ```
///
/// A type without `Default` is no state:
///
/// ```compile_fail,E0277
/// # use windlass_sdk::prelude::*;
/// #[entity]
/// #[payload]
/// struct Account {
///     cents: i64,
/// }
///
/// #[operations]
/// impl Account {}
/// ```
///
/// An entity needs operations:
///
/// ```compile_fail,E0277
/// # use windlass_sdk::prelude::*;
/// #[entity]
/// #[payload]
/// #[derive(Default)]
/// struct Account {
///     cents: i64,
/// }
/// ```
///
/// and an operation has the types of the signature:
///
/// ```compile_fail,E0308
/// # use windlass_sdk::prelude::*;
/// mod api {
///     windlass_sdk::signatures! { #[entity] pub trait Account { fn deposit(cents: i64) -> i64; } }
/// }
///
/// #[entity(signature = api::Account)]
/// #[payload]
/// #[derive(Default)]
/// struct Account {
///     cents: u64,
/// }
///
/// #[operations]
/// impl Account {
///     fn deposit(&mut self, cents: u64) -> i64 { 0 }
/// }
/// ```
///
/// An operation of the signature that the entity lacks is an error as well:
///
/// ```compile_fail,E0080
/// # use windlass_sdk::prelude::*;
/// mod api {
///     windlass_sdk::signatures! { #[entity] pub trait Account { fn deposit(cents: i64) -> i64; } }
/// }
///
/// #[entity(signature = api::Account)]
/// #[payload]
/// #[derive(Default)]
/// struct Account {
///     cents: i64,
/// }
///
/// #[operations]
/// impl Account {}
/// ```
#[proc_macro_attribute]
pub fn entity(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as entity::Options);
    let item = parse_macro_input!(item as syn::DeriveInput);
    entity::expand(&options, &item)
        .unwrap_or_else(|error| {
            let error = error.into_compile_error();
            quote!(#item #error)
        })
        .into()
}

/// Makes the methods of an `impl` block the operations of an [`#[entity]`](macro@entity).
///
/// An operation takes `&mut self` or `&self`, the context as `ctx: &Entity` if it needs it, and at most one input. It
/// returns a value, nothing, or a `Result<T>`, which must be written as `Result`. Input and output are written as JSON.
/// The first line of its doc comment is its description for people. Whether it is `pub` makes no difference to callers.
/// Helper functions belong into another `impl` block.
///
/// The name of the method is the name of the operation, exactly; `#[operation(name = "…")]` sets another one.
/// An entity without an operation `delete` gets one, which deletes the state.
///
/// The methods can still be called like any others, for example in unit tests:
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # use windlass_sdk::testing;
/// #[entity]
/// #[payload]
/// #[derive(Default)]
/// struct Counter {
///     count: i64,
/// }
///
/// #[operations]
/// impl Counter {
///     fn add(&mut self, ctx: &Entity, number: i64) -> Result<i64> {
///         self.count = self.count.checked_add(number).or_fail("Overflow")?;
///         info!("{} is {}", ctx.key(), self.count);
///         Ok(self.count)
///     }
///
///     #[operation(name = "signal")]
///     fn signal_name(&self) -> String {
///         "green".into()
///     }
/// }
///
/// let mut counter = Counter { count: i64::MAX };
/// assert!(counter.add(&testing::entity("visits"), 1).unwrap_err().is("Overflow"));
/// ```
///
/// An operation whose input is not a payload does not compile:
///
/// ```compile_fail,E0277
/// # use windlass_sdk::prelude::*;
/// # #[entity] #[payload] #[derive(Default)] struct Counter { count: i64 }
/// #[operations]
/// impl Counter {
///     fn wait(&mut self, time: std::time::Instant) {}
/// }
/// ```
///
/// and neither do operations of a type that is not an entity:
///
/// ```compile_fail,E0277
/// # use windlass_sdk::prelude::*;
/// #[derive(Default)]
/// struct Counter;
///
/// #[operations]
/// impl Counter {}
/// ```
#[proc_macro_attribute]
pub fn operations(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = proc_macro2::TokenStream::from(options);
    let block = parse_macro_input!(item as syn::ItemImpl);
    operations::expand(&options, block)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn function_macro(kind: Kind, options: TokenStream, function: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as Options);
    let function = parse_macro_input!(function as syn::ItemFn);
    expand::function(kind, options, function)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Declares functions and entities without bodies, and events, for a crate of types and signatures that both sides
/// share.
///
/// An entity is written as a trait, and its operations as functions of it that take their input, if any:
///
/// ```
/// # use windlass_sdk::prelude::*;
/// windlass_sdk::signatures! {
///     /// An account, in cents.
///     #[entity(name = "Account")]
///     pub trait Account {
///         /// Pays in.
///         fn deposit(cents: i64) -> i64;
///         fn withdraw(cents: i64) -> Result<i64>;
///         fn balance() -> i64;
///     }
/// }
/// ```
///
/// An event is written as a function that takes its payload and returns nothing. `#[event(name = "…")]` sets a name
/// other than that of the function.
///
/// ```
/// mod api {
///     use windlass_sdk::prelude::*;
///
///     windlass_sdk::signatures! {
///         /// Counts the bytes of a text.
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

/// Makes a struct or enum usable in payloads: derives `Clone`, `Debug`, `Serialize`, `Deserialize` and `JsonSchema`, with
/// the `serde` and `schemars` that the SDK re-exports.
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

/// Defines failure types with an error type: the struct, or each variant of the enum, is one failure type.
///
/// The name of the variant or struct becomes the type of the failure, and its text (`Display`) the message. Callers
/// match on the name, so rename with care, or fix the name with an option.
///
/// * `#[failure(name = "…")]` on a variant or a struct: sets the failure type, instead of the name in the code.
/// * `#[failure(non_retryable)]` on a variant, a struct or the whole enum: the failure is never retried.
/// * `#[failure(details)]` on a field: the field becomes the details; it must implement `Serialize`.
/// * `#[failure(cause)]` on a field: the field, an error or a `Failure`, becomes the cause.
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
///             Self::BadQuantity { article, .. } => write!(f, "the quantity of {article} is not a number"),
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
/// assert_eq!(failure.to_string(), "BadQuantity: the quantity of rope is not a number");
/// assert_eq!(failure.causes()[0].message(), "invalid digit found in string");
/// ```
///
/// The type must implement `Display`:
///
/// ```compile_fail,E0277
/// # use windlass_sdk::prelude::*;
/// #[derive(FailureType)]
/// struct Refused;
/// ```
///
/// It must not implement [`std::error::Error`], because `?` converts such an error into a failure of the type `Error`:
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

/// Misuse of a macro gives a message at the wrong tokens, never a panic. Errors of the type system (an input of another
/// type, an orchestration called as an activity) are covered by `compile_fail` examples in `windlass_sdk`.
#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the error message for a function with these options.
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
            "the context must be the first parameter, and appear only once",
        );
        check(
            Activity,
            "",
            "fn f(ctx: Activity, again: sdk::Activity) {}",
            "the context must be the first parameter, and appear only once",
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
            "the name comes from the signature",
        );
        check(
            Activity,
            "events(a: u8)",
            "fn f() {}",
            "`events` is for orchestrations: an activity cannot wait for events",
        );
        let events = |options: &str, expected: &str| check(Orchestration, options, "async fn f() {}", expected);
        events("signature = b, events(a: u8)", "the events come from the signature");
        events("events(a: u8), events(b: u8)", "`events` is set twice");
        events(
            "events(go: u8, \"Go\": u8)",
            "an event with that name is already declared; names are case-insensitive",
        );
        events("events(\"\": u8)", "a name cannot be empty");
        events("events(a b)", "expected `,`");
        events("events(\"a\")", "expected `:`");
        events("events = a", "expected parentheses");
        let caller_decides = "`retry` is for activities: only the caller of an orchestration can set it";
        check(Orchestration, "retry = x", "async fn f() {}", caller_decides);
    }

    #[test]
    fn misuse_of_an_entity_is_explained() {
        #[track_caller]
        fn check(options: &str, item: &str, expected: &str) {
            let expanded = syn::parse_str::<entity::Options>(options)
                .and_then(|options| entity::expand(&options, &syn::parse_str(item)?));
            assert_eq!(expanded.expect_err("a misuse").to_string(), expected);
        }
        let unknown = "there is no option `timeout`; there are `name`, `signature`, `delete_when_default`";
        check("timeout = 1", "struct A;", unknown);
        check("name = \"A\", name = \"B\"", "struct A;", "`name` is set twice");
        check(
            "delete_when_default, delete_when_default",
            "struct A;",
            "`delete_when_default` is set twice",
        );
        check("name = \"\"", "struct A;", "a name cannot be empty");
        let forbidden = "the name of an entity has none of the characters `@`, `/`, `\\`, `?` and `#`";
        check("name = \"a@b\"", "struct A;", forbidden);
        check("name = \"a/b\"", "struct A;", forbidden);
        check(
            "name = \"A\", signature = b",
            "struct A;",
            "the name comes from the signature",
        );
        let generic = "an entity cannot be generic: its name stands for one type";
        check("", "struct A<T>(T);", generic);
        check("", "union A { a: u8 }", "an entity is a struct or an enum");
        check("", "fn a() {}", "expected one of: `struct`, `enum`, `union`");
    }

    #[test]
    fn misuse_of_operations_is_explained() {
        #[track_caller]
        fn check(block: &str, expected: &str) {
            let expanded =
                syn::parse_str(block).and_then(|block| operations::expand(&proc_macro2::TokenStream::new(), block));
            assert_eq!(expanded.expect_err("a misuse").to_string(), expected);
        }
        #[track_caller]
        fn operation(function: &str, expected: &str) {
            check(&format!("impl A {{ {function} }}"), expected);
        }
        check(
            "impl Clone for A {}",
            "operations are in an `impl` block of the type itself, not of a trait",
        );
        check(
            "impl<T> A<T> {}",
            "an entity cannot be generic: its name stands for one type",
        );
        operation(
            "const A: u8 = 1;",
            "only operations belong here: move this to another `impl` block",
        );
        let receiver = "an operation takes `&mut self` or `&self`; move other functions to another `impl` block";
        operation("fn f() {}", receiver);
        operation("fn f(self) {}", receiver);
        operation("fn f(self: Box<Self>) {}", receiver);
        operation("fn f(ctx: &Entity) {}", receiver);
        operation(
            "async fn f(&self) {}",
            "an operation cannot be `async`: an entity does not wait",
        );
        operation(
            "unsafe fn f(&self) {}",
            "an operation cannot be unsafe: the host calls it",
        );
        operation("extern \"C\" fn f(&self) {}", "an operation is an ordinary Rust method");
        operation(
            "fn f<T>(&self) {}",
            "an operation cannot be generic: its name stands for one method",
        );
        operation(
            "fn f(&self, input: impl Into<u8>) {}",
            "an operation cannot be generic: its name stands for one method",
        );
        let context = "an operation takes its context as `&Entity`";
        operation("fn f(&self, ctx: &Orchestration) {}", context);
        operation("fn f(&self, ctx: Activity) {}", context);
        operation("fn f(&self, ctx: Entity) {}", context);
        let first = "the context must be the first parameter after `self`, and appear only once";
        operation("fn f(&self, input: u8, ctx: &Entity) {}", first);
        operation("fn f(&self, ctx: &Entity, again: &sdk::Entity) {}", first);
        operation("fn f(&self, input: &str) {}", "an operation takes its input by value");
        operation(
            "fn f(&self, a: u8, b: u8) {}",
            "an operation takes one input: put several values into a struct or a tuple",
        );
        operation("fn f(&self) -> &str {}", "an operation returns an owned value");
        operation("fn f(&self) -> impl Copy {}", "an operation returns an owned value");
        operation("fn f(&self) {} fn f(&self) {}", "another operation has the name `f`");
        operation(
            "fn f(&self) {} #[operation(name = \"f\")] fn g(&self) {}",
            "another operation has the name `f`",
        );
        operation("#[operation(name = \"\")] fn f(&self) {}", "a name cannot be empty");
        operation(
            "#[operation(retry = 1)] fn f(&self) {}",
            "an operation has only the option `name`",
        );
        operation(
            "#[operation] fn f(&self) {}",
            "expected attribute arguments in parentheses: `operation(...)`",
        );
        operation(
            "fn signal(&self) {}",
            "callers have a method `signal` of their own: name the method otherwise, \
             and set the name of the operation with `#[operation(name = \"signal\")]`",
        );
        let options = syn::parse_str("name = \"A\"").expect("tokens");
        let block = syn::parse_str("impl A {}").expect("a block");
        let error = operations::expand(&options, block).expect_err("a misuse");
        assert_eq!(
            error.to_string(),
            "`#[operations]` takes no options: they belong to `#[entity]`"
        );
    }

    #[test]
    fn misuse_of_a_declared_entity_is_explained() {
        #[track_caller]
        fn check(input: &str, expected: &str) {
            let expanded = syn::parse_str::<signatures::Signatures>(input).and_then(signatures::Signatures::expand);
            assert_eq!(expanded.expect_err("a misuse").to_string(), expected);
        }
        check("trait A {}", "missing attribute: `#[entity]`");
        check("#[activity] trait A {}", "missing attribute: `#[entity]`");
        check(
            "#[entity] fn a();",
            "an entity is declared as `trait Name { fn operation(input: Type) -> Type; }`",
        );
        let option = "this option belongs to the entity with the code";
        check("#[entity(delete_when_default)] trait A {}", option);
        check("#[entity(signature = b)] trait A {}", option);
        check(
            "#[entity] trait A<T> {}",
            "an entity cannot be generic: its name stands for one type",
        );
        check(
            "#[entity] trait A: B {}",
            "an entity is declared as `trait Name { fn operation(input: Type) -> Type; }`",
        );
        check(
            "#[entity] trait A { fn f() {} }",
            "a signature has no body: end it with `;`",
        );
        check("#[entity] trait A { type B; }", "an entity declares only operations");
        let only_input = "a declared operation has only its input, neither `self` nor a context";
        check("#[entity] trait A { fn f(&self); }", only_input);
        check("#[entity] trait A { fn f(ctx: &Entity); }", only_input);
        check(
            "#[entity] trait A { fn f(a: u8, b: u8); }",
            "an operation takes one input: put several values into a struct or a tuple",
        );
        check(
            "#[entity] trait A { fn f(); fn f(); }",
            "another operation has the name `f`",
        );
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
            "missing attribute: `#[activity]`, `#[orchestrator]` or `#[event]`",
        );
        check("#[activity] fn f() {}", "a signature has no body: end it with `;`");
        let option = "this option belongs to the function with the body";
        check("#[activity(retry = x)] fn f();", option);
        check("#[activity(signature = x)] fn f();", option);
        check(
            "#[orchestrator(timeout = x)] fn f();",
            "`timeout` is for activities: only the caller of an orchestration can set it",
        );
    }

    #[test]
    fn misuse_of_events_is_explained() {
        #[track_caller]
        fn check(input: &str, expected: &str) {
            let expanded = syn::parse_str::<signatures::Signatures>(input).and_then(signatures::Signatures::expand);
            assert_eq!(expanded.expect_err("a misuse").to_string(), expected);
        }
        check("#[event(retry = x)] fn f();", "an event has only the option `name`");
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
    fn misuse_of_failure_types_is_explained() {
        #[track_caller]
        fn check(input: &str, expected: &str) {
            let expanded = syn::parse_str(input).and_then(|input| failure_type::expand(&input));
            assert_eq!(expanded.expect_err("a misuse").to_string(), expected);
        }
        check(
            "union F { a: u8 }",
            "`FailureType` can only be derived for a struct or an enum",
        );
        check("enum F {}", "an enum without variants has no failure type");
        check(
            "#[failure(name = \"A\")] enum F { B }",
            "each variant is a failure type: set `name` on the variants",
        );
        check("#[failure(name = \"\")] struct F;", "a failure type cannot be empty");
        check(
            "enum F { #[failure(name = \"windlass.timeout\")] A }",
            "types that begin with `windlass.` are reserved for the host",
        );
        let unknown = "a failure type has the options `name` and `non_retryable`";
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
