//! Covers the secrets of an attempt in texts that people read: lines of its log, and the messages of its failures.
//!
//! A net for accidents, not a barrier: a guest that means to tell a secret only has to write it backwards. Values are
//! found as they are, line by line, because that is how standard streams arrive.

use std::{borrow::Cow, sync::Arc};

use crate::model::Failure;
use crate::sandbox::grants::Grants;

/// What is covered at least, in bytes. Shorter values are words that turn up by themselves, and covering them would
/// tell where they are.
const MIN_COVERED_BYTES: usize = 8;

/// What stands in place of a secret.
const COVER: &str = "***";

/// The secrets of an attempt, to be covered.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct Mask(Arc<Grants>);

impl Mask {
    pub(in crate::sandbox) fn new(grants: Arc<Grants>) -> Self {
        Self(grants)
    }

    /// The beginning of the text with its secrets covered: no shorter than `bytes` where the text is longer.
    ///
    /// What lies far behind is not even looked at, so that a guest cannot keep the host busy with endless lines.
    pub(in crate::sandbox) fn cover<'t>(&self, text: &'t str, bytes: usize) -> Cow<'t, str> {
        let mut values: Vec<&str> = self.values().collect();
        // Of two that begin alike, the longer one, or its end would stay.
        values.sort_unstable_by_key(|value| std::cmp::Reverse(value.len()));
        let longest = values.first().map_or(0, |value| value.len());
        let text = &text[..text.floor_char_boundary(bytes.saturating_add(longest))];
        values.iter().fold(Cow::Borrowed(text), |text, value| {
            if text.contains(value) {
                Cow::Owned(text.replace(value, COVER))
            } else {
                text
            }
        })
    }

    /// The failure with its messages covered. Types are names and details are payloads: both stay as they are.
    pub(in crate::sandbox) fn cover_failure(&self, mut failure: Failure) -> Failure {
        let causes = failure.causes.iter_mut().map(|cause| &mut cause.message);
        for message in std::iter::once(&mut failure.message).chain(causes) {
            if let Cow::Owned(covered) = self.cover(message, usize::MAX) {
                *message = covered;
            }
        }
        failure
    }

    fn values(&self) -> impl Iterator<Item = &str> {
        let secrets = self.0.secrets.values();
        let lines = secrets.flat_map(|secret| secret.expose().lines());
        lines.filter(|line| line.len() >= MIN_COVERED_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn mask(secrets: &[&str]) -> Mask {
        let named = secrets.iter().enumerate();
        let secrets = named.map(|(n, value)| (format!("s{n}"), Secret::new(*value)));
        Mask::new(Arc::new(Grants {
            secrets: secrets.collect(),
            ..Grants::default()
        }))
    }

    #[test]
    fn secrets_are_covered_wherever_they_stand() {
        let mask = mask(&["hunter2-and-more", "hunter2-and-more-still", "short", ""]);
        let cover = |text| mask.cover(text, 1_000).into_owned();
        assert_eq!(cover("a hunter2-and-more, hunter2-and-more!"), "a ***, ***!");
        assert_eq!(
            cover("hunter2-and-more-still"),
            "***",
            "nothing of the longer one is left"
        );
        assert_eq!(cover("a short word"), "a short word", "too short to be covered");
    }

    #[test]
    fn each_line_of_a_secret_is_covered() {
        let mask = mask(&["-----BEGIN KEY-----\r\nMC4CAQAwBQYDK2Vw\n-----END KEY-----\n"]);
        assert_eq!(mask.cover("key: MC4CAQAwBQYDK2Vw", 1_000), "key: ***");
    }

    #[test]
    fn a_secret_across_the_end_of_what_is_kept_is_covered() {
        let mask = mask(&["0123456789"]);
        let text = format!("{}0123456789{}", "x".repeat(95), "y".repeat(500));
        let covered = mask.cover(&text, 100);
        assert!(covered.len() >= 95 && covered.len() <= 110, "{covered}");
        assert!(!covered.contains("01234"), "{covered}");
    }

    #[test]
    fn messages_of_failures_are_covered_and_their_details_are_not_touched() {
        let details = crate::model::Payload::of(&"hunter2-and-more");
        let failure = Failure {
            details: Some(details.clone()),
            ..Failure::new("hunter2-and-more", "no: hunter2-and-more")
        };
        let failure =
            mask(&["hunter2-and-more"]).cover_failure(failure.caused_by(Failure::new("A", "hunter2-and-more")));
        assert_eq!(
            (failure.message.as_str(), failure.causes[0].message.as_str()),
            ("no: ***", "***")
        );
        assert_eq!(failure.details, Some(details));
    }
}
