//! Time zones: which points in time a cron expression selects.
//!
//! The rules of all zones are part of the program, so that every host of a version computes the same times, whatever is
//! installed on its machine.

use std::sync::LazyLock;

use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

use super::cron::Cron;
use crate::model::Timestamp;

/// Maximum length of the name of a time zone, in bytes.
const MAX_ZONE_BYTES: usize = 64;

/// How many changes of the clock a search crosses: more than any zone has between two matches of an expression that is
/// [accepted](Cron).
const MAX_CHANGES: usize = 1_000;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone with this name, such as `Europe/Berlin` or `UTC`; letter case does not matter.
    ///
    /// # Errors
    /// A message that follows the name of the parameter.
    pub fn named(name: &str) -> Result<Self, String> {
        let known = (name.len() <= MAX_ZONE_BYTES).then(|| ZONES.get(name).ok()).flatten();
        known
            .map(Self)
            .ok_or_else(|| format!("is not a time zone of the IANA database: {name:?} (such as Europe/Berlin)"))
    }

    /// The first time after `after` that the expression selects in this zone; `None` if the calendar ends before.
    ///
    /// * If the field of the hours begins with `*`, these are all times whose local time matches: those of an hour that
    ///   the clock skips do not exist, and those of an hour that it repeats exist twice.
    /// * Otherwise each matching local time is selected once: the first of two, and instead of one that the clock
    ///   skips, the moment at which it skips it.
    pub(super) fn next(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        if cron.is_of_every_hour() {
            self.next_on_the_clock(cron, after)
        } else {
            self.next_in_the_calendar(cron, after)
        }
    }

    fn next_on_the_clock(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let mut from = jiff_time(after.0.checked_add(1)?)?;
        for _ in 0..MAX_CHANGES {
            let offset = self.0.to_offset(from);
            let change = self.0.following(from).next().map(|change| change.timestamp());
            // Up to the next change of the clock, local times are a constant away.
            let found = cron
                .next(offset.to_datetime(from))
                .and_then(|local| offset.to_timestamp(local).ok());
            match (found, change) {
                (Some(found), Some(change)) if found >= change => from = change,
                (None, Some(change)) => from = change,
                (found, _) => return found.and_then(timestamp),
            }
        }
        None
    }

    fn next_in_the_calendar(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let mut from = self.0.to_datetime(jiff_time(after.0)?);
        loop {
            let local = cron.next(from)?;
            let found = timestamp(self.moment_of(local)?)?;
            if found > after {
                return Some(found);
            }
            // The moment of a time that the clock skipped, or the first of two, is not after `after`.
            from = local.checked_add(jiff::SignedDuration::from_mins(1)).ok()?;
        }
    }

    /// The moment of a local time: the first of two, and the end of the gap for one that does not exist.
    fn moment_of(&self, local: DateTime) -> Option<jiff::Timestamp> {
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                // With the offset after the change, the time is before it.
                let before_change = after.to_timestamp(local).ok()?;
                self.0.following(before_change).next().map(|change| change.timestamp())
            }
        }
    }
}

fn jiff_time(millis: u64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()
}

fn timestamp(at: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::cron;
    use super::*;

    fn at(text: &str) -> Timestamp {
        timestamp(text.parse().unwrap()).unwrap()
    }

    /// The next times of an expression in a zone.
    fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (cron.parse().unwrap(), Zone::named(zone).unwrap());
        let mut after = at(after);
        let mut times = Vec::new();
        for _ in 0..count {
            after = zone.next(&cron, after).unwrap();
            times.push(jiff_time(after.0).unwrap().to_string());
        }
        times
    }

    #[test]
    fn a_time_that_the_clock_skips_is_replaced_by_the_moment_at_which_it_does() {
        // On 29 March 2026, 02:00 is followed by 03:00 in Berlin, which is 01:00 UTC.
        let daily = times("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3);
        let expected = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
        assert_eq!(daily, expected);
        // Several skipped times are the same moment, which is selected once.
        let often = times("*/20 2,3 * * *", "Europe/Berlin", "2026-03-29T00:59:59Z", 3);
        let expected = ["2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z", "2026-03-29T01:40:00Z"];
        assert_eq!(often, expected);
    }

    #[test]
    fn a_time_that_exists_twice_is_selected_the_first_time() {
        // On 25 October 2026, 03:00 is followed by 02:00 in Berlin: 02:30 is 00:30 UTC and 01:30 UTC.
        let daily = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(daily, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        let after_the_first = times("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", 1);
        assert_eq!(after_the_first, ["2026-10-26T01:30:00Z"]);
        let after_the_second = times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1);
        assert_eq!(after_the_second, ["2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn an_expression_of_every_hour_follows_the_clock_through_both_changes() {
        let spring = times("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3);
        let expected = ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"];
        assert_eq!(spring, expected);
        let autumn = times("30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 3);
        let expected = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"];
        assert_eq!(autumn, expected);
        // Half an hour, at Lord Howe Island.
        let half = times("45 * * * *", "Australia/Lord_Howe", "2026-10-03T14:30:00Z", 2);
        assert_eq!(half, ["2026-10-03T15:15:00Z", "2026-10-03T15:45:00Z"]);
    }

    #[test]
    fn a_day_that_a_zone_skipped_has_one_moment() {
        // Samoa had no 30 December 2011.
        let daily = times("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3);
        let expected = ["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"];
        assert_eq!(daily, expected);
    }

    #[test]
    fn unknown_zones_are_refused() {
        for name in ["", "Berlin", "Europe/Atlantis", "+01:00", &"x".repeat(100)] {
            assert!(Zone::named(name).is_err(), "{name}");
        }
        assert!(Zone::named("europe/berlin").is_ok());
    }

    const ZONES_WITH_CHANGES: [&str; 8] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Africa/Casablanca",
        "Asia/Kathmandu",
        "Pacific/Chatham",
    ];

    /// Whether the expression selects the minute, by the rules for an expression of every hour.
    fn reads(zone: &Zone, cron: &Cron, minute: Timestamp) -> bool {
        let local = zone.0.to_datetime(jiff_time(minute.0).unwrap());
        local.second() == 0 && cron.matches(local)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_500))]

        #[test]
        fn times_are_strictly_later_and_those_of_a_search_through_all_minutes(
            cron in cron::tests::expressions(),
            zone in 0..ZONES_WITH_CHANGES.len(),
            // 2026, in which every change of the clock is met.
            start in 1_767_225_600_u64..1_798_761_600,
        ) {
            let zone = Zone::named(ZONES_WITH_CHANGES[zone]).unwrap();
            let after = Timestamp(start * 1_000);
            let found = zone.next(&cron, after).expect("an accepted expression has a next time");
            prop_assert!(found > after && found.0.is_multiple_of(1_000));
            let begin = start / 60 + 1;
            for minute in begin..begin + 3 * 24 * 60 {
                let minute = Timestamp(minute * 60_000);
                let selected = if cron.is_of_every_hour() {
                    reads(&zone, &cron, minute)
                } else {
                    is_moment(&zone, &cron, minute)
                };
                if selected {
                    prop_assert_eq!(found, minute);
                    return Ok(());
                }
            }
            prop_assert!(found >= Timestamp((begin + 3 * 24 * 60) * 60_000));
        }
    }

    /// Whether the minute is the first with a matching local time, or ends a gap with one.
    fn is_moment(zone: &Zone, cron: &Cron, minute: Timestamp) -> bool {
        const DAY: u64 = 24 * 60 * 60 * 1_000;
        let local_at = |at: u64| zone.0.to_datetime(jiff_time(at).unwrap());
        let local = local_at(minute.0);
        let is_first = || (1..=180).all(|earlier| local_at(minute.0 - earlier * 60_000) != local);
        if reads(zone, cron, minute) && is_first() {
            return true;
        }
        let before = local_at(minute.0 - 60_000);
        let mut skipped = before + jiff::SignedDuration::from_mins(1);
        let mut count = 0;
        while skipped < local && count < DAY / 60_000 {
            if cron.matches(skipped) {
                return true;
            }
            skipped += jiff::SignedDuration::from_mins(1);
            count += 1;
        }
        false
    }
}
