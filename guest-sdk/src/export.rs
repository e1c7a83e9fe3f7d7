//! `export!`, and the implementation of the exports of a component.

use std::rc::Rc;

use crate::activity::Activity;
use crate::backend::Host;
use crate::bindings::{EntityModuleDescription, EventDescription, wit};
use crate::entity;
use crate::entity::signature::EntityEntry;
use crate::executor::{Core, Execution, Progress};
use crate::failure::{Failure, Result};
use crate::function::{ActivityEntry, OrchestrationEntry};
use crate::logging;
use crate::orchestration::Orchestration;

/// Makes the crate a module that exports the listed functions or entities. One line per crate; all are of one kind.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn validate_order(id: String) -> Result<bool> { Ok(true) }
/// # #[activity] fn process_payment(id: String) -> Result<()> { Ok(()) }
/// windlass_sdk::export!(activities: [validate_order, process_payment]);
/// # fn main() {}
/// ```
/// or
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[orchestrator] async fn order_processing(ctx: Orchestration, id: String) -> Result<bool> { Ok(true) }
/// windlass_sdk::export!(orchestrators: [order_processing]);
/// # fn main() {}
/// ```
///
/// or
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[entity] #[payload] #[derive(Default)] struct Counter(i64);
/// # #[operations] impl Counter { fn add(&mut self, number: i64) { self.0 += number; } }
/// windlass_sdk::export!(entities: [Counter]);
/// # fn main() {}
/// ```
///
/// A function of the other kind does not compile:
/// ```compile_fail,E0277
/// # use windlass_sdk::prelude::*;
/// # #[activity] fn validate_order(id: String) -> Result<bool> { Ok(true) }
/// windlass_sdk::export!(orchestrators: [validate_order]);
/// # fn main() {}
/// ```
///
/// The functions may be defined in another crate: `export!(activities: [orders::validate_order])`. No other crate should
/// depend on a crate with an `export!` line, because it would export the same functions again. To share signatures, put
/// the functions into a library without an `export!` line, and add a crate that only contains that line.
#[macro_export]
macro_rules! export {
    (orchestrators: [$($function:path),+ $(,)?] $(,)?) => {
        const _: () = {
            const ENTRIES: &[$crate::__private::OrchestrationEntry] =
                &[$($crate::__private::OrchestrationEntry::of::<$function>()),+];
            const _: () = $crate::__private::check_names(&[$(<$function as $crate::OrchestrationSignature>::NAME),+]);

            struct Module;

            impl $crate::__private::orchestrator::exports::windlass::durable::orchestrator::Guest for Module {
                fn describe() -> $crate::__private::wit::ModuleDescription {
                    $crate::__private::describe_orchestrations(ENTRIES)
                }

                fn run(
                    name: ::std::string::String,
                    input: ::std::string::String,
                ) -> ::std::result::Result<::std::string::String, $crate::__private::wit::Failure> {
                    $crate::__private::run_orchestration(ENTRIES, &name, &input)
                }
            }

            impl $crate::__private::orchestrator::exports::windlass::durable::orchestrator_events::Guest for Module {
                fn describe_events() -> ::std::vec::Vec<$crate::__private::EventDescription> {
                    $crate::__private::describe_events(ENTRIES)
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::__private::orchestrator::export_orchestrator!(
                Module with_types_in $crate::__private::orchestrator
            );
        };
    };
    (activities: [$($function:path),+ $(,)?] $(,)?) => {
        const _: () = {
            const ENTRIES: &[$crate::__private::ActivityEntry] =
                &[$($crate::__private::ActivityEntry::of::<$function>()),+];
            const _: () = $crate::__private::check_names(&[$(<$function as $crate::ActivitySignature>::NAME),+]);

            struct Module;

            impl $crate::__private::activity::exports::windlass::durable::activity::Guest for Module {
                fn describe() -> $crate::__private::wit::ModuleDescription {
                    $crate::__private::describe_activities(ENTRIES)
                }

                fn run(
                    name: ::std::string::String,
                    input: ::std::string::String,
                ) -> ::std::result::Result<::std::string::String, $crate::__private::wit::Failure> {
                    $crate::__private::run_activity(ENTRIES, &name, &input)
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::__private::activity::export_activity!(
                Module with_types_in $crate::__private::activity
            );
        };
    };
    (entities: [$($entity:path),+ $(,)?] $(,)?) => {
        const _: () = {
            const ENTRIES: &[$crate::__private::EntityEntry] =
                &[$($crate::__private::EntityEntry::of::<$entity>()),+];
            const _: () =
                $crate::__private::check_entity_names(&[$(<$entity as $crate::EntitySignature>::NAME),+]);

            struct Module;

            impl $crate::__private::entity::exports::windlass::durable::entity::Guest for Module {
                fn describe() -> $crate::__private::EntityModuleDescription {
                    $crate::__private::describe_entities(ENTRIES)
                }

                fn run(
                    name: ::std::string::String,
                    _key: ::std::string::String,
                    state: ::core::option::Option<::std::string::String>,
                ) {
                    $crate::__private::run_entity(ENTRIES, &name, state);
                }
            }

            #[cfg(target_arch = "wasm32")]
            $crate::__private::entity::export_entity!(
                Module with_types_in $crate::__private::entity
            );
        };
    };
    ($($anything:tt)*) => {
        ::core::compile_error!(
            "write `export!(orchestrators: [one, two]);`, `export!(activities: [one, two]);` or \
             `export!(entities: [One, Two]);`: everything in a module is of one kind"
        );
    };
}

/// Name and version of this SDK, for the description of a module.
const SDK: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// The export `describe` of a module of orchestrations.
pub fn describe_orchestrations(entries: &[OrchestrationEntry]) -> wit::ModuleDescription {
    wit::ModuleDescription {
        functions: entries.iter().map(|e| (e.describe)().into()).collect(),
        sdk: SDK.into(),
    }
}

/// The export `describe-events` of a module of orchestrations.
pub fn describe_events(entries: &[OrchestrationEntry]) -> Vec<EventDescription> {
    let of = |entry: &OrchestrationEntry| {
        let orchestration = entry.name;
        entry.events.iter().map(move |event| EventDescription {
            orchestration: orchestration.into(),
            name: event.name().into(),
            payload_schema: Some(event.schema()),
        })
    };
    entries.iter().flat_map(of).collect()
}

/// The export `describe` of a module of activities.
pub fn describe_activities(entries: &[ActivityEntry]) -> wit::ModuleDescription {
    wit::ModuleDescription {
        functions: entries.iter().map(|e| (e.describe)().into()).collect(),
        sdk: SDK.into(),
    }
}

/// The export `run` of a module of orchestrations.
pub fn run_orchestration(
    entries: &[OrchestrationEntry],
    name: &str,
    input: &str,
) -> std::result::Result<String, wit::Failure> {
    logging::log_panics();
    let entry = entries
        .iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| unknown_function(name))?;
    let core = Core::new(Box::new(Host), entry.events);
    let mut execution = Execution::new(core.clone(), (entry.run)(Orchestration::new(core), input));
    loop {
        match execution.advance() {
            Progress::Waiting => execution.deliver(Host::wait()),
            Progress::Finished(outcome) => return outcome.map_err(Into::into),
        }
    }
}

/// The export `run` of a module of activities.
pub fn run_activity(entries: &[ActivityEntry], name: &str, input: &str) -> std::result::Result<String, wit::Failure> {
    logging::log_panics();
    let entry = entries
        .iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| unknown_function(name))?;
    let ctx = Activity::of_host();
    let _logging = logging::enter(ctx.sink());
    let outcome: Result<String> = (entry.run)(ctx, input);
    outcome.map_err(Into::into)
}

/// The export `describe` of a module of entities.
pub fn describe_entities(entries: &[EntityEntry]) -> EntityModuleDescription {
    EntityModuleDescription {
        entities: entries.iter().map(|entry| (entry.describe)().into()).collect(),
        sdk: SDK.into(),
    }
}

/// The export `run` of a module of entities.
///
/// # Panics
/// If the module has no entity of that name, or the state cannot be read.
pub fn run_entity(entries: &[EntityEntry], name: &str, state: Option<String>) {
    logging::log_panics();
    let folded = name.to_lowercase();
    let entry = entries.iter().find(|entry| entry.name.to_lowercase() == folded);
    let entry = entry.unwrap_or_else(|| panic!("the module has no entity `{name}`"));
    entity::step::run(entry, state, Rc::new(entity::Host), &entity::Host);
}

fn unknown_function(name: &str) -> wit::Failure {
    Failure::new("UnknownFunction", format!("the module offers no `{name}`"))
        .non_retryable()
        .into()
}

/// Rejects two functions with the same name at compile time.
pub const fn check_names(names: &[&str]) {
    let mut i = 0;
    while i < names.len() {
        let mut j = i + 1;
        while j < names.len() {
            assert!(
                !same(names[i], names[j]),
                "two functions of one `export!` line have the same name"
            );
            j += 1;
        }
        i += 1;
    }
}

/// Rejects two entities with the same name at compile time.
pub const fn check_entity_names(names: &[&str]) {
    let mut i = 0;
    while i < names.len() {
        let mut j = i + 1;
        while j < names.len() {
            assert!(
                !names[i].eq_ignore_ascii_case(names[j]),
                "two entities of one `export!` line have the same name; letter case does not matter"
            );
            j += 1;
        }
        i += 1;
    }
}

pub(crate) const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut i = 0;
    while i < left.len() && i < right.len() && left[i] == right[i] {
        i += 1;
    }
    i == left.len() && i == right.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "two entities of one `export!` line have the same name")]
    fn names_of_entities_differ_in_more_than_letter_case() {
        check_entity_names(&["Account", "Counter", "counter"]);
    }

    #[test]
    fn names_that_differ_are_accepted() {
        check_names(&["a", "ab", "b", ""]);
    }

    #[test]
    #[should_panic(expected = "two functions of one `export!` line have the same name")]
    fn a_name_used_twice_is_refused() {
        check_names(&["a", "b", "a"]);
    }
}
