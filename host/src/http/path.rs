//! Ids and names in paths, decoded and checked before a handler sees them.

use std::{fmt, str::FromStr};

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use super::{error::Refusal, state::App};
use crate::engine::ControlAction;
use crate::model::{
    CompletionToken, EventName, FromStored, FunctionName, InstanceId, ScheduleName, TenantName, entity::entity_name,
};
use crate::tenancy::SettingName;

/// Maximum length of a module name, in bytes. It is part of paths and of messages.
const MAX_MODULE_NAME_BYTES: usize = 100;

/// The name of a module: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleName(String);

impl ModuleName {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ModuleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text.len() <= MAX_MODULE_NAME_BYTES
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "must be 1 to {MAX_MODULE_NAME_BYTES} letters, digits, dots, underscores and hyphens, \
                 beginning with a letter or digit"
            ))
        }
    }
}

/// A type that can be read from a segment of a path.
pub(crate) trait PathPart: Sized {
    /// Its name in the route.
    const PARAMETER: &'static str;
    /// Its name in messages.
    const WHAT: &'static str;
    /// Parses the text. The error message follows `WHAT`.
    fn read(text: &str) -> Result<Self, String>;
}

macro_rules! path_part {
    ($type:ty, $parameter:literal, $what:literal) => {
        impl PathPart for $type {
            const PARAMETER: &'static str = $parameter;
            const WHAT: &'static str = $what;

            fn read(text: &str) -> Result<Self, String> {
                text.parse()
                    .map_err(|error: <Self as FromStr>::Err| error.to_string())
            }
        }
    };
}

/// For existing resources: ids and names that older versions accepted are valid here, though new ones may not have
/// them.
macro_rules! stored_path_part {
    ($type:ty, $parameter:literal, $what:literal) => {
        impl PathPart for $type {
            const PARAMETER: &'static str = $parameter;
            const WHAT: &'static str = $what;

            fn read(text: &str) -> Result<Self, String> {
                Self::from_stored(text).map_err(|error| error.to_string())
            }
        }
    };
}

stored_path_part!(InstanceId, "id", "instance id");
stored_path_part!(FunctionName, "function", "function name");
path_part!(ControlAction, "action", "action");
path_part!(CompletionToken, "token", "token");
path_part!(EventName, "name", "event name");
path_part!(ModuleName, "module", "module name");
path_part!(ScheduleName, "schedule", "name of the schedule");
path_part!(TenantName, "tenant", "tenant name");
path_part!(SettingName, "setting", "name of the setting");

/// The name of an entity in the path, in any letter case.
#[derive(Debug)]
pub(crate) struct EntityName(pub(crate) String);

/// The key of an entity in the path.
#[derive(Debug)]
pub(crate) struct EntityKey(pub(crate) String);

/// The name of an operation in the path.
#[derive(Debug)]
pub(crate) struct OperationName(pub(crate) String);

impl PathPart for EntityName {
    const PARAMETER: &'static str = "name";
    const WHAT: &'static str = "entity name";

    fn read(text: &str) -> Result<Self, String> {
        entity_name(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl PathPart for EntityKey {
    const PARAMETER: &'static str = "key";
    const WHAT: &'static str = "entity key";

    fn read(text: &str) -> Result<Self, String> {
        // The length depends on the name, so the entity's id is checked as a whole.
        Ok(Self(text.to_owned()))
    }
}

impl PathPart for OperationName {
    const PARAMETER: &'static str = "operation";
    const WHAT: &'static str = "name of the operation";

    fn read(text: &str) -> Result<Self, String> {
        // The rules are those of functions.
        FunctionName::from_stored(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

/// The name of a setting to remove. Older versions accepted names that new settings must not have.
#[derive(Debug)]
pub(crate) struct StoredSetting(pub(crate) SettingName);

impl PathPart for StoredSetting {
    const PARAMETER: &'static str = SettingName::PARAMETER;
    const WHAT: &'static str = SettingName::WHAT;

    fn read(text: &str) -> Result<Self, String> {
        SettingName::from_stored(text).map(Self)
    }
}

/// The id of an API key in the path; there may be no such key.
#[derive(Debug)]
pub(crate) struct KeyId(String);

impl KeyId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl PathPart for KeyId {
    const PARAMETER: &'static str = "key";
    const WHAT: &'static str = "key id";

    fn read(text: &str) -> Result<Self, String> {
        if text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Self(text.into()))
        } else {
            Err("must be the 16 hexadecimal digits between `wl_` and the second `_` of the key".into())
        }
    }
}

/// Extracts an id or name from the path.
#[derive(Debug)]
pub(crate) struct InPath<T>(pub(crate) T);

impl<T: PathPart> FromRequestParts<App> for InPath<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal::InvalidPath { what: T::WHAT, message };
        let given = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| invalid("is not percent-encoded UTF-8".into()))?;
        let text = given
            .iter()
            .find(|(name, _)| *name == T::PARAMETER)
            .map_or("", |(_, value)| value);
        T::read(text).map(Self).map_err(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_name_is_safe_in_paths_and_messages() {
        for name in ["orders", "Orders-2.1_b", "7"] {
            assert_eq!(ModuleName::read(name).unwrap().as_str(), name);
        }
        for name in ["", ".hidden", "-x", "a/b", "a b", "é", &"x".repeat(101)] {
            assert!(ModuleName::read(name).is_err(), "{name}");
        }
    }

    #[test]
    fn existing_names_that_are_dot_segments_are_reachable_and_new_ones_are_refused() {
        for text in [".", ".."] {
            assert_eq!(InstanceId::read(text).unwrap().as_str(), text);
            assert_eq!(FunctionName::read(text).unwrap().as_str(), text);
            assert_eq!(StoredSetting::read(text).unwrap().0.as_str(), text);
            assert!(EventName::read(text).is_err(), "{text}");
            assert!(SettingName::read(text).is_err(), "{text}");
            assert!(ModuleName::read(text).is_err(), "{text}");
            assert!(TenantName::read(text).is_err(), "{text}");
            assert!(KeyId::read(text).is_err(), "{text}");
        }
    }
}
