//! `#[derive(FailureType)]`: an error type whose variants are types of failures.
//!
//! `enum Refusal { #[failure(non_retryable)] Declined(#[failure(details)] u32), Busy }` expands to:
//!
//! ```text
//! impl FailureType for Refusal {
//!     fn error_type(&self) -> &'static str {
//!         match self { Self::Declined { .. } => "Declined", Self::Busy { .. } => "Busy" }
//!     }
//!     fn into_failure(self) -> Failure {
//!         let failure = Failure::new(self.error_type(), self.to_string());
//!         match self {
//!             Self::Declined { 0: details, .. } => failure.non_retryable().details(&details),
//!             Self::Busy { .. } => failure,
//!         }
//!     }
//! }
//! impl From<Refusal> for Failure { … }
//! ```

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, Ident, LitStr, Member, Result, Token};

use crate::options::plain;

/// Expands one type.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let ident = &input.ident;
    let of_all = KindOptions::of(&input.attrs)?;
    let kinds = match &input.data {
        Data::Struct(data) => vec![Kind::new(quote!(Self), ident, of_all, &data.fields)?],
        Data::Enum(data) => {
            if let Some(name) = of_all.name {
                let message = "each variant is a failure type: set `name` on the variants";
                return Err(Error::new(name.span(), message));
            }
            let variant = |variant: &syn::Variant| {
                let mut options = KindOptions::of(&variant.attrs)?;
                options.non_retryable |= of_all.non_retryable;
                let name = &variant.ident;
                Kind::new(quote!(Self::#name), name, options, &variant.fields)
            };
            data.variants.iter().map(variant).collect::<Result<Vec<_>>>()?
        }
        Data::Union(data) => {
            let message = "`FailureType` can only be derived for a struct or an enum";
            return Err(Error::new_spanned(data.union_token, message));
        }
    };
    if kinds.is_empty() {
        return Err(Error::new_spanned(
            ident,
            "an enum without variants has no failure type",
        ));
    }
    let names = kinds.iter().map(Kind::name_arm);
    let conversions = kinds.iter().map(Kind::conversion_arm);
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        impl #generics ::windlass_sdk::FailureType for #ident #arguments #bounds {
            fn error_type(&self) -> &'static str {
                match self { #(#names)* }
            }

            fn into_failure(self) -> ::windlass_sdk::Failure {
                let failure = ::windlass_sdk::Failure::new(
                    ::windlass_sdk::FailureType::error_type(&self),
                    ::std::string::ToString::to_string(&self),
                );
                match self { #(#conversions)* }
            }
        }

        impl #generics ::core::convert::From<#ident #arguments> for ::windlass_sdk::Failure #bounds {
            fn from(error: #ident #arguments) -> Self {
                ::windlass_sdk::FailureType::into_failure(error)
            }
        }
    })
}

/// One type of failure: a struct, or a variant of an enum.
struct Kind {
    path: TokenStream,
    name: LitStr,
    non_retryable: bool,
    details: Option<Member>,
    cause: Option<Member>,
}

/// The options in `#[failure(…)]` of a struct or a variant.
#[derive(Default)]
struct KindOptions {
    name: Option<LitStr>,
    non_retryable: bool,
}

impl KindOptions {
    fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        for attribute in failure_attributes(attributes) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    meta.input.parse::<Token![=]>()?;
                    options.name = Some(checked_name(meta.input.parse()?)?);
                    return Ok(());
                }
                if meta.path.is_ident("non_retryable") {
                    options.non_retryable = true;
                    return Ok(());
                }
                Err(meta.error("a failure type has the options `name` and `non_retryable`"))
            })?;
        }
        Ok(options)
    }
}

impl Kind {
    fn new(path: TokenStream, ident: &Ident, options: KindOptions, fields: &Fields) -> Result<Self> {
        let mut kind = Self {
            path,
            name: options.name.unwrap_or_else(|| LitStr::new(&plain(ident), ident.span())),
            non_retryable: options.non_retryable,
            details: None,
            cause: None,
        };
        for (member, field) in fields.members().zip(fields) {
            kind.add_field(&member, field)?;
        }
        Ok(kind)
    }

    fn add_field(&mut self, member: &Member, field: &Field) -> Result<()> {
        for attribute in failure_attributes(&field.attrs) {
            attribute.parse_nested_meta(|meta| {
                let place = match meta.path.get_ident().map(Ident::to_string).as_deref() {
                    Some("details") => &mut self.details,
                    Some("cause") => &mut self.cause,
                    _ => return Err(meta.error("a field of a failure has the options `details` and `cause`")),
                };
                if place.replace(member.clone()).is_some() {
                    return Err(meta.error("another field has this option"));
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn name_arm(&self) -> TokenStream {
        let Self { path, name, .. } = self;
        quote!(#path { .. } => #name,)
    }

    fn conversion_arm(&self) -> TokenStream {
        let Self { path, .. } = self;
        let details = self.details.as_ref().map(|member| quote!(#member: details,));
        let cause = self.cause.as_ref().map(|member| quote!(#member: cause,));
        let non_retryable = self.non_retryable.then(|| quote!(.non_retryable()));
        let with_details = details.is_some().then(|| quote!(.details(&details)));
        let with_cause = cause.is_some().then(|| quote!(.caused_by(cause)));
        quote!(#path { #details #cause .. } => failure #non_retryable #with_details #with_cause,)
    }
}

fn failure_attributes(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("failure"))
}

fn checked_name(name: LitStr) -> Result<LitStr> {
    let problem = match name.value() {
        value if value.is_empty() => "a failure type cannot be empty",
        value if value.starts_with("windlass.") => "types that begin with `windlass.` are reserved for the host",
        _ => return Ok(name),
    };
    Err(Error::new(name.span(), problem))
}
