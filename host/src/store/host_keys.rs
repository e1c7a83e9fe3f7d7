//! Keys that belong to the database.

use std::fmt;

/// The name of the [`PositionKey`] in the database.
pub(super) const POSITIONS: &str = "positions";

/// Encrypts positions in lists, histories and logs before clients get them.
#[derive(Clone, Copy)]
pub struct PositionKey(pub [u8; 32]);

impl fmt::Debug for PositionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PositionKey(***)")
    }
}
