//! `#[operations]`: the methods of an `impl` block as operations of an entity.
//!
//! `#[operations] impl Account { fn deposit(&mut self, cents: i64) -> Result<i64> { … } }` expands to the block and:
//!
//! ```text
//! const _: () = {
//!     pub struct Calls(CallTarget);
//!     impl Calls {
//!         pub fn deposit(&self, input: &i64) -> EntityCall<i64> { self.0.call("deposit", input) }
//!         pub fn delete(&self) -> EntityCall<()> { … }
//!     }
//!     pub struct Signals(SignalTarget);
//!     impl Signals { pub fn deposit(&self, input: &i64) { self.0.send("deposit", input) } … }
//!     impl EntityClients for Account { type Calls = Calls; type Signals = Signals; … }
//!     impl EntityOperations for Account { const OPERATIONS = &[OperationEntry { name: "deposit", … }, …]; }
//! };
//! ```
//!
//! The types with the methods for callers have no name outside of the `const` block: the SDK's own types dereference to
//! them.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, Ident, ImplItem, ItemImpl, LitStr, Receiver, Result, ReturnType, Signature, Token, Type,
};

use crate::describe::first_doc_line;
use crate::options::{checked_name, plain};
use crate::shape::last_name;

/// Methods that the SDK's types have where a caller calls an operation.
const METHODS_OF_CALLERS: [&str; 3] = ["signal", "at", "after"];

/// The operation that an entity has without defining it.
const DELETE: &str = "delete";

/// One operation.
pub(crate) struct Operation {
    ident: Ident,
    name: LitStr,
    doc: String,
    conditions: Vec<Attribute>,
    mutates: bool,
    takes_context: bool,
    input: Option<Type>,
    output: Output,
}

/// The return type of an operation.
enum Output {
    /// A value; `()` if none is written.
    Value(TokenStream),
    /// A `Result`, as written.
    Result(TokenStream),
}

impl Operation {
    /// A method with a body. Removes `#[operation]` from its attributes.
    fn of_method(attributes: &mut Vec<Attribute>, signature: &Signature) -> Result<Self> {
        let mut operation = Self::without_parameters(attributes, signature)?;
        attributes.retain(|attribute| !attribute.path().is_ident("operation"));
        let mut inputs = signature.inputs.iter();
        operation.mutates = match inputs.next() {
            Some(FnArg::Receiver(receiver)) if is_plain_reference(receiver) => receiver.mutability.is_some(),
            other => {
                let message = "an operation takes `&mut self` or `&self`; move other functions to another `impl` block";
                return Err(match other {
                    Some(parameter) => Error::new_spanned(parameter, message),
                    None => Error::new_spanned(&signature.ident, message),
                });
            }
        };
        for (index, parameter) in inputs.enumerate() {
            let FnArg::Typed(parameter) = parameter else { continue };
            if is_context(&parameter.ty)? {
                if index > 0 {
                    let message = "the context must be the first parameter after `self`, and appear only once";
                    return Err(Error::new_spanned(parameter, message));
                }
                operation.takes_context = true;
            } else {
                operation.add_input(&parameter.ty)?;
            }
        }
        Ok(operation)
    }

    /// An operation in `signatures!`.
    pub(crate) fn declared(attributes: &[Attribute], signature: &Signature) -> Result<Self> {
        let mut operation = Self::without_parameters(attributes, signature)?;
        for parameter in &signature.inputs {
            let only_input = "a declared operation has only its input, neither `self` nor a context";
            let FnArg::Typed(typed) = parameter else {
                return Err(Error::new_spanned(parameter, only_input));
            };
            if is_context(&typed.ty)? {
                return Err(Error::new_spanned(parameter, only_input));
            }
            operation.add_input(&typed.ty)?;
        }
        Ok(operation)
    }

    fn without_parameters(attributes: &[Attribute], signature: &Signature) -> Result<Self> {
        let ident = &signature.ident;
        refuse_qualifiers(signature)?;
        let name = operation_name(attributes)?;
        let plain_name = plain(ident);
        if METHODS_OF_CALLERS.contains(&plain_name.as_str()) {
            let message = format!(
                "callers have a method `{plain_name}` of their own: name the method otherwise, \
                 and set the name of the operation with `#[operation(name = \"{plain_name}\")]`"
            );
            return Err(Error::new_spanned(ident, message));
        }
        Ok(Self {
            ident: ident.clone(),
            name: name.unwrap_or_else(|| LitStr::new(&plain_name, ident.span())),
            doc: first_doc_line(attributes),
            conditions: attributes
                .iter()
                .filter(|attribute| attribute.path().is_ident("cfg"))
                .cloned()
                .collect(),
            mutates: false,
            takes_context: false,
            input: None,
            output: output(&signature.output, ident)?,
        })
    }

    fn add_input(&mut self, ty: &Type) -> Result<()> {
        if let Type::ImplTrait(_) = ty {
            return Err(Error::new_spanned(ty, GENERIC));
        }
        if let Type::Reference(_) = ty {
            return Err(Error::new_spanned(ty, "an operation takes its input by value"));
        }
        if self.input.is_some() {
            let message = "an operation takes one input: put several values into a struct or a tuple";
            return Err(Error::new_spanned(ty, message));
        }
        self.input = Some(ty.clone());
        Ok(())
    }

    /// The operation `delete` that an entity has without defining it.
    fn implicit_delete() -> Self {
        Self {
            ident: Ident::new(DELETE, Span::call_site()),
            name: LitStr::new(DELETE, Span::call_site()),
            doc: "Deletes the state of the entity.".into(),
            conditions: Vec::new(),
            mutates: false,
            takes_context: false,
            input: None,
            output: Output::Value(quote!(())),
        }
    }

    /// The type that a caller receives.
    fn output_type(&self, entity: &TokenStream) -> TokenStream {
        match &self.output {
            Output::Value(ty) => without_self(ty.clone(), entity),
            Output::Result(ty) => {
                let ty = without_self(ty.clone(), entity);
                quote_spanned!(ty.span()=> <#ty as ::windlass_sdk::Outcome>::Output)
            }
        }
    }

    /// The type of the input, `()` if there is none.
    fn input_type(&self, entity: &TokenStream) -> TokenStream {
        match &self.input {
            Some(ty) => without_self(ty.to_token_stream(), entity),
            None => quote!(()),
        }
    }

    /// The parameter and the argument of a caller's method.
    fn for_callers(&self, entity: &TokenStream) -> (Option<TokenStream>, TokenStream) {
        match &self.input {
            Some(written) => {
                let ty = self.input_type(entity);
                (Some(quote!(, input: &#ty)), input_at(written))
            }
            None => (None, quote!(&())),
        }
    }
}

const GENERIC: &str = "an operation cannot be generic: its name stands for one method";

fn refuse_qualifiers(signature: &Signature) -> Result<()> {
    if let Some(asyncness) = &signature.asyncness {
        let message = "an operation cannot be `async`: an entity does not wait";
        return Err(Error::new_spanned(asyncness, message));
    }
    if let Some(unsafety) = &signature.unsafety {
        return Err(Error::new_spanned(
            unsafety,
            "an operation cannot be unsafe: the host calls it",
        ));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new_spanned(abi, "an operation is an ordinary Rust method"));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(&signature.generics, GENERIC));
    }
    Ok(())
}

fn is_plain_reference(receiver: &Receiver) -> bool {
    receiver.reference.is_some() && receiver.colon_token.is_none()
}

/// Whether the parameter is the context.
fn is_context(ty: &Type) -> Result<bool> {
    let (is_reference, name) = match ty {
        Type::Reference(reference) => (reference.mutability.is_none(), last_name(&reference.elem)),
        ty => (false, last_name(ty)),
    };
    match name.map(|name| name.to_string()).as_deref() {
        Some("Entity") if is_reference => Ok(true),
        Some("Entity" | "Orchestration" | "Activity") => {
            Err(Error::new_spanned(ty, "an operation takes its context as `&Entity`"))
        }
        _ => Ok(false),
    }
}

/// The name in `#[operation(name = "…")]`.
fn operation_name(attributes: &[Attribute]) -> Result<Option<LitStr>> {
    let mut name = None;
    for attribute in attributes {
        if !attribute.path().is_ident("operation") {
            continue;
        }
        attribute.meta.require_list()?;
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("an operation has only the option `name`"));
            }
            meta.input.parse::<Token![=]>()?;
            name = Some(checked_name(meta.input.parse()?)?);
            Ok(())
        })?;
    }
    Ok(name)
}

fn output(returns: &ReturnType, ident: &Ident) -> Result<Output> {
    let ty = match returns {
        ReturnType::Default => return Ok(Output::Value(quote_spanned!(ident.span()=> ()))),
        ReturnType::Type(_, ty) => ty,
    };
    match &**ty {
        Type::Reference(_) | Type::ImplTrait(_) => Err(Error::new_spanned(ty, "an operation returns an owned value")),
        ty if last_name(ty).is_some_and(|name| name == "Result") => Ok(Output::Result(ty.to_token_stream())),
        ty => Ok(Output::Value(ty.to_token_stream())),
    }
}

/// Rejects two operations with the same name.
pub(crate) fn refuse_same_names(operations: &[Operation]) -> Result<()> {
    for (index, operation) in operations.iter().enumerate() {
        let name = operation.name.value();
        // Methods with conditions may exclude each other.
        let is_same = |other: &Operation| {
            (other.name.value() == name || other.ident == operation.ident) && other.conditions.is_empty()
        };
        if operation.conditions.is_empty() && operations[..index].iter().any(is_same) {
            let message = format!("another operation has the name `{name}`");
            return Err(Error::new(operation.name.span(), message));
        }
    }
    Ok(())
}

/// Expands the block.
pub(crate) fn expand(options: &TokenStream, mut block: ItemImpl) -> Result<TokenStream> {
    if !options.is_empty() {
        let message = "`#[operations]` takes no options: they belong to `#[entity]`";
        return Err(Error::new_spanned(options, message));
    }
    if let Some((_, path, _)) = &block.trait_ {
        let message = "operations are in an `impl` block of the type itself, not of a trait";
        return Err(Error::new_spanned(path, message));
    }
    if !block.generics.params.is_empty() {
        let message = "an entity cannot be generic: its name stands for one type";
        return Err(Error::new_spanned(&block.generics, message));
    }
    let mut operations = Vec::new();
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else {
            let message = "only operations belong here: move this to another `impl` block";
            return Err(Error::new_spanned(item, message));
        };
        operations.push(Operation::of_method(&mut method.attrs, &method.sig)?);
    }
    refuse_same_names(&operations)?;
    let entity = block.self_ty.to_token_stream();
    let conditions = block.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    let clients = clients(&entity, &operations);
    let entries = operations.iter().map(|operation| entry(&entity, operation));
    let delete = defines_delete(&operations)
        .then(TokenStream::new)
        .unwrap_or_else(|| quote!(::windlass_sdk::__private::OperationEntry::delete()));
    let checks = operations.iter().map(|operation| check(&entity, operation));
    // The compiler reports a missing operation, or `#[entity]`, at the type.
    let check_all = quote_spanned! {block.self_ty.span()=>
        type __Signature = <#entity as ::windlass_sdk::EntityState>::Signature;
        const _: () = ::windlass_sdk::__private::check_operations(
            <__Signature as ::windlass_sdk::EntityClients>::DECLARED,
            <#entity as ::windlass_sdk::EntityClients>::DECLARED,
        );
    };
    Ok(quote! {
        #block
        #(#conditions)*
        const _: () = {
            #clients
            impl ::windlass_sdk::EntityOperations for #entity {
                const OPERATIONS: &'static [::windlass_sdk::__private::OperationEntry<Self>] = &[
                    #(#entries,)*
                    #delete
                ];
            }
            #check_all
            #(#checks)*
        };
    })
}

fn defines_delete(operations: &[Operation]) -> bool {
    operations
        .iter()
        .any(|operation| operation.name.value() == DELETE || operation.ident == DELETE)
}

/// The types with the methods for callers, and the trait that names them.
pub(crate) fn clients(entity: &TokenStream, operations: &[Operation]) -> TokenStream {
    let delete = (!defines_delete(operations)).then(Operation::implicit_delete);
    let operations: Vec<&Operation> = operations.iter().chain(&delete).collect();
    let calls = operations.iter().map(|operation| {
        let Operation {
            ident,
            name,
            doc,
            conditions,
            ..
        } = operation;
        let output = operation.output_type(entity);
        let (parameter, argument) = operation.for_callers(entity);
        quote! {
            #(#conditions)*
            #[doc = #doc]
            pub fn #ident(&self #parameter) -> ::windlass_sdk::EntityCall<#output> {
                self.0.call(#name, #argument)
            }
        }
    });
    let signals = operations.iter().map(|operation| {
        let Operation {
            ident,
            name,
            doc,
            conditions,
            ..
        } = operation;
        let (parameter, argument) = operation.for_callers(entity);
        quote! {
            #(#conditions)*
            #[doc = #doc]
            pub fn #ident(&self #parameter) {
                self.0.send(#name, #argument);
            }
        }
    });
    let declared = operations.iter().map(|operation| {
        let Operation { name, conditions, .. } = operation;
        let missing = format!(
            "the entity has no operation `{}`, which its signature declares",
            name.value()
        );
        quote! {
            #(#conditions)*
            ::windlass_sdk::__private::DeclaredOperation { name: #name, missing: #missing }
        }
    });
    quote! {
        #[doc(hidden)]
        #[derive(Debug)]
        pub struct __Calls(::windlass_sdk::__private::CallTarget);

        #[allow(
            dead_code, missing_docs, private_interfaces, clippy::all, clippy::pedantic,
            reason = "a caller may use none of the methods; their types are the author's"
        )]
        impl __Calls {
            #(#calls)*
        }

        #[doc(hidden)]
        #[derive(Debug)]
        pub struct __Signals(::windlass_sdk::__private::SignalTarget);

        #[allow(
            dead_code, missing_docs, private_interfaces, clippy::all, clippy::pedantic,
            reason = "a caller may use none of the methods; their types are the author's"
        )]
        impl __Signals {
            #(#signals)*
        }

        impl ::windlass_sdk::EntityClients for #entity {
            type Calls = __Calls;
            type Signals = __Signals;
            const DECLARED: &'static [::windlass_sdk::__private::DeclaredOperation] = &[#(#declared),*];

            fn calls(target: ::windlass_sdk::__private::CallTarget) -> __Calls {
                __Calls(target)
            }

            fn signals(target: ::windlass_sdk::__private::SignalTarget) -> __Signals {
                __Signals(target)
            }
        }
    }
}

/// The entry of an operation: its description, and its code with the types erased.
fn entry(entity: &TokenStream, operation: &Operation) -> TokenStream {
    let Operation {
        ident,
        name,
        doc,
        conditions,
        mutates,
        ..
    } = operation;
    let input = operation.input_type(entity);
    let output = operation.output_type(entity);
    let context = operation.takes_context.then(|| quote!(, ctx));
    let (schema, check, read, argument) = match &operation.input {
        Some(ty) => (
            quote_spanned!(ty.span()=> ::core::option::Option::Some(::windlass_sdk::__private::schema_of::<#input>)),
            quote!(::windlass_sdk::__private::check_operation_input::<#input>),
            quote_spanned! {ty.span()=>
                let input: #input = ::windlass_sdk::__private::read_operation_input(input)?;
            },
            quote!(, input),
        ),
        None => (
            quote!(::core::option::Option::None),
            quote!(|_| ::core::result::Result::Ok(())),
            TokenStream::new(),
            TokenStream::new(),
        ),
    };
    let call = quote!(<#entity>::#ident(state #context #argument));
    let call = match &operation.output {
        Output::Value(_) => call,
        Output::Result(ty) => quote_spanned!(ty.span()=> ::windlass_sdk::Outcome::into_result(#call)?),
    };
    quote! {
        #(#conditions)*
        ::windlass_sdk::__private::OperationEntry {
            name: #name,
            doc: #doc,
            mutates: #mutates,
            input_schema: #schema,
            output_schema: ::windlass_sdk::__private::schema_of::<#output>,
            check_input: #check,
            apply: {
                #[allow(unused_variables, reason = "an operation may take neither context nor input")]
                fn apply(
                    state: &mut #entity,
                    ctx: &::windlass_sdk::Entity,
                    input: &str,
                ) -> ::windlass_sdk::Result<::std::string::String> {
                    #read
                    let output: #output = #call;
                    ::windlass_sdk::__private::write_operation_output(&output)
                }
                apply
            },
        }
    }
}

/// Compares an operation with the signature. The compiler reports `mismatched types` at a type that differs.
fn check(entity: &TokenStream, operation: &Operation) -> TokenStream {
    let Operation {
        ident,
        conditions,
        input,
        ..
    } = operation;
    let output = operation.output_type(entity);
    let (parameter, _) = operation.for_callers(entity);
    let argument = input.as_ref().map(input_at);
    let call = quote_spanned!(output.span()=> calls.#ident(#argument));
    // A method of the type comes before one of a trait: that of the trait is for operations that the signature lacks.
    quote! {
        #(#conditions)*
        const _: () = {
            #[allow(dead_code, private_interfaces, clippy::all, clippy::pedantic, reason = "only its types matter")]
            trait __Undeclared {
                fn #ident(&self #parameter) -> ::windlass_sdk::EntityCall<#output> {
                    ::core::unreachable!()
                }
            }
            impl<T> __Undeclared for T {}

            #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic, reason = "only its types matter")]
            fn check(
                calls: &<__Signature as ::windlass_sdk::EntityClients>::Calls
                #parameter
            ) -> ::windlass_sdk::EntityCall<#output> {
                #call
            }
        };
    }
}

/// The variable `input` of the generated code, with the type as its place for errors.
fn input_at(ty: &Type) -> TokenStream {
    Ident::new("input", Span::call_site().located_at(ty.span())).to_token_stream()
}

/// Replaces `Self` by the type, for code outside of its `impl` block.
fn without_self(tokens: TokenStream, entity: &TokenStream) -> TokenStream {
    let replace = |tree: TokenTree| match tree {
        TokenTree::Ident(ident) if ident == "Self" => {
            let entity = entity.clone();
            quote_spanned!(ident.span()=> #entity)
        }
        TokenTree::Group(group) => {
            let mut inner = Group::new(group.delimiter(), without_self(group.stream(), entity));
            inner.set_span(group.span());
            TokenTree::Group(inner).into()
        }
        other => other.into(),
    };
    tokens
        .into_iter()
        .map(replace)
        .collect::<Vec<TokenStream>>()
        .into_iter()
        .collect()
}
