//! `signatures!`: functions declared without a body.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Meta, Result, Signature, Token, Visibility};

use crate::expand::{marker, signature};
use crate::options::Options;
use crate::shape::{Kind, Shape};

/// A list of declarations.
pub(crate) struct Signatures(Vec<Declaration>);

struct Declaration {
    attributes: Vec<Attribute>,
    vis: Visibility,
    signature: Signature,
}

impl Parse for Signatures {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut declarations = Vec::new();
        while !input.is_empty() {
            declarations.push(Declaration {
                attributes: input.call(Attribute::parse_outer)?,
                vis: input.parse()?,
                signature: input.parse()?,
            });
            if input.peek(syn::token::Brace) {
                return Err(input.error("a signature has no body: end it with `;`"));
            }
            input.parse::<Token![;]>()?;
        }
        Ok(Self(declarations))
    }
}

impl Signatures {
    pub(crate) fn expand(self) -> Result<TokenStream> {
        self.0.into_iter().map(Declaration::expand).collect()
    }
}

impl Declaration {
    fn expand(self) -> Result<TokenStream> {
        let (kind, options) = self.kind_and_options()?;
        options.check(kind)?;
        refuse_body_options(&options)?;
        let shape = Shape::of(kind, &self.signature)?;
        let marker = marker(&shape.ident, &self.vis, &self.attributes);
        let signature = signature(kind, &shape, &options);
        let conditions = self
            .attributes
            .iter()
            .filter(|attribute| attribute.path().is_ident("cfg"));
        Ok(quote! {
            #marker
            #(#conditions)*
            const _: () = { #signature };
        })
    }

    fn kind_and_options(&self) -> Result<(Kind, Options)> {
        for attribute in &self.attributes {
            let kind = match attribute.path().segments.last() {
                Some(segment) if segment.ident == "activity" => Kind::Activity,
                Some(segment) if segment.ident == "orchestrator" => Kind::Orchestration,
                _ => continue,
            };
            let options = match &attribute.meta {
                Meta::Path(_) => Options::default(),
                _ => attribute.parse_args()?,
            };
            return Ok((kind, options));
        }
        let message = "say which it is: `#[activity]` or `#[orchestrator]`";
        Err(Error::new_spanned(&self.signature.ident, message))
    }
}

/// How calls are carried out by default is described by the module that holds the body.
fn refuse_body_options(options: &Options) -> Result<()> {
    const MESSAGE: &str = "this option belongs to the function with the body";
    match (&options.signature, options.defaults.first()) {
        (Some(path), _) => Err(Error::new_spanned(path, MESSAGE)),
        (None, Some((option, _))) => Err(Error::new(option.span(), MESSAGE)),
        (None, None) => Ok(()),
    }
}
