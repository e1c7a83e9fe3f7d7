//! Ids as types: parsed once at the edge, so that every value is valid.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Maximum length of an instance id, in bytes. Long enough for a path of nested children, short enough for an index
/// key.
pub const MAX_INSTANCE_ID_BYTES: usize = 256;

/// Maximum length of a function or event name, in bytes.
pub const MAX_NAME_BYTES: usize = 200;

/// Why a text is not a valid id or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than the limit.
    #[error("is {length} bytes long, at most {limit} are allowed")]
    TooLong {
        /// Length of the text, in bytes.
        length: usize,
        /// Maximum length, in bytes.
        limit: usize,
    },
    /// The text has a character that would be ambiguous in a path, a log line or a terminal.
    #[error("must not contain {0:?}")]
    Character(char),
    /// The text is `.` or `..`, which clients and proxies resolve as relative path segments before they send a URL.
    #[error("must not be {0:?}: URLs cannot hold it as a path segment")]
    DotSegment(&'static str),
    /// The text begins with `@`, which only ids of entities do.
    #[error("must not begin with '@': such ids belong to entities")]
    Reserved,
    /// The text is not `sha256:` and 64 hexadecimal digits.
    #[error("must be `sha256:` and 64 hexadecimal digits")]
    Digest,
}

/// The segments that RFC 3986 (section 5.2.4) removes from a path, escaped or not.
const DOT_SEGMENTS: [&str; 2] = [".", ".."];

/// An id or name that older versions accepted, although [`FromStr`] rejects it for new ones.
pub trait FromStored: Sized {
    /// Parses the id or name of something that may exist: in a stored row, a recorded decision, or the target of a
    /// request.
    ///
    /// # Errors
    /// If no version ever accepted the text.
    fn from_stored(text: &str) -> Result<Self, IdError>;
}

/// Checks that the text is preserved as a path segment.
fn check_segment(text: &str) -> Result<(), IdError> {
    match DOT_SEGMENTS.into_iter().find(|segment| *segment == text) {
        Some(segment) => Err(IdError::DotSegment(segment)),
        None => Ok(()),
    }
}

pub(super) fn check_text(text: &str, limit: usize, forbidden: &[char]) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > limit {
        return Err(IdError::TooLong {
            length: text.len(),
            limit,
        });
    }
    match text.chars().find(|c| c.is_control() || forbidden.contains(c)) {
        Some(found) => Err(IdError::Character(found)),
        None => Ok(()),
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The owner of modules and instances. Every stored row belongs to a tenant.
    TenantId(u32)
}
number! {
    /// The internal number of an instance. Never used twice, not even after a purge, so that a late message for an old
    /// instance cannot reach a new one with the same id.
    InstanceNumber(u64)
}
number! {
    /// One execution of an instance, from 1; continue-as-new increments it.
    ExecutionNumber(u32)
}
number! {
    /// Position in the history of an execution, from 1 without gaps.
    TurnNumber(u32)
}
number! {
    /// One durable operation of an execution, from 1 in scheduling order.
    TaskId(u32)
}
number! {
    /// Position in an instance's inbox; it increases, with gaps.
    InboxSeq(u64)
}
number! {
    /// The internal number of a stored module version (one digest of one tenant).
    ModuleNumber(u32)
}

impl TenantId {
    /// The tenant of a host without keys.
    pub const DEFAULT: Self = Self(1);
}

impl ExecutionNumber {
    /// The first execution of an instance.
    pub const FIRST: Self = Self(1);

    /// The execution that continue-as-new starts.
    #[must_use]
    pub fn next(self) -> Self {
        Self(
            self.0
                .checked_add(1)
                .expect("an instance has fewer than 2^32 executions"),
        )
    }
}

impl TurnNumber {
    /// The number before the first turn.
    pub const NONE: Self = Self(0);

    /// The turn after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("an execution has fewer than 2^32 turns"))
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $limit:expr, $forbidden:expr, reserved: $reserved:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                check_segment(text)?;
                if $reserved.is_some_and(|reserved: char| text.starts_with(reserved)) {
                    return Err(IdError::Reserved);
                }
                Self::from_stored(text)
            }
        }

        impl FromStored for $name {
            fn from_stored(text: &str) -> Result<Self, IdError> {
                check_text(text, $limit, $forbidden)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// The id of an instance, unique among a tenant's instances; chosen by the caller or generated by the host.
    InstanceId, MAX_INSTANCE_ID_BYTES, &['/', '\\', '?', '#'], reserved: Some('@')
}
text! {
    /// The name under which a module offers a function.
    FunctionName, MAX_NAME_BYTES, &[], reserved: None
}

/// The SHA-256 of a module's bytes, written as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModuleDigest(pub [u8; 32]);

impl fmt::Display for ModuleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModuleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ModuleDigest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text
            .strip_prefix("sha256:")
            .filter(|digits| digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .ok_or(IdError::Digest)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = str::from_utf8(pair).map_err(|_| IdError::Digest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| IdError::Digest)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_has_no_characters_that_are_ambiguous_in_a_path() {
        assert_eq!("order-1:é".parse::<InstanceId>().unwrap().as_str(), "order-1:é");
        assert_eq!("".parse::<InstanceId>(), Err(IdError::Empty));
        assert_eq!("a/b".parse::<InstanceId>(), Err(IdError::Character('/')));
        assert_eq!("a\nb".parse::<InstanceId>(), Err(IdError::Character('\n')));
        let long = "x".repeat(MAX_INSTANCE_ID_BYTES + 1);
        assert_eq!(
            long.parse::<InstanceId>(),
            Err(IdError::TooLong {
                length: long.len(),
                limit: MAX_INSTANCE_ID_BYTES
            })
        );
    }

    #[test]
    fn dot_segments_are_refused_for_new_ids_and_names_and_accepted_from_the_store() {
        for text in [".", ".."] {
            assert_eq!(text.parse::<InstanceId>(), Err(IdError::DotSegment(text)));
            assert_eq!(text.parse::<FunctionName>(), Err(IdError::DotSegment(text)));
            assert_eq!(InstanceId::from_stored(text).unwrap().as_str(), text);
            assert_eq!(FunctionName::from_stored(text).unwrap().as_str(), text);
        }
        for text in ["...", ".a", "a..", "%2e%2e", ". ."] {
            assert!(text.parse::<InstanceId>().is_ok(), "{text}");
            assert!(text.parse::<FunctionName>().is_ok(), "{text}");
        }
        assert_eq!(InstanceId::from_stored("a/b"), Err(IdError::Character('/')));
    }

    #[test]
    fn a_digest_parses_as_formatted() {
        let digest = ModuleDigest(std::array::from_fn(|i| u8::try_from(i * 7).unwrap()));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("sha256:12".parse::<ModuleDigest>(), Err(IdError::Digest));
        assert_eq!(
            format!("sha256:{}", "é".repeat(32)).parse::<ModuleDigest>(),
            Err(IdError::Digest)
        );
    }
}
