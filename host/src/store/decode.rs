//! Decodes stored bytes and texts, which were valid when they were written.

use super::Error;
use crate::model::{
    FromStored,
    codec::{self, Stored},
};

/// Decodes stored bytes; `what` names the row in the error.
pub(super) fn decode<T: Stored>(bytes: &[u8], what: impl FnOnce() -> String) -> Result<T, Error> {
    codec::decode(bytes).map_err(|error| Error::Damaged(format!("{}: {error}", what())))
}

/// Parses a stored text; `what` names it in the error.
pub(super) fn parse<T: FromStored>(text: &str, what: &str) -> Result<T, Error> {
    T::from_stored(text).map_err(|error| Error::Damaged(format!("{what} {text:?} {error}")))
}
