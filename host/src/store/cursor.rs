//! Where the next page of a list begins.

use std::{fmt, str::FromStr};

use crate::model::InstanceNumber;

/// A place in a list of instances. Opaque to clients: they hand back what they were given.
///
/// It names an instance rather than an offset, so pages neither repeat nor skip anything when instances come and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(InstanceNumber);

/// Says that a text is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list")]
pub struct CursorError;

impl Cursor {
    /// The page that begins below an instance.
    pub(super) fn below(number: InstanceNumber) -> Self {
        Self(number)
    }

    /// The instance below which the page begins.
    pub(super) fn number(&self) -> InstanceNumber {
        self.0
    }
}

impl fmt::Display for Cursor {
    /// The digit tells the kind of cursor, so that another one can be told apart later.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1{:x}", self.0.0)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let digits = text
            .strip_prefix('1')
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or(CursorError)?;
        Ok(Self(InstanceNumber(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_writes_and_nothing_else() {
        for number in [0, 1, 0xabc, u64::MAX] {
            let cursor = Cursor(InstanceNumber(number));
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "1", "2a", "1+5", "1-5", "1xyz", "111111111111111111", "1é"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
        }
    }
}
