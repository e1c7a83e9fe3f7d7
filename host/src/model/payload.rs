//! JSON text that is carried, not read.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// How deep arrays and objects may be nested: what serde_json, which most readers use, takes by default.
pub const MAX_DEPTH: usize = 127;

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
    /// Nesting is bounded by [`MAX_DEPTH`], so that nobody who reads the value can be made to exhaust the stack.
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
        // Skipping a value does not recurse, and so does not bound its depth.
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) if depth(text) > MAX_DEPTH => {
                Err(PayloadError::NotJson(format!("nested deeper than {MAX_DEPTH} levels")))
            }
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

    /// The length of the text, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    /// The value, for reading; what is stored stays the text.
    ///
    /// # Errors
    /// When the text is JSON that has no value here: a number beyond those of 64 bits such as `1e400`, or half of a
    /// surrogate pair.
    pub fn to_value(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::from_str(&self.0)
    }
}

/// How deep the arrays and objects of a JSON text are nested.
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
    fn what_is_not_one_json_value_is_refused() {
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
