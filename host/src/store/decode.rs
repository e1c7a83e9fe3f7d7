//! Reads what was stored: bytes and texts that were valid when they were written.

use super::Error;
use crate::model::{
    FromStored,
    codec::{self, Stored},
};

/// The value that some stored bytes hold; `what` names the row for the error.
pub(super) fn decode<T: Stored>(bytes: &[u8], what: impl FnOnce() -> String) -> Result<T, Error> {
    codec::decode(bytes).map_err(|error| Error::Damaged(format!("{}: {error}", what())))
}

/// A text that was valid when it was stored.
pub(super) fn parse<T: FromStored>(text: &str, what: &str) -> Result<T, Error> {
    T::from_stored(text).map_err(|error| Error::Damaged(format!("{what} {text:?} {error}")))
}
