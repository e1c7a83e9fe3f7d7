//! JSON text that the host carries without interpreting it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Maximum nesting of arrays and objects: the default limit of serde_json, which most readers use.
pub const MAX_DEPTH: usize = 127;

/// UTF-8 JSON text, checked once, then stored and passed on verbatim. It is never parsed and serialized again, so `1.0`
/// and large integers are preserved. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(Arc<str>);

/// Why a text is not a valid payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The text is not JSON.
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// The text is longer than the limit.
    #[error("is {length} bytes long, at most {limit} are allowed")]
    TooLong {
        /// Length of the text, in bytes.
        length: usize,
        /// Maximum length, in bytes.
        limit: usize,
    },
}

impl Payload {
    /// Accepts the text if it is one JSON value of at most `limit` bytes, including white space around it.
    ///
    /// Nesting is limited to [`MAX_DEPTH`], so that the value cannot exhaust the stack of a reader.
    ///
    /// # Errors
    /// If it is longer or is not JSON.
    pub fn parse(text: &str, limit: usize) -> Result<Self, PayloadError> {
        if text.len() > limit {
            return Err(PayloadError::TooLong {
                length: text.len(),
                limit,
            });
        }
        // Skipping a value is not recursive, and so does not limit its depth.
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) if depth(text) > MAX_DEPTH => {
                Err(PayloadError::NotJson(format!("nested deeper than {MAX_DEPTH} levels")))
            }
            Ok(_) => Ok(Self(text.into())),
            Err(error) => Err(PayloadError::NotJson(error.to_string())),
        }
    }

    /// Serializes a value of the host itself.
    ///
    /// # Panics
    /// If the value cannot be serialized as JSON. All values passed here can.
    pub fn of(value: &impl Serialize) -> Self {
        Self(
            serde_json::to_string(value)
                .expect("the value can be written as JSON")
                .into(),
        )
    }

    /// The payload `null`.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The length of the text, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    /// Parses the value, for reading. The payload remains the text.
    ///
    /// # Errors
    /// If the JSON text has a value that serde_json cannot represent: a number out of the range of 64 bits such as
    /// `1e400`, or half of a surrogate pair.
    pub fn to_value(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::from_str(&self.0)
    }
}

/// The nesting depth of arrays and objects in a JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_verbatim() {
        for text in [
            "1.0",
            "123456789012345678901234567890",
            " {\"a\" : 1e2}\n",
            "\"\\u00e9\"",
            "1e400",
        ] {
            assert_eq!(Payload::parse(text, 100).unwrap().as_str(), text);
        }
    }

    #[test]
    fn text_that_is_not_one_json_value_is_refused() {
        for text in ["", "  ", "{", "1 2", "nul", "'a'", "\"\u{1}\""] {
            assert!(
                matches!(Payload::parse(text, 100), Err(PayloadError::NotJson(_))),
                "{text:?}"
            );
        }
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Payload::parse(&nested(MAX_DEPTH), 1_000).is_ok());
        assert!(serde_json::from_str::<serde_json::Value>(&nested(MAX_DEPTH)).is_ok());
        assert!(Payload::parse(&nested(MAX_DEPTH + 1), 1_000).is_err());
        let brackets_in_text = format!("\"\\\"{}\"", "[".repeat(500));
        assert!(Payload::parse(&brackets_in_text, 1_000).is_ok());
        let deep = nested(100_000);
        assert!(matches!(
            Payload::parse(&deep, usize::MAX),
            Err(PayloadError::NotJson(_))
        ));
        assert_eq!(
            Payload::parse("null", 3),
            Err(PayloadError::TooLong { length: 4, limit: 3 })
        );
    }
}
