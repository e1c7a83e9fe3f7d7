//! Tags in arguments and in output.

use std::collections::BTreeMap;

use super::{client::Call, output::clean};
use crate::model::Tag;

/// Parses `key=value`.
pub(super) fn parse(text: &str) -> Result<Tag, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("must be KEY=VALUE, not {text:?}"))?;
    Tag::new(key, value).map_err(|error| error.to_string())
}

/// Adds tags to a request.
pub(super) fn add(tags: &[Tag], call: Call) -> Call {
    tags.iter().fold(call, |call, tag| {
        call.query("tag", format!("{}:{}", tag.key(), tag.value()))
    })
}

/// Tags for people.
pub(super) fn shown(tags: &BTreeMap<String, String>) -> String {
    let pairs = tags.iter().map(|(key, value)| clean(&format!("{key}={value}")));
    pairs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_key_and_a_value() {
        let tag = parse("customer=ada=1:2").unwrap();
        assert_eq!((tag.key(), tag.value()), ("customer", "ada=1:2"));
        for text in ["customer", "=ada", "a:b=c", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
