//! The attribute macros of `windlass-sdk`.
//!
//! They turn a function into a unit struct of the same name that implements the SDK's traits and can still be called.
//! What they produce could be typed by hand, and is documented at `windlass_sdk`, where they are re-exported.

mod describe;
mod expand;
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
/// * `signature = path`: implements a signature declared with `signatures!`; name and types are taken from there.
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

/// Declares functions without their bodies, for a crate of types and signatures that both sides share.
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
