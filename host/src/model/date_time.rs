//! Date-times as people and programs write them, parsed to milliseconds since 1970-01-01T00:00:00Z.
//!
//! This is the only parser: for times in queries and bodies, where it is lenient, and for `date-time` in schemas, where
//! it accepts RFC 3339 exactly. The guest SDK has its own parser; this one must accept what that one accepts.

use super::Timestamp;

/// Parses `2026-01-31T12:00:00Z` and similar texts. Without an offset, the time is in UTC.
///
/// A space is read as the `T` between date and time, and as the `+` of an offset, which is what an unescaped `+` in a
/// query becomes. Years may have a sign and more than four digits, like the extreme values of other systems. Times
/// before 1970 count as 1970: the host stores no older time.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date_time, rest) = Fields::read(text)?;
    let millis = date_time.millis() - i128::from(offset_minutes(rest, true)?) * 60_000;
    let millis = u64::try_from(millis.max(0)).unwrap_or(u64::MAX);
    Some(Timestamp(millis).min(Timestamp::MAX))
}

/// Whether the text is a `date-time` of RFC 3339: four digits for the year, and an offset.
pub fn is_rfc_3339(text: &str) -> bool {
    let year_is_plain = text.bytes().take(4).all(|byte| byte.is_ascii_digit()) && text.as_bytes().get(4) == Some(&b'-');
    let read = || {
        let (_, rest) = Fields::read(text)?;
        offset_minutes(rest, false)
    };
    year_is_plain && read().is_some()
}

/// Whether the text is a `full-date` of RFC 3339.
pub fn is_date(text: &str) -> bool {
    text.len() == "2026-01-31".len() && is_rfc_3339(&format!("{text}T00:00:00Z"))
}

struct Fields {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    milli: u32,
}

impl Fields {
    /// Parses date and time at the beginning of a text; returns the rest, which should be an offset.
    fn read(text: &str) -> Option<(Self, &str)> {
        let (year, text) = year(text)?;
        let (month, text) = two_digits(text.strip_prefix('-')?)?;
        let (day, text) = two_digits(text.strip_prefix('-')?)?;
        let (hour, text) = two_digits(text.strip_prefix(['T', 't', ' '])?)?;
        let (minute, text) = two_digits(text.strip_prefix(':')?)?;
        let (second, text) = two_digits(text.strip_prefix(':')?)?;
        let (milli, text) = fraction(text)?;
        // A minute may have a leap second.
        let exists = (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60;
        let fields = Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            milli,
        };
        exists.then_some((fields, text))
    }

    /// Milliseconds since 1970-01-01T00:00:00, ignoring any offset.
    fn millis(&self) -> i128 {
        let seconds = (i64::from(self.hour) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        let days = i128::from(day_number(self.year, self.month, self.day));
        (days * 86_400 + i128::from(seconds)) * 1_000 + i128::from(self.milli)
    }
}

/// Parses a year: four digits or more, or a sign and four to ten digits.
fn year(text: &str) -> Option<(i64, &str)> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' | b' ' => (false, &text[1..]),
        _ => (false, text),
    };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if !(4..=10).contains(&count) {
        return None;
    }
    let year: i64 = digits[..count].parse().ok()?;
    Some((if negative { -year } else { year }, &digits[count..]))
}

fn two_digits(text: &str) -> Option<(u32, &str)> {
    let digits = text
        .get(..2)
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some((digits.parse().ok()?, &text[2..]))
}

/// Parses `.25+01:00` as 250 and `+01:00`. Fractions of a millisecond are truncated.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    let digits = |place: usize| {
        rest.as_bytes()[..count]
            .get(place)
            .map_or(0, |digit| u32::from(digit - b'0'))
    };
    let milli = digits(0) * 100 + digits(1) * 10 + digits(2);
    (count > 0).then_some((milli, &rest[count..]))
}

/// Parses an offset, in minutes east of UTC.
fn offset_minutes(text: &str, generous: bool) -> Option<i32> {
    if text.is_empty() {
        return generous.then_some(0);
    }
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        b' ' if generous => 1,
        _ => return None,
    };
    let (hours, text) = two_digits(&text[1..])?;
    let (minutes, text) = two_digits(text.strip_prefix(':')?)?;
    let exists = hours < 24 && minutes < 60 && text.is_empty();
    exists.then(|| sign * i32::try_from(hours * 60 + minutes).unwrap_or_default())
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
///
/// Counts years from March, so that the leap day is the last day of a year.
fn day_number(year: i64, month: u32, day: u32) -> i64 {
    /// Days from 0000-03-01 to 1970-01-01.
    const DAYS_TO_1970: i64 = 719_468;
    let march_year = year - i64::from(month < 3);
    let march_month = i64::from((month + 9) % 12);
    let leap_days = march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    let days_before_month = (march_month * 306 + 5) / 10;
    march_year * 365 + leap_days + days_before_month + i64::from(day) - 1 - DAYS_TO_1970
}

fn days_in(year: i64, month: u32) -> u32 {
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_parsed_and_a_missing_offset_is_utc() {
        let noon = parse("2026-01-31T12:00:00Z");
        assert_eq!(noon, Some(Timestamp(1_769_860_800_000)));
        for text in [
            "2026-01-31T12:00:00",
            "2026-01-31t12:00:00z",
            "2026-01-31 12:00:00",
            "2026-01-31T14:00:00+02:00",
            "2026-01-31T14:00:00 02:00",
            "2026-01-31T10:30:00-01:30",
            "2026-01-31T12:00:00.0000009Z",
        ] {
            assert_eq!(parse(text), noon, "{text}");
        }
        assert_eq!(parse("2023-11-14T22:13:20.1239Z"), Some(Timestamp(1_700_000_000_123)));
    }

    #[test]
    fn times_before_1970_are_1970_and_far_ones_are_the_maximum() {
        for text in [
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999Z",
            "0000-01-01T00:00:00Z",
            "1970-01-01T00:00:00+01:00",
            "-1000000000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), Some(Timestamp(0)), "{text}");
        }
        let last = parse("9999-12-31T23:59:59.999Z").unwrap();
        assert_eq!(last.to_string(), "9999-12-31T23:59:59.999Z");
        for text in [
            "9999-12-31T23:59:59.999-01:00",
            "10000-01-01T00:00:00Z",
            "+1000000000-12-31T23:59:59.999999999Z",
        ] {
            assert!(parse(text).unwrap() > last, "{text}");
        }
    }

    #[test]
    fn invalid_times_are_refused() {
        for text in [
            "",
            "yesterday",
            "2026-01-31",
            "2023-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:60:00Z",
            "2026-01-31T12:00:61Z",
            "2026-01-31T12:00:00+24:00",
            "2026-01-31T12:00:00+0200",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00Z",
            "226-01-31T12:00:00Z",
            "99999999999-01-31T12:00:00Z",
            "2026-01-31T12:00:00Zz",
            "2026-01-31T12:00:00é",
            "2026-01-3éT12:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
            assert!(!is_rfc_3339(text), "{text}");
        }
    }

    #[test]
    fn the_date_time_of_schemas_is_exactly_rfc_3339() {
        for text in [
            "2026-01-31T12:00:00Z",
            "0000-01-01t00:00:00.5-23:59",
            "9999-12-31T23:59:60+00:00",
        ] {
            assert!(is_rfc_3339(text), "{text}");
        }
        for text in [
            "2026-01-31T12:00:00",
            "+2026-01-31T12:00:00Z",
            "10000-01-01T00:00:00Z",
            "tomorrow",
        ] {
            assert!(!is_rfc_3339(text), "{text}");
        }
        assert!(is_date("2024-02-29"));
        for text in ["2023-02-29", "2024-2-29", "12024-02-2", "2024-02-2é"] {
            assert!(!is_date(text), "{text}");
        }
    }

    #[test]
    fn every_day_parses_as_formatted() {
        for day in 0..2_932_897 {
            let time = Timestamp(day * 86_400_000 + day % 86_400_000);
            assert_eq!(parse(&time.to_string()), Some(time));
        }
    }
}
