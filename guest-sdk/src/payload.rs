//! The payload codec: Rust values as JSON text, and [`Bytes`] for what is not text.
//!
//! Alone here, so that there is one place that decides how a value is written.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::{Failure, Result};

/// Writes a value as a payload; `what` begins the message of the failure.
pub(crate) fn encode(what: &str, value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Failure::invalid_payload(what, &error))
}

/// Reads a payload; `what` begins the message of the failure.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, payload: &str) -> Result<T> {
    serde_json::from_str(payload).map_err(|error| Failure::invalid_payload(what, &error))
}

/// The JSON Schema of a type, as text.
pub(crate) fn schema_of<T: JsonSchema>() -> String {
    SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .as_value()
        .to_string()
}

/// Bytes inside a payload, written as base64 text.
///
/// `Vec<u8>` would become a list of numbers, four times as long.
///
/// ```
/// use windlass_sdk::Bytes;
///
/// let pdf = Bytes::from(b"%PDF-1.7".to_vec());
/// assert_eq!(serde_json::to_string(&pdf).unwrap(), r#""JVBERi0xLjc=""#);
/// assert!(pdf.starts_with(b"%PDF"));
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The bytes themselves.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        BASE64_STANDARD
            .decode(text.as_bytes())
            .map(Self)
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentEncoding": "base64" })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

/// Shows the length alone: a log should not be flooded by a document.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_and_refuse_what_is_not_base64() {
        let bytes = Bytes::from(vec![0, 255, 10]);
        let text = encode("bytes", &bytes).unwrap();
        assert_eq!(decode::<Bytes>("bytes", &text).unwrap(), bytes);
        assert!(decode::<Bytes>("bytes", r#""*""#).is_err());
    }
}
