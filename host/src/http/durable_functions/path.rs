//! Paths of this API: segments compare without regard to case, and slashes at both ends are ignored.

use http::StatusCode;
use percent_encoding::percent_decode_str;

use super::error::Refused;
use crate::model::{FromStored, InstanceId};

/// The prefix of all paths in links.
pub(super) const PREFIX: &str = "/runtime/webhooks/durabletask";

/// What a path names. Ids and names are decoded, but not checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/orchestrators/{functionName}[/{instanceId}]`, also under `/api`.
    Orchestrator { function: String, instance: Option<String> },
    /// `/instances`.
    Instances,
    /// `/instances/{instanceId}` and what is below it.
    Instance { id: String, part: Part },
    /// `/entities[/{entityName}]`.
    Entities { name: Option<String> },
    /// `/entities/{entityName}/{entityKey}`.
    Entity { name: String, key: String },
    /// `/durableClient`: the document that SDKs get as their client binding.
    DurableClient,
}

/// What a path names of one instance.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Itself,
    /// `/raiseEvent/{eventName}`.
    Event(String),
    Terminate,
    Suspend,
    Resume,
    Rewind,
    Restart,
}

/// Whether a path belongs to this API.
pub(in crate::http) fn owns(path: &str) -> bool {
    below_prefix(path).is_some()
}

/// The part of the path below the prefix, without slashes at its ends; for `/api/orchestrators`, the part below `/api`.
fn below_prefix(path: &str) -> Option<&str> {
    let path = path.trim_matches('/');
    let (first, rest) = path.split_once('/')?;
    if first.eq_ignore_ascii_case("api") {
        let next = rest.split('/').next().unwrap_or_default();
        return next.eq_ignore_ascii_case("orchestrators").then_some(rest);
    }
    let (second, rest) = rest.split_once('/')?;
    let (third, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let is_ours = first.eq_ignore_ascii_case("runtime")
        && second.eq_ignore_ascii_case("webhooks")
        && third.eq_ignore_ascii_case("durabletask");
    is_ours.then_some(rest.trim_start_matches('/'))
}

/// What a path names; `None` if that is nothing.
pub(super) fn read(path: &str) -> Option<Route> {
    let segments: Vec<&str> = below_prefix(path)?.split('/').collect();
    let (kind, rest) = segments.split_first()?;
    let kind = kind.to_ascii_lowercase();
    let route = match (kind.as_str(), rest) {
        ("orchestrators", [function]) => Route::Orchestrator {
            function: decoded(function)?,
            instance: None,
        },
        ("orchestrators", [function, instance]) => Route::Orchestrator {
            function: decoded(function)?,
            instance: Some(decoded(instance)?),
        },
        ("instances", []) => Route::Instances,
        ("instances", [id, below @ ..]) => Route::Instance {
            id: decoded(id)?,
            part: part(below)?,
        },
        ("entities", []) => Route::Entities { name: None },
        ("entities", [name]) => Route::Entities {
            name: Some(decoded(name)?),
        },
        ("entities", [name, key]) => Route::Entity {
            name: decoded(name)?,
            key: decoded(key)?,
        },
        ("durableclient", []) => Route::DurableClient,
        _ => return None,
    };
    Some(route)
}

fn part(below: &[&str]) -> Option<Part> {
    let (name, rest) = match below {
        [] => return Some(Part::Itself),
        [name, rest @ ..] => (name.to_ascii_lowercase(), rest),
    };
    match (name.as_str(), rest) {
        ("raiseevent", [event]) => Some(Part::Event(decoded(event)?)),
        ("terminate", []) => Some(Part::Terminate),
        ("suspend", []) => Some(Part::Suspend),
        ("resume", []) => Some(Part::Resume),
        ("rewind", []) => Some(Part::Rewind),
        ("restart", []) => Some(Part::Restart),
        _ => None,
    }
}

/// Decodes percent escapes. A `+` stays a `+`.
fn decoded(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    Some(text.into_owned())
}

/// The id of an instance that may exist. No instance has an invalid id.
pub(super) fn existing(text: &str) -> Result<InstanceId, Refused> {
    InstanceId::from_stored(text).map_err(|_| Refused::Status(StatusCode::NOT_FOUND))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, part: Part) -> Option<Route> {
        Some(Route::Instance { id: id.into(), part })
    }

    #[test]
    fn case_and_slashes_at_the_ends_do_not_matter() {
        for path in [
            "/runtime/webhooks/durabletask/instances",
            "/runtime/webhooks/durabletask/instances/",
            "//Runtime/WebHooks/DurableTask/INSTANCES//",
        ] {
            assert_eq!(read(path), Some(Route::Instances), "{path}");
        }
        assert_eq!(
            read("/runtime/webhooks/durabletask/instances/A%20b+%C3%A9/RaiseEvent/Go%2FOn/"),
            instance("A b+é", Part::Event("Go/On".into()))
        );
        assert_eq!(
            read("/API/Orchestrators/Order/7"),
            Some(Route::Orchestrator {
                function: "Order".into(),
                instance: Some("7".into())
            })
        );
        assert_eq!(
            read("/runtime/webhooks/durabletask/entities/counter/A%40b"),
            Some(Route::Entity {
                name: "counter".into(),
                key: "A@b".into()
            })
        );
    }

    #[test]
    fn what_is_not_a_resource_of_this_api_is_unknown() {
        for (path, is_ours) in [
            ("/v1/instances", false),
            ("/", false),
            ("", false),
            ("/api", false),
            ("/api/other", false),
            ("/api/orchestrators", true),
            ("/api/instances", false),
            ("/api/orchestrators/F/id/more", true),
            ("/runtime/webhooks", false),
            ("/runtime/webhooks/durabletask", true),
            ("/runtime/webhooks/durabletasks/instances", false),
            ("/runtime/webhooks/durabletask/instances/a/raiseEvent", true),
            ("/runtime/webhooks/durabletask/instances/a/terminate/b", true),
            ("/runtime/webhooks/durabletask/instances/%ff", true),
            ("/runtime/webhooks/durabletask/makeprimary", true),
        ] {
            assert_eq!(read(path), None, "{path}");
            assert_eq!(owns(path), is_ours, "{path}");
        }
    }
}
