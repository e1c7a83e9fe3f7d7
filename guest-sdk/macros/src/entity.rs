//! `#[entity]`, and entities in `signatures!`.
//!
//! `#[entity(name = "Account")] struct Account { … }` expands to the struct and:
//!
//! ```text
//! impl Account { fn at(key: impl Into<String>) -> EntityRef<Account> { … } }
//! impl EntitySignature for Account { const NAME = "Account"; }
//! impl EntityState for Account { type Signature = Account; … }
//! ```
//!
//! What `#[operations]` adds is in [`operations`](crate::operations).

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Data, DeriveInput, Error, Ident, ItemTrait, LitStr, Path, Result, Token, TraitItem, Visibility};

use crate::describe::first_doc_line;
use crate::expand::marker;
use crate::operations::{Operation, clients, refuse_same_names};
use crate::options::{checked_name, plain};

/// The options of `#[entity(…)]`.
#[derive(Default)]
pub(crate) struct Options {
    name: Option<LitStr>,
    signature: Option<Path>,
    delete_when_default: Option<Ident>,
}

const OPTIONS: [&str; 3] = ["name", "signature", "delete_when_default"];

/// Characters that an id of an entity cannot hold, because it is part of URLs.
const FORBIDDEN_IN_NAMES: [char; 5] = ['@', '/', '\\', '?', '#'];

const GENERIC: &str = "an entity cannot be generic: its name stands for one type";

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            options.parse_one(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if let (Some(name), Some(_)) = (&options.name, &options.signature) {
            return Err(Error::new(name.span(), "the name comes from the signature"));
        }
        Ok(options)
    }
}

impl Options {
    fn parse_one(&mut self, input: ParseStream<'_>) -> Result<()> {
        let key: Ident = input.call(Ident::parse_any)?;
        let option = key.to_string();
        let is_set = match option.as_str() {
            "name" => self.name.is_some(),
            "signature" => self.signature.is_some(),
            "delete_when_default" => self.delete_when_default.is_some(),
            _ => {
                let list = OPTIONS.map(|option| format!("`{option}`")).join(", ");
                let message = format!("there is no option `{key}`; there are {list}");
                return Err(Error::new(key.span(), message));
            }
        };
        if is_set {
            return Err(Error::new(key.span(), format!("`{key}` is set twice")));
        }
        if option == "delete_when_default" {
            self.delete_when_default = Some(key);
            return Ok(());
        }
        input.parse::<Token![=]>()?;
        match option.as_str() {
            "name" => self.name = Some(checked_entity_name(input.parse()?)?),
            _ => self.signature = Some(input.parse()?),
        }
        Ok(())
    }

    /// The option `name`, or else the name of the type.
    fn name_or(&self, ident: &Ident) -> LitStr {
        self.name
            .clone()
            .unwrap_or_else(|| LitStr::new(&plain(ident), ident.span()))
    }
}

fn checked_entity_name(name: LitStr) -> Result<LitStr> {
    let name = checked_name(name)?;
    match name.value().contains(FORBIDDEN_IN_NAMES) {
        true => Err(Error::new(
            name.span(),
            "the name of an entity has none of the characters `@`, `/`, `\\`, `?` and `#`",
        )),
        false => Ok(name),
    }
}

/// Expands `#[entity]` on a type.
pub(crate) fn expand(options: &Options, item: &DeriveInput) -> Result<TokenStream> {
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, GENERIC));
    }
    if let Data::Union(data) = &item.data {
        return Err(Error::new_spanned(data.union_token, "an entity is a struct or an enum"));
    }
    let DeriveInput { ident, vis, attrs, .. } = item;
    let conditions: Vec<_> = conditions(attrs).collect();
    let doc = first_doc_line(attrs);
    let delete_when_default = options.delete_when_default.is_some();
    let (name, signature) = match &options.signature {
        None => (options.name_or(ident).to_token_stream(), quote!(Self)),
        Some(path) => (
            quote!(<#path as ::windlass_sdk::EntitySignature>::NAME),
            path.to_token_stream(),
        ),
    };
    let address = address(ident, vis);
    // The compiler reports a missing trait at the type.
    let state = quote_spanned! {ident.span()=>
        impl ::windlass_sdk::EntityState for #ident {
            type Signature = #signature;
            const DOC: &'static str = #doc;
            const DELETE_WHEN_DEFAULT: bool = #delete_when_default;
        }
    };
    Ok(quote! {
        #item
        #(#conditions)*
        const _: () = {
            #address
            impl ::windlass_sdk::EntitySignature for #ident {
                const NAME: &'static str = #name;
            }
            #state
        };
    })
}

/// The function `at`.
fn address(ident: &Ident, vis: &Visibility) -> TokenStream {
    quote! {
        impl #ident {
            /// The entity with that key.
            #[allow(dead_code, reason = "a module may use only the entities of others")]
            #vis fn at(
                key: impl ::core::convert::Into<::std::string::String>,
            ) -> ::windlass_sdk::EntityRef<#ident> {
                ::windlass_sdk::EntityRef::new(key)
            }
        }
    }
}

fn conditions(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"))
}

/// An entity in `signatures!`, written as a trait.
pub(crate) struct Declaration(ItemTrait);

impl Parse for Declaration {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        input.parse().map(Self)
    }
}

impl Declaration {
    pub(crate) fn expand(&self, vis: &Visibility, attributes: &[Attribute]) -> Result<TokenStream> {
        let Self(item) = self;
        let ident = &item.ident;
        let options = declared_options(ident, attributes)?;
        if !item.generics.params.is_empty() {
            return Err(Error::new_spanned(&item.generics, GENERIC));
        }
        if item.unsafety.is_some() || item.auto_token.is_some() || item.colon_token.is_some() {
            let message = "an entity is declared as `trait Name { fn operation(input: Type) -> Type; }`";
            return Err(Error::new_spanned(ident, message));
        }
        let operation = |item: &TraitItem| match item {
            TraitItem::Fn(function) => match &function.default {
                None => Operation::declared(&function.attrs, &function.sig),
                Some(body) => Err(Error::new_spanned(body, "a signature has no body: end it with `;`")),
            },
            other => Err(Error::new_spanned(other, "an entity declares only operations")),
        };
        let operations = item.items.iter().map(operation).collect::<Result<Vec<_>>>()?;
        refuse_same_names(&operations)?;
        let name = options.name_or(ident);
        let marker = marker(ident, vis, attributes);
        let conditions = conditions(attributes);
        let address = address(ident, vis);
        let clients = clients(&ident.to_token_stream(), &operations);
        Ok(quote! {
            #marker
            #(#conditions)*
            const _: () = {
                #address
                impl ::windlass_sdk::EntitySignature for #ident {
                    const NAME: &'static str = #name;
                }
                #clients
            };
        })
    }
}

/// The options of the attribute `#[entity]` in `signatures!`.
fn declared_options(ident: &Ident, attributes: &[Attribute]) -> Result<Options> {
    let is_entity = |attribute: &&Attribute| {
        let last = attribute.path().segments.last();
        last.is_some_and(|segment| segment.ident == "entity")
    };
    let Some(attribute) = attributes.iter().find(is_entity) else {
        return Err(Error::new_spanned(ident, "missing attribute: `#[entity]`"));
    };
    let options = match &attribute.meta {
        syn::Meta::Path(_) => Options::default(),
        _ => attribute.parse_args::<Options>()?,
    };
    const MESSAGE: &str = "this option belongs to the entity with the code";
    match (&options.signature, &options.delete_when_default) {
        (Some(path), _) => Err(Error::new_spanned(path, MESSAGE)),
        (None, Some(option)) => Err(Error::new(option.span(), MESSAGE)),
        (None, None) => Ok(options),
    }
}
