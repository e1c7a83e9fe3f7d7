//! Query parameters, read strictly: an unknown, repeated or invalid one is refused by name rather than ignored.

use std::{fmt::Display, str::FromStr, time::Duration};

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use super::{error::Refusal, state::App};
use crate::model::{FromStored, InstanceStatus, MAX_TAGS, Tag, TagError, Tags, Timestamp, date_time};

/// Maximum time of `wait`. Clients that want to wait longer ask again.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);

/// The only parameter that may be given more than once.
const TAG: &str = "tag";

/// The parameters of a request that have not been read yet.
#[derive(Debug)]
pub(crate) struct Given {
    pairs: Vec<(String, String)>,
}

/// The parameters of a resource.
pub(crate) trait FromParams: Sized {
    /// Reads each known parameter; those left over are unknown to the resource.
    fn read(given: &mut Given) -> Result<Self, Refusal>;
}

/// Extracts the query parameters of a resource.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

/// The parameters of a resource that has none.
#[derive(Debug)]
pub(crate) struct NoParams;

impl FromParams for NoParams {
    fn read(_: &mut Given) -> Result<Self, Refusal> {
        Ok(Self)
    }
}

impl<T: FromParams> FromRequestParts<App> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Refusal> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse<T: FromParams>(query: &str) -> Result<T, Refusal> {
    let mut given = Given::split(query)?;
    let value = T::read(&mut given)?;
    match given.pairs.into_iter().next() {
        Some((name, _)) => Err(Refusal::UnknownParameter { name }),
        None => Ok(value),
    }
}

impl Given {
    fn split(query: &str) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).unwrap_or_else(|| name.to_owned());
            let value = decode(value).ok_or_else(|| invalid(&name, "is not UTF-8"))?;
            if name != TAG && pairs.iter().any(|(other, _)| *other == name) {
                return Err(Refusal::RepeatedParameter { name });
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// The text of a parameter, if it is given.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let position = self.pairs.iter().position(|(given, _)| given == name)?;
        Some(self.pairs.swap_remove(position).1)
    }

    /// A parameter that is parsed from text, such as an id or a number.
    pub(crate) fn parsed<T>(&mut self, name: &str) -> Result<Option<T>, Refusal>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.with(name, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// The id or name of something that may exist.
    pub(crate) fn stored<T: FromStored>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        self.with(name, |text| T::from_stored(text).map_err(|error| error.to_string()))
    }

    /// A parameter read by a function whose error message follows the name of the parameter.
    pub(crate) fn with<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read(&text).map(Some).map_err(|message| invalid(name, &message))
    }

    /// `true` or `false`, case-insensitive.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        let value = self.with(name, |text| match text {
            "" => Err("must be true or false".into()),
            _ if text.eq_ignore_ascii_case("true") => Ok(true),
            _ if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(format!("must be true or false, not {text:?}")),
        })?;
        Ok(value.unwrap_or(false))
    }

    /// A number from 1 to `most`.
    pub(crate) fn limit(&mut self, name: &str, default: u32, most: u32) -> Result<u32, Refusal> {
        let value = self.with(name, |text| match text.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(format!("must be a number from 1 to {most}")),
        })?;
        Ok(value.unwrap_or(default))
    }

    /// How long to wait, at most [`MAX_WAIT`].
    pub(crate) fn wait(&mut self) -> Result<Option<Duration>, Refusal> {
        self.with("wait", |text| {
            let wait = parse_duration(text)?;
            if wait > MAX_WAIT {
                Err(format!("is at most {}s", MAX_WAIT.as_secs()))
            } else {
                Ok(wait)
            }
        })
    }

    /// The tags of a new instance.
    pub(crate) fn tags(&mut self) -> Result<Tags, Refusal> {
        let tags = self.filter_tags()?;
        Tags::new(tags).map_err(|error| invalid(TAG, &error.to_string()))
    }

    /// Tags that an instance must have, at most [`MAX_TAGS`].
    pub(crate) fn filter_tags(&mut self) -> Result<Vec<Tag>, Refusal> {
        let mut tags: Vec<Tag> = Vec::new();
        while let Some(tag) = self.parsed(TAG)? {
            tags.push(tag);
        }
        match tags.len() {
            0..=MAX_TAGS => Ok(tags),
            count => Err(invalid(TAG, &TagError::TooMany(count).to_string())),
        }
    }

    /// A point in time.
    pub(crate) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        self.with(name, parse_time)
    }

    /// Statuses, separated by commas; none means any.
    pub(crate) fn statuses(&mut self, name: &str) -> Result<Vec<InstanceStatus>, Refusal> {
        let statuses = self.with(name, |text| {
            text.split(',')
                .map(|status| {
                    InstanceStatus::from_name(status.trim()).ok_or_else(|| {
                        let known = InstanceStatus::ALL.map(InstanceStatus::name).join(", ");
                        format!("contains the unknown state {status:?}; known states are {known}")
                    })
                })
                .collect()
        })?;
        Ok(statuses.unwrap_or_default())
    }
}

fn invalid(name: &str, message: &str) -> Refusal {
    Refusal::InvalidParameter {
        name: name.into(),
        message: message.into(),
    }
}

/// Decodes percent escapes, and `+` as a space, as in forms.
fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

/// Parses `20s`, `500ms`, `1m 30s`, or a plain number of seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("must be a time such as 20s, 500ms or a plain number of seconds, not {text:?}"))
}

/// Parses RFC 3339, in UTC if no offset is given. Times before 1970 count as 1970.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    date_time::parse(text).ok_or_else(|| {
        format!("must be a time such as 2026-01-31T12:00:00Z or 2026-01-31T14:00:00+02:00, not {text:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Sample {
        wait: Option<Duration>,
        name: Option<String>,
    }

    impl FromParams for Sample {
        fn read(given: &mut Given) -> Result<Self, Refusal> {
            Ok(Self {
                wait: given.wait()?,
                name: given.text("name"),
            })
        }
    }

    fn check(query: &str, expected: Result<(Option<u64>, Option<&str>), &str>) {
        let found = parse::<Sample>(query).map_err(|refusal| refusal.to_string());
        let expected = expected
            .map(|(wait_ms, name)| Sample {
                wait: wait_ms.map(Duration::from_millis),
                name: name.map(Into::into),
            })
            .map_err(String::from);
        assert_eq!(found, expected, "{query}");
    }

    #[test]
    fn known_parameters_are_read_and_decoded() {
        check("", Ok((None, None)));
        check("wait=20s&name=a%20b+c", Ok((Some(20_000), Some("a b c"))));
        check("name=%C3%A9&wait=500ms", Ok((Some(500), Some("é"))));
        check("wait=7", Ok((Some(7_000), None)));
        check("&&wait=60", Ok((Some(60_000), None)));
    }

    #[test]
    fn unknown_repeated_and_invalid_parameters_are_refused_by_name() {
        check("waits=1", Err("unknown query parameter \"waits\""));
        check(
            "wait=1&wait=2",
            Err("the query parameter \"wait\" is given more than once"),
        );
        check("wait=61s", Err("the query parameter \"wait\" is at most 60s"));
        check("name=%ff", Err("the query parameter \"name\" is not UTF-8"));
        check(
            "wait=soon",
            Err(
                "the query parameter \"wait\" must be a time such as 20s, 500ms or a plain number of seconds, not \"soon\"",
            ),
        );
        check(
            "wait=-1",
            Err(
                "the query parameter \"wait\" must be a time such as 20s, 500ms or a plain number of seconds, not \"-1\"",
            ),
        );
    }

    #[test]
    fn times_are_rfc_3339_however_they_are_escaped() {
        let time = |query: &str| Given::split(query).unwrap().time("from");
        for query in [
            "from=2026-01-31T14:00:00%2B02:00",
            "from=2026-01-31T14:00:00+02:00",
            "from=2026-01-31T12%3A00%3A00",
            "from=2026-01-31T12:00:00Z",
        ] {
            assert_eq!(time(query).unwrap(), Some(Timestamp(1_769_860_800_000)), "{query}");
        }
        assert_eq!(time("from=0001-01-01T00:00:00Z").unwrap(), Some(Timestamp(0)));
        assert_eq!(
            time("from=yesterday").unwrap_err().to_string(),
            "the query parameter \"from\" must be a time such as 2026-01-31T12:00:00Z or 2026-01-31T14:00:00+02:00, not \"yesterday\""
        );
    }
}
