//! How rows are written to disk: one version byte, then the value in the Postcard wire format.
//!
//! Postcard's format is specified (<https://postcard.jamesmunns.com/wire-format>): variable-length integers, enum
//! variants by their position. So variants are only ever appended to the enums of [`model`](super), and any other
//! change of a stored type needs a new version byte and a reader for the old one. Golden files in the tests hold the
//! bytes of every released version.

use serde::{Serialize, de::DeserializeOwned};

/// The version that is written.
const VERSION: u8 = 1;

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// No bytes at all.
    #[error("the row is empty")]
    Empty,
    /// Written by a newer host, or damaged.
    #[error("the row has format version {0}, this host knows version {VERSION}")]
    Version(u8),
    /// Damaged.
    #[error("the row is damaged: {0}")]
    Damaged(postcard::Error),
    /// Damaged: bytes follow the value.
    #[error("the row is damaged: {0} bytes follow its value")]
    Trailing(usize),
}

/// The bytes of a value.
///
/// # Panics
/// Never for the types of [`model`](super): Postcard refuses only sequences of unknown length.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VERSION]).expect("every stored type can be encoded")
}

/// The value of some bytes.
///
/// # Errors
/// When the bytes were not written by [`encode`] of a version that this host knows.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *version != VERSION {
        return Err(CodecError::Version(*version));
    }
    let (value, rest) = postcard::take_from_bytes(body).map_err(CodecError::Damaged)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(CodecError::Trailing(rest.len()))
    }
}
