//! The times that a schedule selects. They are whole seconds, so that each is part of an instance id.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{cron::Cron, zone::Zone};
use crate::model::Timestamp;

/// The longest interval: 10 years.
const MAX_INTERVAL: Duration = Duration::from_secs(3_660 * 24 * 60 * 60);

/// A rule for times.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    timing: Timing,
    stored: StoredSpec,
}

/// How times repeat.
#[derive(Debug, Clone, PartialEq)]
pub enum Timing {
    /// By the local calendar of a zone.
    Cron(Box<Cron>, Zone),
    /// After a number of seconds: at multiples of `every` since 1970, plus `offset`.
    Interval {
        /// The seconds between two times, at least one.
        every: u64,
        /// The seconds after the multiple, less than `every`.
        offset: u64,
    },
}

/// A rule as it is stored. New fields and variants need a new version of the format of a schedule, or go to the end of
/// the enum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredSpec {
    repeat: Repeat,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// What was given; only appended to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Repeat {
    Cron { expression: String, zone: String },
    Interval { seconds: u64, offset: u64 },
}

impl Spec {
    /// Times of a cron expression in a time zone.
    ///
    /// # Errors
    /// The name of the parameter that is wrong, and a message that follows it.
    pub fn cron(expression: &str, zone: &str) -> Result<Self, (&'static str, String)> {
        let repeat = Repeat::Cron {
            expression: expression.to_owned(),
            zone: zone.to_owned(),
        };
        let cron = expression.parse().map_err(|problem| ("cron", problem))?;
        let zone = Zone::named(zone).map_err(|problem| ("timeZone", problem))?;
        Ok(Self::of(Timing::Cron(Box::new(cron), zone), repeat))
    }

    /// Times at a regular distance.
    ///
    /// # Errors
    /// The name of the parameter that is wrong, and a message that follows it.
    pub fn interval(every: Duration, offset: Duration) -> Result<Self, (&'static str, String)> {
        let whole = |name, time: Duration| match time.subsec_nanos() {
            0 => Ok(time.as_secs()),
            _ => Err((name, "must be whole seconds".to_owned())),
        };
        let (seconds, rest) = (whole("interval", every)?, whole("offset", offset)?);
        if seconds == 0 || every > MAX_INTERVAL {
            return Err(("interval", "must be from 1s to 3660d".into()));
        }
        if rest >= seconds {
            return Err(("offset", "must be shorter than the interval".into()));
        }
        let timing = Timing::Interval {
            every: seconds,
            offset: rest,
        };
        let repeat = Repeat::Interval { seconds, offset: rest };
        Ok(Self::of(timing, repeat))
    }

    fn of(timing: Timing, repeat: Repeat) -> Self {
        let stored = StoredSpec {
            repeat,
            from: None,
            until: None,
        };
        Self { timing, stored }
    }

    /// Restricts the times to those from `from` to `until`, both inclusive.
    #[must_use]
    pub fn between(mut self, from: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        (self.stored.from, self.stored.until) = (from, until);
        self
    }

    /// The first time after `after`; `None` if there are no more.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let from = self.stored.from.map(|from| Timestamp(from.0.saturating_sub(1)));
        let after = from.map_or(after, |from| from.max(after));
        let last = self.stored.until.unwrap_or(Timestamp::LAST_WRITABLE);
        let found = match &self.timing {
            Timing::Cron(cron, zone) => zone.next(cron, after),
            Timing::Interval { every, offset } => next_of_interval(after, *every, *offset),
        };
        found.filter(|found| *found <= last.min(Timestamp::LAST_WRITABLE))
    }

    /// How many times follow `after` up to `until`, and the last of them. Counts at most `limit`, if each must be
    /// computed.
    pub(super) fn count(&self, after: Timestamp, until: Timestamp, limit: u64) -> Option<(u64, Timestamp)> {
        let first = self.next(after).filter(|first| *first <= until)?;
        if let Timing::Interval { every, .. } = self.timing {
            let last = self.stored.until.map_or(until, |last| last.min(until));
            let further = (last.0 - first.0) / (every * 1_000);
            return Some((further + 1, Timestamp(first.0 + further * every * 1_000)));
        }
        let (mut count, mut last) = (1, first);
        while count < limit
            && let Some(next) = self.next(last).filter(|next| *next <= until)
        {
            (count, last) = (count + 1, next);
        }
        Some((count, last))
    }

    /// The expression and the zone of a cron spec.
    pub fn as_cron(&self) -> Option<(&str, &str)> {
        match &self.stored.repeat {
            Repeat::Cron { expression, zone } => Some((expression, zone)),
            Repeat::Interval { .. } => None,
        }
    }

    /// The interval and the offset of an interval spec.
    pub fn as_interval(&self) -> Option<(Duration, Duration)> {
        match self.stored.repeat {
            Repeat::Cron { .. } => None,
            Repeat::Interval { seconds, offset } => Some((Duration::from_secs(seconds), Duration::from_secs(offset))),
        }
    }

    /// The first and the last time that may be selected, as given.
    pub fn bounds(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.stored.from, self.stored.until)
    }

    /// What is stored of it.
    pub(super) fn stored(&self) -> StoredSpec {
        self.stored.clone()
    }

    /// The rule that was stored.
    pub(super) fn from_stored(stored: StoredSpec) -> Result<Self, String> {
        let read = match &stored.repeat {
            Repeat::Cron { expression, zone } => Self::cron(expression, zone),
            Repeat::Interval { seconds, offset } => {
                Self::interval(Duration::from_secs(*seconds), Duration::from_secs(*offset))
            }
        };
        let spec = read.map_err(|(name, problem)| format!("{name} {problem}"))?;
        Ok(spec.between(stored.from, stored.until))
    }
}

fn next_of_interval(after: Timestamp, every: u64, offset: u64) -> Option<Timestamp> {
    let (every, offset) = (every.checked_mul(1_000)?, offset.checked_mul(1_000)?);
    let multiples = match after.0.checked_sub(offset) {
        Some(passed) => passed / every + 1,
        None => 0,
    };
    let next = multiples.checked_mul(every)?.checked_add(offset)?;
    Some(Timestamp(next))
}
