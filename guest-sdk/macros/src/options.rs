//! The options of `#[orchestrator(…)]`, `#[activity(…)]` and `#[event(…)]`.

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, Ident, LitStr, Path, Result, Token, Type, parenthesized};

use crate::shape::Kind;

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) signature: Option<Path>,
    pub(crate) events: Option<Events>,
    /// Default options of a call: the field, and its value as written.
    pub(crate) defaults: Vec<(Ident, Expr)>,
}

/// The value of the option `events`.
pub(crate) struct Events {
    /// The name of the option, for the place of errors.
    pub(crate) key: Ident,
    pub(crate) list: Vec<Event>,
}

/// One declared event.
pub(crate) enum Event {
    /// `payment: Payment`
    InPlace(LitStr, Type),
    /// `api::payment`, declared with `signatures!`.
    Signature(Path),
}

/// The options with defaults of calls; each is a field of `ActivityOptions`.
const CALL_OPTIONS: [&str; 3] = ["retry", "attempt_timeout", "timeout"];

/// The maximum length of a name: the host's limit.
const MAX_NAME_BYTES: usize = 200;

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            options.parse_one(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

impl Options {
    fn parse_one(&mut self, input: ParseStream<'_>) -> Result<()> {
        let key: Ident = input.parse()?;
        let known = ["name", "signature", "events"].into_iter().chain(CALL_OPTIONS);
        if !known.clone().any(|option| key == option) {
            let list = known.map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                key.span(),
                format!("there is no option `{key}`; there are {list}"),
            ));
        }
        let twice = match key.to_string().as_str() {
            "name" => self.name.is_some(),
            "signature" => self.signature.is_some(),
            "events" => self.events.is_some(),
            _ => self.defaults.iter().any(|(option, _)| *option == key),
        };
        if twice {
            return Err(Error::new(key.span(), format!("`{key}` is set twice")));
        }
        if key == "events" {
            self.events = Some(Events::parse(key, input)?);
            return Ok(());
        }
        input.parse::<Token![=]>()?;
        match key.to_string().as_str() {
            "name" => self.name = Some(checked_name(input.parse()?)?),
            "signature" => self.signature = Some(input.parse()?),
            _ => self.defaults.push((key, input.parse()?)),
        }
        Ok(())
    }

    /// Rejects options that do not apply to this kind of function or contradict each other.
    pub(crate) fn check(&self, kind: Kind) -> Result<()> {
        if let (Kind::Orchestration, Some((option, _))) = (kind, self.defaults.first()) {
            let message = format!("`{option}` is for activities: only the caller of an orchestration can set it");
            return Err(Error::new(option.span(), message));
        }
        if let (Kind::Activity, Some(events)) = (kind, &self.events) {
            let message = "`events` is for orchestrations: an activity cannot wait for events";
            return Err(Error::new(events.key.span(), message));
        }
        if let (Some(name), Some(_)) = (&self.name, &self.signature) {
            return Err(Error::new(name.span(), "the name comes from the signature"));
        }
        if let (Some(events), Some(_)) = (&self.events, &self.signature) {
            return Err(Error::new(events.key.span(), "the events come from the signature"));
        }
        Ok(())
    }

    /// The option `name`, or else the name of the function.
    pub(crate) fn name_or(&self, ident: &Ident) -> LitStr {
        self.name
            .clone()
            .unwrap_or_else(|| LitStr::new(&plain(ident), ident.span()))
    }
}

impl Events {
    /// `(api::payment, close: (), "Approval by hand": bool)`
    fn parse(key: Ident, input: ParseStream<'_>) -> Result<Self> {
        let content;
        parenthesized!(content in input);
        let mut list: Vec<Event> = Vec::new();
        while !content.is_empty() {
            let event: Event = content.parse()?;
            event.check_against(&list)?;
            list.push(event);
            if !content.is_empty() {
                content.parse::<Token![,]>()?;
            }
        }
        Ok(Self { key, list })
    }
}

impl Parse for Event {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = if input.peek(LitStr) {
            input.parse()?
        } else if input.peek2(Token![:]) && !input.peek2(Token![::]) {
            let ident = input.call(Ident::parse_any)?;
            LitStr::new(&plain(&ident), ident.span())
        } else {
            return input.parse().map(Self::Signature);
        };
        let name = checked_name(name)?;
        input.parse::<Token![:]>()?;
        Ok(Self::InPlace(name, input.parse()?))
    }
}

impl Event {
    /// Rejects the name of an earlier event. Events declared with `signatures!` are compared later, at compile time,
    /// because the macro does not know their names.
    fn check_against(&self, earlier: &[Self]) -> Result<()> {
        let Self::InPlace(name, _) = self else { return Ok(()) };
        let folded = name.value().to_lowercase();
        let is_taken =
            |event: &Self| matches!(event, Self::InPlace(other, _) if other.value().to_lowercase() == folded);
        match earlier.iter().any(is_taken) {
            true => Err(Error::new(
                name.span(),
                "an event with that name is already declared; names are case-insensitive",
            )),
            false => Ok(()),
        }
    }
}

/// The name of an identifier without the `r#` of a raw one.
pub(crate) fn plain(ident: &Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
}

pub(crate) fn checked_name(name: LitStr) -> Result<LitStr> {
    let problem = match name.value() {
        value if value.is_empty() => Some("a name cannot be empty"),
        value if value.len() > MAX_NAME_BYTES => Some("a name has at most 200 bytes"),
        value if value == "." || value == ".." => Some("a name cannot be `.` or `..`: URLs cannot hold it"),
        value if value.chars().any(char::is_control) => Some("a name has no control characters"),
        _ => None,
    };
    match problem {
        Some(problem) => Err(Error::new(name.span(), problem)),
        None => Ok(name),
    }
}
