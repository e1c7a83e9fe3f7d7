//! Cron expressions: five fields that select minutes of the local calendar.
//!
//! Only civil times here; [`zone`](super::zone) maps them to points in time. The expression is stored as the text that
//! the client sent, so what it means must never change, which is why no library decides it.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Weekday, date};

/// Maximum length of an expression, in bytes.
pub const MAX_CRON_BYTES: usize = 200;

/// The longest time between two matching days, in months: a 29 February on one day of the week, every 28 years, across a
/// year that is divisible by 100.
const MAX_MONTHS: u32 = 40 * 12 + 1;

/// A parsed expression. Each field is a set of numbers, one bit for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// From Sunday, which is bit 0.
    weekdays: u64,
    /// Whether the field of the days of the month, or of the week, begins with `*`. If neither does, a day matches if
    /// one of the two fields does.
    any_day: bool,
    any_weekday: bool,
    /// Whether the field of the hours begins with `*`.
    any_hour: bool,
}

/// One field of an expression.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// Names of numbers, from `first`.
    names: &'static [&'static str],
}

const MINUTE: Field = Field {
    name: "minute",
    first: 0,
    last: 59,
    names: &[],
};
const HOUR: Field = Field {
    name: "hour",
    first: 0,
    last: 23,
    names: &[],
};
const DAY: Field = Field {
    name: "day of the month",
    first: 1,
    last: 31,
    names: &[],
};
const MONTH: Field = Field {
    name: "month",
    first: 1,
    last: 12,
    names: &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
};
/// Both 0 and 7 are Sunday.
const WEEKDAY: Field = Field {
    name: "day of the week",
    first: 0,
    last: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};

/// Expressions with a name.
const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl FromStr for Cron {
    type Err = String;

    /// Reads five fields separated by spaces, or the name of an expression such as `@daily`. The error message follows
    /// the name of the parameter.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_CRON_BYTES {
            return Err(format!("is longer than {MAX_CRON_BYTES} bytes"));
        }
        let text = text.trim();
        if text.starts_with('@') {
            let found = MACROS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
            let (_, text) = found.ok_or_else(|| {
                let names: Vec<_> = MACROS.iter().map(|(name, _)| *name).collect();
                format!("is not one of {}", names.join(", "))
            })?;
            return text.parse();
        }
        let fields: Vec<_> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!(
                "must have five fields (minute, hour, day of the month, month, day of the week), not {}",
                fields.len()
            ));
        };
        let weekdays = WEEKDAY.read(weekday)?;
        let cron = Self {
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: DAY.read(day)?,
            months: MONTH.read(month)?,
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
            any_hour: hour.starts_with('*'),
        };
        // 2000 begins a cycle of the calendar in which every date exists that exists at all.
        match cron.next(date(2000, 1, 1).at(0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err("selects a day that no month has".into()),
        }
    }
}

impl Field {
    /// Reads a list of numbers, ranges and steps.
    fn read(&self, text: &str) -> Result<u64, String> {
        let mut set = 0;
        for part in text.split(',') {
            set |= self
                .read_part(part)
                .map_err(|problem| format!("has an invalid {}: {problem} in {part:?}", self.name))?;
        }
        Ok(set)
    }

    fn read_part(&self, part: &str) -> Result<u64, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            None => {
                let first = self.number(range)?;
                // `5/15` counts from 5 to the end.
                (first, if step.is_some() { self.last } else { first })
            }
        };
        if first > last {
            return Err("the range ends before it begins".into());
        }
        let step = match step.map(str::parse) {
            None => 1,
            Some(Ok(step)) if (1..=self.last).contains(&step) => step,
            Some(_) => return Err(format!("the step must be a number from 1 to {}", self.last)),
        };
        let mut set = 0;
        let mut number = first;
        while number <= last {
            set |= 1 << number;
            number += step;
        }
        Ok(set)
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        if let Some(position) = self.names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
            return Ok(self.first + u32::try_from(position).unwrap_or(u32::MAX));
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (self.first..=self.last).contains(&number) => Ok(number),
            _ => Err(format!("expected a number from {} to {}", self.first, self.last)),
        }
    }
}

impl Cron {
    /// Whether the hours follow the clock rather than the calendar, because their field begins with `*`.
    pub(super) fn is_of_every_hour(&self) -> bool {
        self.any_hour
    }

    /// The first matching minute that is not before `from`; `None` if the calendar ends before.
    pub(super) fn next(&self, from: DateTime) -> Option<DateTime> {
        let from = ceil_to_minute(from)?;
        let time = (
            u32::from(from.hour().unsigned_abs()),
            u32::from(from.minute().unsigned_abs()),
        );
        if self.matches_day(from.date())
            && let Some(found) = self.next_time(from.date(), time)
        {
            return Some(found);
        }
        let day = self.next_day(from.date().tomorrow().ok()?)?;
        self.next_time(day, (0, 0))
    }

    /// The first matching minute of a day, from an hour and a minute on.
    fn next_time(&self, day: Date, (hour, minute): (u32, u32)) -> Option<DateTime> {
        let at = |hour: u32, minute: u32| Some(day.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0));
        if self.hours & 1 << hour != 0
            && let Some(minute) = first_from(self.minutes, minute)
        {
            return at(hour, minute);
        }
        at(first_from(self.hours, hour + 1)?, first_from(self.minutes, 0)?)
    }

    /// The first matching day that is not before this one.
    fn next_day(&self, from: Date) -> Option<Date> {
        let mut day = from;
        for _ in 0..MAX_MONTHS {
            let month_matches = self.months & 1 << u32::from(day.month().unsigned_abs()) != 0;
            let last = day.last_of_month();
            let days = std::iter::successors(Some(day), |day| day.tomorrow().ok());
            let mut days = days.take_while(|day| *day <= last);
            if month_matches && let Some(found) = days.find(|day| self.matches_day(*day)) {
                return Some(found);
            }
            day = last.tomorrow().ok()?;
        }
        None
    }

    fn matches_day(&self, day: Date) -> bool {
        if self.months & 1 << u32::from(day.month().unsigned_abs()) == 0 {
            return false;
        }
        let by_day = self.days & 1 << u32::from(day.day().unsigned_abs()) != 0;
        let by_weekday = self.weekdays & 1 << weekday_number(day.weekday()) != 0;
        if self.any_day || self.any_weekday {
            by_day && by_weekday
        } else {
            by_day || by_weekday
        }
    }

    /// Whether the minute that begins at this time matches, for comparisons in tests.
    #[cfg(test)]
    pub(super) fn matches(&self, at: DateTime) -> bool {
        self.matches_day(at.date())
            && self.hours & 1 << u32::from(at.hour().unsigned_abs()) != 0
            && self.minutes & 1 << u32::from(at.minute().unsigned_abs()) != 0
    }
}

fn weekday_number(day: Weekday) -> u32 {
    u32::from(day.to_sunday_zero_offset().unsigned_abs())
}

/// The smallest number in the set that is at least `from`.
fn first_from(set: u64, from: u32) -> Option<u32> {
    let rest = set.checked_shr(from)?;
    (rest != 0).then(|| from + rest.trailing_zeros())
}

/// The first minute that begins at this time or after it.
fn ceil_to_minute(at: DateTime) -> Option<DateTime> {
    let minute = at.date().at(at.hour(), at.minute(), 0, 0);
    if minute == at {
        return Some(minute);
    }
    minute.checked_add(jiff::SignedDuration::from_mins(1)).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap_or_else(|problem| panic!("{text}: {problem}"))
    }

    fn next(text: &str, from: &str) -> String {
        let from: DateTime = from.parse().unwrap();
        cron(text).next(from).map_or("never".into(), |at| at.to_string())
    }

    #[test]
    fn the_next_minute_is_found_across_hours_days_months_and_years() {
        for (text, from, expected) in [
            ("* * * * *", "2026-11-29T10:00:00", "2026-11-29T10:00:00"),
            ("* * * * *", "2026-11-29T10:00:01", "2026-11-29T10:01:00"),
            ("30 9 * * MON-FRI", "2026-11-29T10:00:00", "2026-11-30T09:30:00"),
            ("*/15 8-10 * * *", "2026-11-29T10:50:00", "2026-11-30T08:00:00"),
            ("5/20 * * * *", "2026-11-29T10:26:00", "2026-11-29T10:45:00"),
            ("0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
            // Both must match if one of them begins with `*`: a Sunday, and a Friday.
            ("0 0 29 2 */7", "2088-03-01T00:00:00", "2128-02-29T00:00:00"),
            ("0 0 */7 6 FRI", "2029-07-01T00:00:00", "2035-06-01T00:00:00"),
            ("0 0 31 * *", "2026-11-01T00:00:00", "2026-12-31T00:00:00"),
            ("59 23 31 12 *", "2026-12-31T23:59:30", "2027-12-31T23:59:00"),
            ("0 12 * jan,JUL sun", "2026-11-29T10:00:00", "2027-01-03T12:00:00"),
            ("0 12 * * 7", "2026-11-29T13:00:00", "2026-12-06T12:00:00"),
            // Both fields of days are restricted: one of them is enough.
            ("0 0 13 * FRI", "2026-11-29T10:00:00", "2026-12-04T00:00:00"),
            ("@hourly", "2026-11-29T10:00:01", "2026-11-29T11:00:00"),
            ("@Weekly", "2026-11-30T00:00:00", "2026-12-06T00:00:00"),
        ] {
            assert_eq!(next(text, from), expected, "{text} from {from}");
        }
    }

    #[test]
    fn what_is_not_an_expression_is_refused_with_the_field() {
        for (text, problem) in [
            ("", "five fields"),
            ("* * * *", "not 4"),
            ("* * * * * *", "not 6"),
            ("60 * * * *", "invalid minute"),
            ("* 24 * * *", "invalid hour"),
            ("* * 0 * *", "invalid day of the month"),
            ("* * * 13 *", "invalid month"),
            ("* * * * 8", "invalid day of the week"),
            ("* * * * MONDAY", "invalid day of the week"),
            ("5-1 * * * *", "ends before it begins"),
            ("*/0 * * * *", "step"),
            ("*/99 * * * *", "step"),
            ("1,,2 * * * *", "invalid minute"),
            ("+1 * * * *", "invalid minute"),
            ("0 0 30 2 *", "no month has"),
            ("0 0 31 4,6,9,11 *", "no month has"),
            ("@reboot", "not one of"),
        ] {
            let refused = text.parse::<Cron>().expect_err(text);
            assert!(refused.contains(problem), "{text}: {refused}");
        }
        assert!("*,".repeat(101).parse::<Cron>().unwrap_err().contains("longer"));
    }

    fn field(first: u32, last: u32) -> impl Strategy<Value = String> {
        let number = first..=last;
        prop_oneof![
            3 => Just("*".to_owned()),
            2 => number.clone().prop_map(|n| n.to_string()),
            1 => (1..=last).prop_map(|step| format!("*/{step}")),
            1 => (number.clone(), number.clone())
                .prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => proptest::collection::vec(number, 1..4)
                .prop_map(|numbers| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        ]
    }

    /// Expressions of all kinds; a few select no day.
    pub(in crate::model::schedule) fn expressions() -> impl Strategy<Value = Cron> {
        let fields = (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7));
        fields.prop_filter_map("selects no day", |(a, b, c, d, e)| {
            format!("{a} {b} {c} {d} {e}").parse().ok()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_next_minute_is_that_of_a_search_through_all_minutes(
            cron in expressions(),
            minutes in 0_i64..60 * 24 * 365 * 10,
        ) {
            let from = date(2020, 1, 1).at(0, 0, 0, 0) + jiff::SignedDuration::from_mins(minutes);
            let mut minute = from;
            let found = cron.next(from);
            // A search through a week is enough to find a wrong answer in thousands of cases.
            for _ in 0..7 * 24 * 60 {
                if cron.matches(minute) {
                    prop_assert_eq!(found, Some(minute));
                    return Ok(());
                }
                minute += jiff::SignedDuration::from_mins(1);
            }
            let found = found.expect("every accepted expression matches again");
            prop_assert!(found >= minute && cron.matches(found));
        }
    }
}
