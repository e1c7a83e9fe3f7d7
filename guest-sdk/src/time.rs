//! [`Timestamp`], a point in time in whole milliseconds, and short names for durations.
//!
//! A type of its own rather than [`SystemTime`], because it must be written into payloads the same way everywhere,
//! and rather than a calendar crate, because modules should stay small.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// That many milliseconds.
pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// That many seconds.
pub const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// That many minutes.
pub const fn mins(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60))
}

/// That many hours.
pub const fn hours(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60 * 60))
}

/// That many days of 24 hours.
pub const fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(24 * 60 * 60))
}

/// The whole milliseconds of a duration, rounded up: a timer must never fire early.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A point in time in milliseconds since 1970-01-01T00:00:00Z; in payloads a date-time string.
///
/// ```
/// use windlass_sdk::prelude::*;
///
/// let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
/// let deadline = start + hours(36);
/// assert_eq!(deadline.to_string(), "2026-03-03T00:00:00Z");
/// assert_eq!(deadline - start, hours(36));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The point in time that many milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this, zero if it is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Parts of a millisecond are rounded up; the far end saturates.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at 1970.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    /// The time between the two, zero if the right one is later.
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, whole_millis))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.0)
    }
}

const MILLIS_A_DAY: u64 = 24 * 60 * 60 * 1000;

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with milliseconds only where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0 / MILLIS_A_DAY);
        let rest = self.0 % MILLIS_A_DAY;
        let (hour, minute, second, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if milli > 0 {
            write!(f, ".{milli:03}")?;
        }
        f.write_str("Z")
    }
}

/// The text is not a date-time such as `2026-03-01T12:00:00Z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTimestampError(String);

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a date-time such as 2026-03-01T12:00:00Z", self.0)
    }
}

impl std::error::Error for ParseTimestampError {}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Reads RFC 3339 with any offset; parts of a millisecond are cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_rfc3339(text)
            .map(Self)
            .ok_or_else(|| ParseTimestampError(text.to_owned()))
    }
}

fn parse_rfc3339(text: &str) -> Option<u64> {
    if !text.is_ascii() || text.len() < "2026-03-01T12:00:00Z".len() {
        return None;
    }
    let separators = [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")];
    if !separators
        .iter()
        .all(|(at, allowed)| allowed.contains(char::from(text.as_bytes()[*at])))
    {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    let (hour, minute, second) = (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (milli, offset) = fraction(&text[19..])?;
    let day_number = day_number(year, month, day)?;
    let local = ((day_number * 24 + i64::from(hour)) * 60 + i64::from(minute)) * 60 + i64::from(second);
    u64::try_from((local - offset_seconds(offset)?) * 1000 + i64::from(milli)).ok()
}

/// `.25+01:00` → 250 and `+01:00`.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let milli = digits(&format!("{:0<3}", &rest[..end])[..3])?;
    (end > 0).then_some((milli, &rest[end..]))
}

fn offset_seconds(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    if text.len() != 6 || &text[3..4] != ":" {
        return None;
    }
    let (hours, minutes) = (digits(&text[1..3])?, digits(&text[4..])?);
    let seconds = i64::from(hours * 60 + minutes) * 60;
    match &text[..1] {
        "+" => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; none for a date that does not exist.
///
/// Counts years from March, so that the leap day is a year's last.
fn day_number(year: u32, month: u32, day: u32) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let march_year = i64::from(year) - i64::from(month < 3);
    let march_month = i64::from((month + 9) % 12);
    let leap_days = march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    let days_before_month = (march_month * 306 + 5) / 10;
    Some(march_year * 365 + leap_days + days_before_month + i64::from(day) - 1 - DAYS_TO_1970)
}

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The date that many days after 1970-01-01.
fn date_of(day: u64) -> (u64, u64, u64) {
    // Average lengths give the year to within one; the exact start of the year settles it.
    let days = day + DAYS_TO_1970.unsigned_abs();
    let start_of = |year: u64| year * 365 + year / 4 - year / 100 + year / 400;
    let mut march_year = days * 400 / 146_097;
    while start_of(march_year) > days {
        march_year -= 1;
    }
    while start_of(march_year + 1) <= days {
        march_year += 1;
    }
    let day_of_year = days - start_of(march_year);
    let march_month = (day_of_year * 10 + 4) / 306;
    let day_of_month = day_of_year - (march_month * 306 + 5) / 10 + 1;
    let month = (march_month + 2) % 12 + 1;
    (march_year + u64::from(month < 3), month, day_of_month)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_for_a_thousand_years_is_read_as_it_is_written() {
        let mut expected = (1970, 1, 1);
        for day in 0..365_243 {
            let text = Timestamp(day * MILLIS_A_DAY).to_string();
            assert_eq!(
                text,
                format!("{:04}-{:02}-{:02}T00:00:00Z", expected.0, expected.1, expected.2)
            );
            assert_eq!(text.parse(), Ok(Timestamp(day * MILLIS_A_DAY)));
            expected.2 += 1;
            if expected.2 > days_in(expected.0, expected.1) {
                expected = if expected.1 == 12 {
                    (expected.0 + 1, 1, 1)
                } else {
                    (expected.0, expected.1 + 1, 1)
                };
            }
        }
    }

    #[test]
    fn offsets_and_fractions_are_understood() {
        let parse = |text: &str| text.parse::<Timestamp>().map(|t| t.to_string());
        assert_eq!(
            parse("2024-02-29T23:30:00.1239-01:45").unwrap(),
            "2024-03-01T01:15:00.123Z"
        );
        assert_eq!(parse("2024-02-29t23:30:00z").unwrap(), "2024-02-29T23:30:00Z");
        for wrong in [
            "2023-02-29T00:00:00Z",
            "2024-01-01",
            "2024-01-01T25:00:00Z",
            "2024-01-01T00:00:00",
            "1969-01-01T00:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-0xT00:00:00Z",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_rounded_up_so_that_a_timer_never_fires_early() {
        assert_eq!(Timestamp(0) + Duration::from_nanos(1), Timestamp(1));
        assert_eq!(Timestamp(5) + Duration::MAX, Timestamp(u64::MAX));
    }
}
