//! Points in time, as stored and as passed to guests.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The latest time that can be stored: SQLite's integers are signed.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// 9999-12-31T23:59:59.999Z, the latest time that RFC 3339 can represent.
    pub const LAST_WRITABLE: Self = Self(253_402_300_799_999);

    /// This time plus a duration, at most [`Self::MAX`].
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(wait)).min(Self::MAX)
    }

    /// This time minus a duration, at least 1970.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(wait))
    }

    /// The duration from `earlier` to this time; zero if this time is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds. There are no years after 9999: a later time is written as
    /// [`LAST_WRITABLE`](Self::LAST_WRITABLE).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = std::time::UNIX_EPOCH + Duration::from_millis(self.0.min(Self::LAST_WRITABLE.0));
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_and_never_overflow() {
        assert_eq!(Timestamp(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp(5).after(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp(5).before(Duration::from_millis(7)), Timestamp(0));
        assert_eq!(Timestamp(5).since(Timestamp(7)), Duration::ZERO);
    }
}
