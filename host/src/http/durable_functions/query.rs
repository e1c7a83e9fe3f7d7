//! Query parameters of this API, read as leniently as the original reads them: names compare without regard to case,
//! unknown parameters are ignored, the first of repeated ones counts, and a value that cannot be read counts as absent.

use std::time::Duration;

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::model::{InstanceStatus, Timestamp, date_time};

/// The statuses of Durable Functions that no instance of this host ever has.
const NEVER: [&str; 1] = ["ContinuedAsNew"];

/// The parameters of a request, decoded.
#[derive(Debug, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

/// Which statuses a request selects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Statuses {
    /// The parameter is absent.
    Any,
    /// The parameter names nothing that is a status.
    Unknown,
    /// These statuses; empty if no instance ever has one of those that the request names.
    These(Vec<InstanceStatus>),
}

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&');
        let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Self { pairs: pairs.collect() }
    }

    /// The text of a parameter, if it is given and not blank.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|text| !text.trim().is_empty())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self
            .pairs
            .iter()
            .filter(move |(given, _)| given.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// `true` or `false` in any case.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        let text = self.text(name)?.trim();
        let is = |word| text.eq_ignore_ascii_case(word);
        (is("true") || is("false")).then(|| is("true"))
    }

    /// A positive whole number.
    pub(super) fn count(&self, name: &str) -> Option<u32> {
        let number: i64 = self.text(name)?.trim().parse().ok()?;
        let number = u32::try_from(number.min(i64::from(u32::MAX))).ok()?;
        (number > 0).then_some(number)
    }

    /// A time in seconds, with or without a fraction. A negative one is no time.
    pub(super) fn seconds(&self, name: &str) -> Option<Duration> {
        let seconds: f64 = self.text(name)?.trim().parse().ok()?;
        if seconds.is_nan() {
            return None;
        }
        Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
    }

    /// A point in time, in UTC if it has no offset. The year may lack leading zeros, as some Python versions write it.
    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let zeros = if (1..4).contains(&digits) { 4 - digits } else { 0 };
        date_time::parse(&format!("{}{text}", "0".repeat(zeros)))
    }

    /// `runtimeStatus`: names separated by commas, in one parameter or in several. Unknown names do not count.
    pub(super) fn statuses(&self) -> Statuses {
        let (mut given, mut known, mut selected) = (false, false, Vec::new());
        for name in self.all("runtimeStatus").flat_map(|list| list.split(',')) {
            let name = name.trim();
            given |= !name.is_empty();
            known |= NEVER.iter().any(|never| never.eq_ignore_ascii_case(name));
            for status in InstanceStatus::ALL {
                if super::document::status_name(status).eq_ignore_ascii_case(name) {
                    known = true;
                    selected.push(status);
                }
            }
        }
        match (given, known) {
            (_, true) => Statuses::These(selected),
            (true, false) => Statuses::Unknown,
            (false, false) => Statuses::Any,
        }
    }
}

/// Decodes percent escapes, and `+` as a space. What is not UTF-8 becomes replacement characters.
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/x?{text}").parse().unwrap())
    }

    #[test]
    fn names_ignore_case_and_the_first_value_counts() {
        let query = query("TASKHUB=a%20b+c&taskHub=d&&flag&blank=%20");
        assert_eq!(query.text("taskHub"), Some("a b c"));
        assert_eq!(
            (query.text("flag"), query.text("blank"), query.text("none")),
            (None, None, None)
        );
    }

    #[test]
    fn values_that_cannot_be_read_count_as_absent() {
        for (text, expected) in [
            ("f=True", Some(true)),
            ("f=FALSE", Some(false)),
            ("f=1", None),
            ("f=", None),
        ] {
            assert_eq!(query(text).flag("f"), expected, "{text}");
        }
        for (text, expected) in [
            ("n=7", Some(7)),
            ("n=0", None),
            ("n=-3", None),
            ("n=x", None),
            ("n=99999999999", Some(u32::MAX)),
        ] {
            assert_eq!(query(text).count("n"), expected, "{text}");
        }
        for (text, expected) in [
            ("s=1.5", Some(Duration::from_millis(1_500))),
            ("s=-1", Some(Duration::ZERO)),
            ("s=1e300", Some(Duration::MAX)),
            ("s=NaN", None),
            ("s=soon", None),
        ] {
            assert_eq!(query(text).seconds("s"), expected, "{text}");
        }
        let noon = Some(Timestamp(1_769_860_800_000));
        for (text, expected) in [
            ("t=2026-01-31T12:00:00.000Z", noon),
            ("t=2026-01-31T12%3A00%3A00.000000Z", noon),
            ("t=2026-01-31T12:00:00", noon),
            ("t=2026-01-31T14:00:00+02:00", noon),
            ("t=1-01-01T00:00:00", Some(Timestamp(0))),
            ("t=yesterday", None),
        ] {
            assert_eq!(query(text).time("t"), expected, "{text}");
        }
    }

    #[test]
    fn statuses_are_lists_and_unknown_names_do_not_count() {
        use InstanceStatus as S;
        for (text, expected) in [
            ("", Statuses::Any),
            ("runtimeStatus=", Statuses::Any),
            ("runtimeStatus=Runing", Statuses::Unknown),
            (
                "runtimeStatus=Running,Nothing&runtimeStatus=Completed",
                Statuses::These(vec![S::Running, S::Completed]),
            ),
            ("runtimeStatus=Suspended", Statuses::These(vec![S::Suspended, S::Stuck])),
            ("runtimeStatus=Canceled", Statuses::These(vec![S::Canceled])),
            ("runtimeStatus=ContinuedAsNew", Statuses::These(Vec::new())),
        ] {
            assert_eq!(query(text).statuses(), expected, "{text}");
        }
    }
}
