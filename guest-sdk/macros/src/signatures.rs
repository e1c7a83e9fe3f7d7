//! `signatures!`: declarations of functions and entities without a body, and of events.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, Meta, Result, ReturnType, Signature, Token, Visibility};

use crate::entity;
use crate::expand::{marker, signature};
use crate::options::Options;
use crate::shape::{Kind, Shape};

/// A list of declarations.
pub(crate) struct Signatures(Vec<Declaration>);

struct Declaration {
    attributes: Vec<Attribute>,
    vis: Visibility,
    item: Declared,
}

enum Declared {
    /// An orchestration, an activity or an event.
    Function(Signature),
    Entity(entity::Declaration),
}

impl Parse for Signatures {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut declarations = Vec::new();
        while !input.is_empty() {
            let attributes = input.call(Attribute::parse_outer)?;
            let vis = input.parse()?;
            let item = if input.peek(Token![trait]) {
                Declared::Entity(input.parse()?)
            } else {
                let signature = input.parse()?;
                if input.peek(syn::token::Brace) {
                    return Err(input.error("a signature has no body: end it with `;`"));
                }
                input.parse::<Token![;]>()?;
                Declared::Function(signature)
            };
            declarations.push(Declaration { attributes, vis, item });
        }
        Ok(Self(declarations))
    }
}

impl Signatures {
    pub(crate) fn expand(self) -> Result<TokenStream> {
        self.0.into_iter().map(Declaration::expand).collect()
    }
}

/// The attribute of a declared function.
enum FunctionKind {
    Function(Kind),
    Event,
}

impl Declaration {
    fn expand(self) -> Result<TokenStream> {
        let function = match &self.item {
            Declared::Function(function) => function,
            Declared::Entity(declaration) => return declaration.expand(&self.vis, &self.attributes),
        };
        let (kind, options) = self.kind_and_options(function)?;
        let implementation = match kind {
            FunctionKind::Function(kind) => {
                options.check(kind)?;
                refuse_body_options(&options)?;
                signature(kind, &Shape::of(kind, function)?, &options)
            }
            FunctionKind::Event => event(function, &options)?,
        };
        let marker = marker(&function.ident, &self.vis, &self.attributes);
        let conditions = self
            .attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("cfg"));
        Ok(quote! {
            #marker
            #(#conditions)*
            const _: () = { #implementation };
        })
    }

    fn kind_and_options(&self, function: &Signature) -> Result<(FunctionKind, Options)> {
        for attribute in &self.attributes {
            let kind = match attribute.path().segments.last() {
                Some(segment) if segment.ident == "activity" => FunctionKind::Function(Kind::Activity),
                Some(segment) if segment.ident == "orchestrator" => FunctionKind::Function(Kind::Orchestration),
                Some(segment) if segment.ident == "event" => FunctionKind::Event,
                Some(segment) if segment.ident == "entity" => {
                    let message = "an entity is declared as `trait Name { fn operation(input: Type) -> Type; }`";
                    return Err(Error::new_spanned(attribute, message));
                }
                _ => continue,
            };
            let options = match &attribute.meta {
                Meta::Path(_) => Options::default(),
                _ => attribute.parse_args()?,
            };
            return Ok((kind, options));
        }
        let message = "missing attribute: `#[activity]`, `#[orchestrator]` or `#[event]`";
        Err(Error::new_spanned(&function.ident, message))
    }
}

/// Expands an event, which is declared as `fn name(payload: Type)`.
fn event(signature: &Signature, options: &Options) -> Result<TokenStream> {
    let ident = &signature.ident;
    if options.signature.is_some() || options.events.is_some() || !options.defaults.is_empty() {
        return Err(Error::new_spanned(ident, "an event has only the option `name`"));
    }
    let plain = signature.asyncness.is_none() && signature.unsafety.is_none() && signature.abi.is_none();
    if !plain || !signature.generics.params.is_empty() {
        let message = "an event is declared as `fn name(payload: Type);`";
        return Err(Error::new_spanned(signature, message));
    }
    if let ReturnType::Type(_, ty) = &signature.output {
        return Err(Error::new_spanned(ty, "an event returns nothing"));
    }
    let mut inputs = signature.inputs.iter();
    let payload = match (inputs.next(), inputs.next()) {
        (None, _) => quote_spanned!(ident.span()=> ()),
        (Some(FnArg::Typed(parameter)), None) => parameter.ty.to_token_stream(),
        (Some(FnArg::Receiver(receiver)), _) => {
            return Err(Error::new_spanned(receiver, "an event has no `self`"));
        }
        (_, Some(second)) => {
            let message = "an event carries one payload: put several values into a struct or a tuple";
            return Err(Error::new_spanned(second, message));
        }
    };
    let name = options.name_or(ident);
    Ok(quote_spanned! {payload.span()=>
        impl ::windlass_sdk::EventSignature for #ident {
            const NAME: &'static str = #name;
            type Payload = #payload;
        }
    })
}

/// Rejects options that belong to the function with the body, such as default options of calls.
fn refuse_body_options(options: &Options) -> Result<()> {
    const MESSAGE: &str = "this option belongs to the function with the body";
    match (&options.signature, options.defaults.first()) {
        (Some(path), _) => Err(Error::new_spanned(path, MESSAGE)),
        (None, Some((option, _))) => Err(Error::new(option.span(), MESSAGE)),
        (None, None) => Ok(()),
    }
}
