//! Where the next page of a list or of a history begins.

use std::{fmt, str::FromStr};

use crate::model::{ExecutionNumber, InstanceNumber, TurnNumber};

/// A place in a list of instances. Opaque to clients, which return it unchanged.
///
/// It contains an instance instead of an offset, so pages neither repeat nor skip instances when others are created or
/// deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(InstanceNumber);

/// A text is not a valid cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor from an earlier page")]
pub struct CursorError;

impl Cursor {
    /// The page that begins below an instance: the place after it, in a list.
    pub(crate) fn below(number: InstanceNumber) -> Self {
        Self(number)
    }

    /// The page that begins at an instance.
    pub(super) fn at(number: InstanceNumber) -> Self {
        Self(InstanceNumber(number.0.saturating_add(1)))
    }

    /// The instance below which the page begins.
    pub(crate) fn number(&self) -> InstanceNumber {
        self.0
    }
}

impl fmt::Display for Cursor {
    /// The first digit is the kind of cursor, so that later kinds can be distinguished.
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

/// A place in the history of one execution of one instance. Opaque to clients, which return it unchanged.
///
/// It contains the execution, so that pages of two executions are never combined into one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryCursor {
    pub(super) instance: InstanceNumber,
    pub(super) execution: ExecutionNumber,
    pub(super) after: TurnNumber,
}

impl fmt::Display for HistoryCursor {
    /// The first digit is the kind of cursor, as in [`Cursor`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1{:x}.{:x}.{:x}", self.instance.0, self.execution.0, self.after.0)
    }
}

impl FromStr for HistoryCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let hexadecimal = |digits: Option<&str>| {
            let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            u64::from_str_radix(digits, 16).ok()
        };
        let mut parts = text.strip_prefix('1').ok_or(CursorError)?.split('.');
        let mut part = || hexadecimal(parts.next()).ok_or(CursorError);
        let (instance, execution, after) = (part()?, part()?, part()?);
        let small = |number: u64| u32::try_from(number).map_err(|_| CursorError);
        if parts.next().is_some() {
            return Err(CursorError);
        }
        Ok(Self {
            instance: InstanceNumber(instance),
            execution: ExecutionNumber(small(execution)?),
            after: TurnNumber(small(after)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_of_a_history_cursor_is_parsed_as_one() {
        for (instance, number) in [(0, 0), (1, 0xabc), (u64::MAX, u32::MAX)] {
            let cursor = HistoryCursor {
                instance: InstanceNumber(instance),
                execution: ExecutionNumber(number),
                after: TurnNumber(number),
            };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in [
            "",
            "1",
            "11",
            "11.2",
            "11.2.",
            "11.2.3.4",
            "21.2.3",
            "11.+2.3",
            "11.2.100000000",
        ] {
            assert_eq!(text.parse::<HistoryCursor>(), Err(CursorError), "{text:?}");
        }
    }

    #[test]
    fn only_the_text_of_a_cursor_is_parsed_as_one() {
        for number in [0, 1, 0xabc, u64::MAX] {
            let cursor = Cursor(InstanceNumber(number));
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "1", "2a", "1+5", "1-5", "1xyz", "111111111111111111", "1é"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
        }
    }
}
