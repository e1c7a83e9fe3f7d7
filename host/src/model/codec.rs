//! How values are written to disk: one byte with the version of the type's format, then the value in the Postcard wire
//! format.
//!
//! Postcard's format is specified (<https://postcard.jamesmunns.com/wire-format>): variable-length integers, fields in
//! their order, enum variants by their position. A new variant at the end of an enum leaves everything that is stored
//! readable. Any other change of a stored type is a new version of its format:
//!
//! 1. keep the type as it was under another name, `TurnV1` for example, with a function that makes today's value of it;
//! 2. raise [`Stored::VERSION`] and read the old version in [`Stored::read_older`];
//! 3. add golden files of the new version; those of older versions stay as they are.
//!
//! Golden files (`host/src/model/golden/`) hold the bytes of every version that was ever written, beside the values that
//! they mean. The tests decode all of them.

#[cfg(test)]
mod golden;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{EventDescription, Failure, InboxItem, ModuleDescription, Parent, StuckReason, Turn};

/// A type whose values are stored by themselves, in a format with a version of its own.
pub trait Stored: Serialize + DeserializeOwned {
    /// What a value is called in messages; the folder of its golden files.
    const NAME: &'static str;

    /// The version that is written, from 1.
    const VERSION: u8 = 1;

    /// Reads a value of an older version.
    ///
    /// # Errors
    /// When there was no such version, or the bytes are damaged.
    fn read_older(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        let _ = body;
        Err(CodecError::Version {
            name: Self::NAME,
            found: version,
            known: Self::VERSION,
        })
    }
}

impl Stored for Turn {
    const NAME: &'static str = "turn";
}

impl Stored for InboxItem {
    const NAME: &'static str = "message";
}

impl Stored for Failure {
    const NAME: &'static str = "failure";
}

impl Stored for ModuleDescription {
    const NAME: &'static str = "module";
}

/// The events that the orchestrations of a module declare.
impl Stored for Vec<EventDescription> {
    const NAME: &'static str = "declared-events";
}

impl Stored for Parent {
    const NAME: &'static str = "parent";
}

impl Stored for StuckReason {
    const NAME: &'static str = "stuck";
}

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// No bytes at all.
    #[error("the row is empty")]
    Empty,
    /// Written by a newer host, or damaged.
    #[error("the row has version {found} of the format of a {name}, this host knows versions up to {known}")]
    Version {
        /// The stored type.
        name: &'static str,
        /// The version that the row names.
        found: u8,
        /// The newest version that this host reads.
        known: u8,
    },
    /// Damaged.
    #[error("the row is damaged: {0}")]
    Damaged(postcard::Error),
    /// Damaged: bytes follow the value.
    #[error("the row is damaged: {0} bytes follow its value")]
    Trailing(usize),
}

/// The bytes of a value, in the version that is written now.
///
/// # Panics
/// Never for the types of [`model`](super): Postcard refuses only sequences of unknown length.
pub fn encode<T: Stored>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![T::VERSION]).expect("every stored type can be encoded")
}

/// The value of some bytes, of whichever version.
///
/// # Errors
/// When the bytes were not written by [`encode`] of a version that this host knows.
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T, CodecError> {
    let (version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *version == T::VERSION {
        body_of(body)
    } else {
        T::read_older(*version, body)
    }
}

/// The value behind the version byte, all of it. For [`Stored::read_older`], of the type as it was then.
///
/// # Errors
/// When the bytes are damaged.
pub fn body_of<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    let (value, rest) = postcard::take_from_bytes(body).map_err(CodecError::Damaged)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(CodecError::Trailing(rest.len()))
    }
}
