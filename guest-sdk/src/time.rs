//! [`Timestamp`], a point in time in whole milliseconds, and short names for durations.
//!
//! It is not [`SystemTime`], because payloads must contain it in the same form everywhere, and it is not from a calendar
//! crate, because modules should stay small.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration of `count` milliseconds.
pub const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A duration of `count` seconds.
pub const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A duration of `count` minutes.
pub const fn mins(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60))
}

/// A duration of `count` hours.
pub const fn hours(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60 * 60))
}

/// A duration of `count` days of 24 hours.
pub const fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(24 * 60 * 60))
}

/// The whole milliseconds of a duration, rounded up: a timer must never fire early.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A point in time in milliseconds since 1970-01-01T00:00:00Z; a date-time string in payloads.
///
/// It may be before 1970 or after 9999. Payloads can only contain the years 0000 to 9999, as RFC 3339 requires;
/// serializing another year is an error.
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
pub struct Timestamp(i64);

impl Timestamp {
    /// 0000-01-01T00:00:00Z, the first time that a payload can hold.
    pub const FIRST_WRITABLE: Self = Self(-62_167_219_200_000);

    /// 9999-12-31T23:59:59.999Z, the last time that a payload can hold.
    pub const LAST_WRITABLE: Self = Self(253_402_300_799_999);

    /// The point in time that many milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z; negative before.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The duration from `earlier` to `self`; zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        if self.0 <= earlier.0 {
            return Duration::ZERO;
        }
        Duration::from_millis(self.0.abs_diff(earlier.0))
    }

    fn is_writable(self) -> bool {
        (Self::FIRST_WRITABLE..=Self::LAST_WRITABLE).contains(&self)
    }

    /// Converts a time from the host.
    pub(crate) fn from_host(millis: u64) -> Self {
        Self(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// Converts the time for the host. Times before 1970 become 0: the host has none, and for a timer they are all in
    /// the past.
    pub(crate) fn for_host(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Rounds fractions of a millisecond up, and saturates on overflow.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(whole_millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Rounds fractions of a millisecond up, and saturates on overflow.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(whole_millis(duration)))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    /// The duration between the two times; zero if the right one is later.
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl From<SystemTime> for Timestamp {
    /// Rounds fractions of a millisecond up.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(0) + after,
            Err(before) => {
                let millis = before.duration().as_millis();
                Self(i64::try_from(millis).map_or(i64::MIN, |millis| -millis))
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    /// Returns 1970-01-01T00:00:00Z if [`SystemTime`] cannot represent the time.
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_millis(time.0.unsigned_abs());
        match time.0 < 0 {
            false => UNIX_EPOCH.checked_add(distance),
            true => UNIX_EPOCH.checked_sub(distance),
        }
        .unwrap_or(UNIX_EPOCH)
    }
}

const MILLIS_A_DAY: i64 = 24 * 60 * 60 * 1000;

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with milliseconds only if they are not zero. Years outside RFC 3339 are written with a sign, for
    /// people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0.div_euclid(MILLIS_A_DAY));
        let rest = self.0.rem_euclid(MILLIS_A_DAY);
        let (hour, minute, second, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
        match year {
            0..=9999 => write!(f, "{year:04}")?,
            _ => write!(f, "{year:+06}")?,
        }
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
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

    /// Parses RFC 3339 with any offset, and truncates fractions of a millisecond. A time that its offset moves outside
    /// the years 0000 to 9999 is an error.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_rfc3339(text)
            .map(Self)
            .ok_or_else(|| ParseTimestampError(text.to_owned()))
    }
}

fn parse_rfc3339(text: &str) -> Option<i64> {
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
    let millis = (local - offset_seconds(offset)?) * 1000 + i64::from(milli);
    Some(millis).filter(|millis| Timestamp(*millis).is_writable())
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
    if hours > 23 || minutes > 59 {
        return None;
    }
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

/// Days from 1970-01-01 to a date of the Gregorian calendar; `None` for a date that does not exist.
///
/// Counts years from March, so that the leap day is the last day of a year.
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

/// The year, month and day of the date `day` days after 1970-01-01.
fn date_of(day: i64) -> (i64, i64, i64) {
    // The average length of a year gives the year to within one; the loops correct it.
    let days = day + DAYS_TO_1970;
    let start_of = |year: i64| year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let mut march_year = (days * 400).div_euclid(146_097);
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
    (march_year + i64::from(month < 3), month, day_of_month)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_writable() {
            let message =
                format_args!("the time {self} is outside of the years 0000 to 9999, which a date-time can have");
            return Err(S::Error::custom(message));
        }
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
    fn every_writable_day_round_trips() {
        let mut expected = (0, 1, 1);
        for day in -719_528..2_932_897 {
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
    fn offsets_and_fractions_are_parsed() {
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
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+24:00",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2024-01-0xT00:00:00Z",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_rounded_up_so_that_a_timer_never_fires_early() {
        assert_eq!(Timestamp(0) + Duration::from_nanos(1), Timestamp(1));
        assert_eq!(Timestamp(5) + Duration::MAX, Timestamp(i64::MAX));
    }

    #[test]
    fn times_before_1970_work_like_later_ones() {
        let time: Timestamp = "1969-07-20T20:17:40.5Z".parse().unwrap();
        assert_eq!(time.as_millis(), -14_182_939_500);
        assert_eq!(time.to_string(), "1969-07-20T20:17:40.500Z");
        assert_eq!(
            SystemTime::from(time),
            UNIX_EPOCH - Duration::from_millis(14_182_939_500)
        );
        assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        assert_eq!(
            Timestamp::from(UNIX_EPOCH - Duration::from_micros(1_500)),
            Timestamp(-1)
        );
        assert_eq!(Timestamp(1) - time, Duration::from_millis(14_182_939_501));
        assert_eq!(time - Timestamp(1), Duration::ZERO);
        assert_eq!(
            Timestamp(i64::MAX).since(Timestamp(i64::MIN)),
            Duration::from_millis(u64::MAX)
        );
        assert_eq!(time.for_host(), 0);
        assert_eq!(Timestamp::from_host(u64::MAX), Timestamp(i64::MAX));
    }

    #[test]
    fn a_time_outside_of_rfc_3339_is_not_serialized() {
        for time in [Timestamp::FIRST_WRITABLE, Timestamp(-1), Timestamp::LAST_WRITABLE] {
            let text = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), time);
        }
        let late = Timestamp::LAST_WRITABLE + millis(1);
        assert_eq!(late.to_string(), "+10000-01-01T00:00:00Z");
        assert_eq!(
            serde_json::to_string(&late).unwrap_err().to_string(),
            "the time +10000-01-01T00:00:00Z is outside of the years 0000 to 9999, which a date-time can have"
        );
        let early = Timestamp::FIRST_WRITABLE - millis(1);
        assert_eq!(early.to_string(), "-00001-12-31T23:59:59.999Z");
        assert!(serde_json::to_string(&early).is_err());
        for extreme in [Timestamp(i64::MIN), Timestamp(i64::MAX)] {
            assert!(!extreme.to_string().is_empty());
        }
    }
}
