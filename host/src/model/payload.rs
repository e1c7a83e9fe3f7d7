//! JSON text that is carried, not read.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// UTF-8 JSON text, checked once and then kept and handed on verbatim: never parsed and written again, so `1.0` and
/// large integers survive. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Payload(Arc<str>);

/// Why a text is no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not JSON.
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// Longer than the limit.
    #[error("is {length} bytes long, at most {limit} are allowed")]
    TooLong {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

impl Payload {
    /// Takes the text if it is one JSON value of at most `limit` bytes, white space around it included.
    ///
    /// Nesting is bounded by serde_json's recursion limit (128), so a hostile text cannot exhaust the stack.
    ///
    /// # Errors
    /// When it is longer or is not JSON.
    pub fn parse(text: &str, limit: usize) -> Result<Self, PayloadError> {
        if text.len() > limit {
            return Err(PayloadError::TooLong {
                length: text.len(),
                limit,
            });
        }
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(Self(text.into())),
            Err(error) => Err(PayloadError::NotJson(error.to_string())),
        }
    }

    /// The payload of a value of ours.
    ///
    /// # Panics
    /// When the value cannot be written as JSON; those that are handed in here all can.
    pub fn of(value: &impl Serialize) -> Self {
        Self(
            serde_json::to_string(value)
                .expect("the value can be written as JSON")
                .into(),
        )
    }

    /// `null`.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value, for reading; what is stored stays the text.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or(serde_json::Value::Null)
    }
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
    fn what_is_not_one_json_value_is_refused() {
        for text in ["", "  ", "{", "1 2", "nul", "'a'", "\"\u{1}\""] {
            assert!(
                matches!(Payload::parse(text, 100), Err(PayloadError::NotJson(_))),
                "{text:?}"
            );
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
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
