//! Parses and checks the signature of an orchestration or activity.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, Result, ReturnType, Signature, Type};

/// The kind of a function.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Orchestration,
    Activity,
}

impl Kind {
    /// The noun with its article, for messages.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Orchestration => "an orchestration",
            Self::Activity => "an activity",
        }
    }

    /// The name of the context type.
    pub(crate) fn context(self) -> &'static str {
        match self {
            Self::Orchestration => "Orchestration",
            Self::Activity => "Activity",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Orchestration => Self::Activity,
            Self::Activity => Self::Orchestration,
        }
    }
}

/// A checked signature.
pub(crate) struct Shape {
    pub(crate) ident: Ident,
    pub(crate) is_async: bool,
    pub(crate) context: Context,
    pub(crate) input: Option<Type>,
    /// The return type as written; `()` if there is none.
    pub(crate) returns: TokenStream,
}

/// How the function takes its context.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Context {
    None,
    Value,
    Reference,
}

impl Shape {
    pub(crate) fn of(kind: Kind, signature: &Signature) -> Result<Self> {
        refuse_qualifiers(kind, signature)?;
        let (context, input) = parameters(kind, signature)?;
        let returns = match &signature.output {
            ReturnType::Default => quote_spanned!(signature.ident.span()=> ()),
            ReturnType::Type(_, ty) => ty.to_token_stream(),
        };
        Ok(Self {
            ident: signature.ident.clone(),
            is_async: signature.asyncness.is_some(),
            context,
            input,
            returns,
        })
    }

    /// The type of the input, `()` if there is none.
    pub(crate) fn input_type(&self) -> TokenStream {
        match &self.input {
            Some(ty) => ty.to_token_stream(),
            None => quote_spanned!(self.ident.span()=> ()),
        }
    }

    /// The type that a caller receives.
    pub(crate) fn output_type(&self) -> TokenStream {
        let returns = &self.returns;
        quote_spanned!(returns.span()=> <#returns as ::windlass_sdk::Outcome>::Output)
    }
}

fn refuse_qualifiers(kind: Kind, signature: &Signature) -> Result<()> {
    let noun = kind.noun();
    if !signature.generics.params.is_empty() {
        let message = format!("{noun} cannot be generic: its name stands for one function");
        return Err(Error::new_spanned(&signature.generics, message));
    }
    if let Some(unsafety) = &signature.unsafety {
        return Err(Error::new_spanned(
            unsafety,
            format!("{noun} cannot be unsafe: the host calls it"),
        ));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new_spanned(abi, format!("{noun} is an ordinary Rust function")));
    }
    Ok(())
}

fn parameters(kind: Kind, signature: &Signature) -> Result<(Context, Option<Type>)> {
    let mut context = Context::None;
    let mut input = None;
    for (index, parameter) in signature.inputs.iter().enumerate() {
        let FnArg::Typed(parameter) = parameter else {
            let message = format!("{} is a free function: it has no `self`", kind.noun());
            return Err(Error::new_spanned(parameter, message));
        };
        let ty = &*parameter.ty;
        let (reference, name) = match ty {
            Type::Reference(reference) => (true, last_name(&reference.elem)),
            ty => (false, last_name(ty)),
        };
        if name.as_ref().is_some_and(|name| name == kind.other().context()) {
            let message = format!("{} takes its context as `{}`", kind.noun(), kind.context());
            return Err(Error::new_spanned(ty, message));
        }
        if name.is_some_and(|name| name == kind.context()) {
            if index > 0 {
                return Err(Error::new_spanned(
                    ty,
                    "the context must be the first parameter, and appear only once",
                ));
            }
            context = if reference { Context::Reference } else { Context::Value };
            continue;
        }
        if reference {
            return Err(Error::new_spanned(
                ty,
                format!("{} takes its input by value", kind.noun()),
            ));
        }
        if input.is_some() {
            let message = format!(
                "{} takes one input: put several values into a struct or a tuple",
                kind.noun()
            );
            return Err(Error::new_spanned(parameter, message));
        }
        input = Some(ty.clone());
    }
    Ok((context, input))
}

pub(crate) fn last_name(ty: &Type) -> Option<Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.clone()),
        _ => None,
    }
}
