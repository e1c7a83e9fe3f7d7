//! The expansion of `#[orchestrator]` and `#[activity]`.
//!
//! `#[activity] pub fn greet(ctx: Activity, name: String) -> Result<String> { … }` expands to:
//!
//! ```text
//! pub struct greet;
//! const _: () = {
//!     fn greet(ctx: Activity, name: String) -> Result<String> { … }
//!     impl ActivitySignature for greet { const NAME = "greet"; type Input = String; type Output = String; }
//!     impl ActivityFunction for greet { …; fn invoke(ctx, input) { greet(ctx, input).into_result() } }
//!     impl Deref for greet { type Target = fn(Activity, String) -> Result<String>; … }
//! };
//! ```
//!
//! The struct hides the inner function outside of the `const` block, and inside it a call of `greet` finds the function,
//! so both have the author's name.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Error, Ident, ItemFn, Result, Visibility};

use crate::describe::first_doc_line;
use crate::options::{Event, Options};
use crate::shape::{Context, Kind, Shape};

/// Expands one function.
pub(crate) fn function(kind: Kind, options: Options, mut function: ItemFn) -> Result<TokenStream> {
    options.check(kind)?;
    let shape = Shape::of(kind, &function.sig)?;
    if kind == Kind::Orchestration && !shape.is_async {
        return Err(Error::new_spanned(
            function.sig.fn_token,
            "an orchestration is an `async fn`",
        ));
    }
    let attributes = std::mem::take(&mut function.attrs);
    let vis = std::mem::replace(&mut function.vis, Visibility::Inherited);
    let marker = marker(&shape.ident, &vis, &attributes);
    let doc = first_doc_line(&attributes);
    let (conditions, others): (Vec<_>, Vec<_>) = attributes
        .into_iter()
        .filter(|attribute| !is(attribute, "doc"))
        .partition(|attribute| is(attribute, "cfg"));
    function.attrs = others;

    let signature = signature(kind, &shape, &options);
    let body = body(kind, &shape, &doc);
    let callable = callable(kind, &shape);
    Ok(quote! {
        #marker
        #(#conditions)*
        const _: () = {
            #function
            #signature
            #body
            #callable
        };
    })
}

/// The unit struct that represents the function in calls and `export!`.
pub(crate) fn marker(ident: &Ident, vis: &Visibility, attributes: &[Attribute]) -> TokenStream {
    let kept = attributes
        .iter()
        .filter(|attribute| is(attribute, "doc") || is(attribute, "cfg"));
    quote! {
        #(#kept)*
        #[allow(non_camel_case_types, dead_code, reason = "represents a function, and has its name")]
        #[derive(Clone, Copy, Debug)]
        #vis struct #ident;
    }
}

/// The implementation of the signature trait: name, types, events and default options.
pub(crate) fn signature(kind: Kind, shape: &Shape, options: &Options) -> TokenStream {
    let ident = &shape.ident;
    let input = shape.input_type();
    let output = shape.output_type();
    let defaults = default_options(options);
    let events = events(kind, options);
    let check_events = options.events.as_ref().map(|_| {
        quote! {
            const _: () = ::windlass_sdk::__private::check_events(
                <#ident as ::windlass_sdk::OrchestrationSignature>::EVENTS
            );
        }
    });
    let signature_trait = match kind {
        Kind::Orchestration => quote!(::windlass_sdk::OrchestrationSignature),
        Kind::Activity => quote!(::windlass_sdk::ActivitySignature),
    };
    let (name, check) = match &options.signature {
        None => {
            let name = options.name_or(ident);
            (quote!(#name), None)
        }
        Some(path) => (
            quote!(<#path as #signature_trait>::NAME),
            // The compiler reports `mismatched types` at a type that differs from the declared one.
            Some(quote! {
                const _: fn(#input) -> <#path as #signature_trait>::Input = |input| input;
                const _: fn(#output) -> <#path as #signature_trait>::Output = |output| output;
            }),
        ),
    };
    quote! {
        #check
        #check_events
        impl #signature_trait for #ident {
            const NAME: &'static str = #name;
            type Input = #input;
            type Output = #output;
            #events
            #defaults
        }
    }
}

/// The events that the attribute or the signature declares.
fn events(kind: Kind, options: &Options) -> Option<TokenStream> {
    if kind == Kind::Activity {
        return None;
    }
    let list = match (&options.signature, &options.events) {
        (Some(path), _) => quote!(<#path as ::windlass_sdk::OrchestrationSignature>::EVENTS),
        (None, Some(events)) => {
            let declarations = events.list.iter().map(|event| match event {
                Event::InPlace(name, ty) => {
                    quote_spanned!(ty.span()=> ::windlass_sdk::EventDeclaration::of::<#ty>(#name))
                }
                Event::Signature(path) => {
                    quote_spanned!(path.span()=> ::windlass_sdk::EventDeclaration::of_signature::<#path>())
                }
            });
            quote!(&[#(#declarations),*])
        }
        (None, None) => return None,
    };
    Some(quote! {
        const EVENTS: &'static [::windlass_sdk::EventDeclaration] = #list;
    })
}

/// The options that the attribute declares, as expressions of the author.
fn default_options(options: &Options) -> Option<TokenStream> {
    if options.defaults.is_empty() {
        return None;
    }
    let defaults = options
        .defaults
        .iter()
        .map(|(field, value)| quote_spanned!(value.span()=> options.#field = ::core::option::Option::Some(#value);));
    Some(quote! {
        fn default_options() -> ::windlass_sdk::ActivityOptions {
            let mut options = <::windlass_sdk::ActivityOptions as ::core::default::Default>::default();
            #(#defaults)*
            options
        }
    })
}

/// The implementation of the function trait, which calls the body.
fn body(kind: Kind, shape: &Shape, doc: &str) -> TokenStream {
    let Shape { ident, is_async, .. } = shape;
    let takes_input = shape.input.is_some();
    let arguments = arguments(shape);
    let described = quote! {
        const DOC: &'static str = #doc;
        const TAKES_INPUT: bool = #takes_input;
    };
    let call = quote_spanned!(shape.returns.span()=> #ident(#arguments));
    if kind == Kind::Orchestration {
        return quote! {
            impl ::windlass_sdk::OrchestrationFunction for #ident {
                #described
                #[allow(unused_variables, reason = "a function may take neither context nor input")]
                fn invoke(
                    ctx: ::windlass_sdk::Orchestration,
                    input: Self::Input,
                ) -> ::windlass_sdk::__private::LocalBoxFuture<'static, ::windlass_sdk::Result<Self::Output>> {
                    ::std::boxed::Box::pin(async move { ::windlass_sdk::Outcome::into_result(#call.await) })
                }
            }
        };
    }
    let run = match is_async {
        true => quote!(::windlass_sdk::block_on(#call)),
        false => call,
    };
    quote! {
        impl ::windlass_sdk::ActivityFunction for #ident {
            #described
            #[allow(unused_variables, reason = "a function may take neither context nor input")]
            fn invoke(ctx: ::windlass_sdk::Activity, input: Self::Input) -> ::windlass_sdk::Result<Self::Output> {
                ::windlass_sdk::Outcome::into_result(#run)
            }
        }
    }
}

fn arguments(shape: &Shape) -> TokenStream {
    let context = match shape.context {
        Context::None => None,
        Context::Value => Some(quote!(ctx,)),
        Context::Reference => Some(quote!(&ctx,)),
    };
    let input = shape.input.as_ref().map(|_| quote!(input));
    quote!(#context #input)
}

/// Implements `Deref`, so that the struct can be called like the function it replaces, for unit tests and helpers.
fn callable(kind: Kind, shape: &Shape) -> Option<TokenStream> {
    let Shape { ident, returns, .. } = shape;
    let context = match (shape.context, kind) {
        (Context::None, _) => None,
        (Context::Value, Kind::Orchestration) => Some(quote!(::windlass_sdk::Orchestration,)),
        (Context::Value, Kind::Activity) => Some(quote!(::windlass_sdk::Activity,)),
        // The type of a function pointer cannot express that the future borrows the context.
        (Context::Reference, _) if shape.is_async => return None,
        (Context::Reference, _) => Some(quote!(&::windlass_sdk::Activity,)),
    };
    let input = &shape.input;
    let (target, value) = if shape.is_async {
        let parameters = arguments(shape);
        (
            quote!(fn(#context #input) -> ::windlass_sdk::__private::LocalBoxFuture<'static, #returns>),
            quote!(|#parameters| ::std::boxed::Box::pin(#ident(#parameters))),
        )
    } else {
        (quote!(fn(#context #input) -> #returns), quote!(#ident))
    };
    Some(quote! {
        impl ::core::ops::Deref for #ident {
            type Target = #target;
            fn deref(&self) -> &Self::Target {
                const BODY: #target = #value;
                &BODY
            }
        }
    })
}

fn is(attribute: &Attribute, name: &str) -> bool {
    attribute.path().is_ident(name)
}
