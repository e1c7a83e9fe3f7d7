//! [`Uuid`]: the result of [`Orchestration::new_uuid`](crate::Orchestration::new_uuid).

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

/// A UUID as text: 32 lower-case hexadecimal digits in groups of 8, 4, 4, 4 and 12. A string in payloads.
///
/// ```
/// use windlass_sdk::Uuid;
///
/// let uuid: Uuid = serde_json::from_str(r#""67E55044-10B1-426F-9247-BB680E5FE0C8""#).unwrap();
/// assert_eq!(uuid.to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
/// assert!(serde_json::from_str::<Uuid>(r#""67e55044""#).is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Uuid(String);

impl Uuid {
    /// Wraps a UUID from the host.
    pub(crate) fn from_host(text: String) -> Self {
        debug_assert!(is_uuid(&text), "the host returned `{text}` as a UUID");
        Self(text)
    }

    /// The UUID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        match is_uuid(&text) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(D::Error::invalid_value(Unexpected::Str(&text), &"a UUID")),
        }
    }
}

impl JsonSchema for Uuid {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Uuid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uuid" })
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Uuid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for String {
    fn from(uuid: Uuid) -> Self {
        uuid.0
    }
}
