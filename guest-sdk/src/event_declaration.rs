//! Events: [`EventSignature`] is an event with its type, [`EventName`] is a way to name one in code, and
//! [`EventDeclaration`] is an event that an orchestration declares.
//!
//! The option `events(…)` of `#[orchestrator]` makes declarations. The host rejects an event that does not match its
//! declaration when it is raised. An orchestration that waits for a declared event as another type is wrong, and fails.

use std::any::{TypeId, type_name};
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Failure, Result};
use crate::payload::{decode, schema_of};

/// The name and type of an event, for sender and recipient. Implemented by [`signatures!`](crate::signatures!).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "expected an event declared with `signatures!`",
    note = "an event can be declared in place as well: `events(name: Type)`"
)]
pub trait EventSignature {
    /// The name; case-insensitive.
    const NAME: &'static str;
    /// The type of the payload; `()` if the event has none.
    type Payload: Serialize + DeserializeOwned + JsonSchema + 'static;
}

/// The name of an event with the payload `T`: an event declared with [`signatures!`](crate::signatures!), or any string.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event with the payload `{T}`",
    label = "expected an event with that payload, or the name of one"
)]
pub trait EventName<T: ?Sized> {
    /// The name.
    fn name(&self) -> &str;
}

impl<E: EventSignature> EventName<E::Payload> for E {
    fn name(&self) -> &str {
        E::NAME
    }
}

impl<T: ?Sized> EventName<T> for &str {
    fn name(&self) -> &str {
        self
    }
}

impl<T: ?Sized> EventName<T> for &String {
    fn name(&self) -> &str {
        self
    }
}

/// The name of an event and the type of its payload.
#[derive(Clone, Copy)]
pub struct EventDeclaration {
    name: &'static str,
    type_id: TypeId,
    type_name: fn() -> &'static str,
    schema: fn() -> String,
    check: fn(&str) -> Result<()>,
}

impl EventDeclaration {
    /// An event of that name with the payload `T`.
    pub const fn of<T: DeserializeOwned + JsonSchema + 'static>(name: &'static str) -> Self {
        Self {
            name,
            type_id: TypeId::of::<T>(),
            type_name: type_name::<T>,
            schema: schema_of::<T>,
            check: check::<T>,
        }
    }

    /// An event that was declared with `signatures!`.
    pub const fn of_signature<E: EventSignature>() -> Self {
        Self::of::<E::Payload>(E::NAME)
    }

    /// The name of the event; case-insensitive.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The JSON Schema of the payload.
    pub(crate) fn schema(&self) -> String {
        (self.schema)()
    }

    /// Checks that the payload is of the declared type.
    #[cfg_attr(
        target_arch = "wasm32",
        expect(dead_code, reason = "the host checks; only tests do it here")
    )]
    pub(crate) fn check(&self, payload: &str) -> Result<()> {
        (self.check)(payload)
    }

    /// Checks that `T` is the declared type.
    fn check_type<T: 'static>(&self) -> Result<()> {
        if self.type_id == TypeId::of::<T>() {
            return Ok(());
        }
        let (declared, awaited) = ((self.type_name)(), type_name::<T>());
        let message = format!(
            "the event `{}` is declared as `{declared}` and awaited as `{awaited}`",
            self.name
        );
        Err(Failure::new("EventTypeMismatch", message).non_retryable())
    }
}

impl fmt::Debug for EventDeclaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventDeclaration")
            .field("name", &self.name)
            .field("type", &(self.type_name)())
            .finish_non_exhaustive()
    }
}

fn check<T: DeserializeOwned>(payload: &str) -> Result<()> {
    decode::<T>("the event does not match its declaration", payload).map(drop)
}

/// Finds the declaration with that name.
pub(crate) fn find<'e>(events: &'e [EventDeclaration], name: &str) -> Option<&'e EventDeclaration> {
    let name = name.to_lowercase();
    events.iter().find(|event| event.name.to_lowercase() == name)
}

/// Checks that an orchestration with these declarations may wait for the event `name` as a `T`.
pub(crate) fn check_wait<T: 'static>(events: &[EventDeclaration], name: &str) -> Result<()> {
    find(events, name).map_or(Ok(()), EventDeclaration::check_type::<T>)
}

/// Rejects two events with the same name at compile time.
pub const fn check_events(events: &[EventDeclaration]) {
    let mut i = 0;
    while i < events.len() {
        let mut j = i + 1;
        while j < events.len() {
            assert!(
                !events[i].name.eq_ignore_ascii_case(events[j].name),
                "two events of one orchestration have the same name; letter case does not matter"
            );
            j += 1;
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "two events of one orchestration have the same name")]
    fn a_name_used_twice_is_refused() {
        check_events(&[EventDeclaration::of::<u8>("Go"), EventDeclaration::of::<()>("go")]);
    }
}
