//! Masks the secrets of an attempt in texts that people read: lines of its log, and the messages of its failures.
//!
//! This protects against accidents only: a guest that wants to leak a secret can write it backwards. Values are found
//! verbatim, as a whole and line by line, because standard streams are logged by line. All attempts with the same
//! [`Grants`] share a matcher, because a guest decides how many lines the host must search.

use std::{borrow::Cow, sync::Arc};

use crate::grants::Grants;
use crate::grants::secrets::MIN_COVERED_BYTES;
use crate::model::Failure;

/// The replacement of a secret.
const COVER: &str = "***";

/// Masks the secrets of an attempt.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct Mask(Arc<Grants>);

impl Mask {
    pub(in crate::sandbox) fn new(grants: Arc<Grants>) -> Self {
        Self(grants)
    }

    /// Returns the first `bytes` of the text, with each secret masked that begins in them.
    ///
    /// The rest of the text is not searched, so that a guest cannot keep the host busy with endless lines.
    pub(in crate::sandbox) fn cover<'t>(&self, text: &'t str, bytes: usize) -> Cow<'t, str> {
        let kept = &text[..text.floor_char_boundary(bytes)];
        if text.len() < MIN_COVERED_BYTES {
            return Cow::Borrowed(kept);
        }
        let matcher = self.0.secrets.matcher();
        let searched = &text[..text.floor_char_boundary(bytes.saturating_add(matcher.longest()))];
        let (mut covered, mut done) = (String::new(), 0);
        for place in matcher.places(searched) {
            if place.start >= kept.len() {
                break;
            }
            covered.push_str(&text[done..place.start]);
            covered.push_str(COVER);
            done = place.end;
        }
        if done == 0 {
            return Cow::Borrowed(kept);
        }
        covered.push_str(kept.get(done..).unwrap_or_default());
        Cow::Owned(covered)
    }

    /// Masks the messages of a failure. Types and details are not changed, because they are names and payloads.
    pub(in crate::sandbox) fn cover_failure(&self, mut failure: Failure) -> Failure {
        let causes = failure.causes.iter_mut().map(|cause| &mut cause.message);
        for message in std::iter::once(&mut failure.message).chain(causes) {
            if let Cow::Owned(covered) = self.cover(message, usize::MAX) {
                *message = covered;
            }
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::secrets::tests::most_lines;
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
    fn secrets_are_masked_everywhere_in_a_text() {
        let mask = mask(&["hunter2-and-more", "hunter2-and-more-still", "short", ""]);
        let cover = |text| mask.cover(text, 1_000).into_owned();
        assert_eq!(cover("a hunter2-and-more, hunter2-and-more!"), "a ***, ***!");
        assert_eq!(
            cover("hunter2-and-more-still"),
            "***",
            "the longer one is masked completely"
        );
        assert_eq!(cover("a short word"), "a short word", "too short to be masked");
    }

    #[test]
    fn each_line_of_a_secret_is_masked() {
        let mask = mask(&["-----BEGIN KEY-----\r\nMC4CAQAwBQYDK2Vw\n-----END KEY-----\n"]);
        assert_eq!(mask.cover("key: MC4CAQAwBQYDK2Vw", 1_000), "key: ***");
    }

    #[test]
    fn overlapping_secrets_are_masked_completely() {
        let mask = mask(&["the-beginning-and", "and-the-end", "abababab"]);
        let cover = |text| mask.cover(text, 1_000).into_owned();
        assert_eq!(cover("<the-beginning-and-the-end>"), "<***>");
        assert_eq!(cover("<ababababab>"), "<***>");
    }

    #[test]
    fn a_value_of_short_lines_is_masked_as_a_whole() {
        let mask = mask(&["one\ntwo\nthree\n"]);
        assert_eq!(mask.cover("it is one\ntwo\nthree", 1_000), "it is ***");
        assert_eq!(mask.cover("one and two", 1_000), "one and two");
    }

    #[test]
    fn texts_too_short_for_a_secret_are_not_searched() {
        let secrets = most_lines();
        let mask = mask(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        for text in ["", "\r", "1234567"] {
            assert_eq!(mask.cover(text, 1_000), text);
        }
        assert!(!mask.0.secrets.is_prepared());
        assert_eq!(mask.cover("000000000", 1_000), "***");
        assert!(mask.0.secrets.is_prepared());
        assert!(mask.clone().0.secrets.is_prepared(), "shared by all attempts");
    }

    #[test]
    fn nothing_after_the_truncation_is_kept_when_masks_shorten_the_text() {
        let mask = mask(&["0123456789", "abcdefghijklmnopqrst"]);
        let text = "0123456789 ".repeat(10);
        let covered = mask.cover(&text, 45);
        assert_eq!(covered, "*** *** *** *** ***");
    }

    #[test]
    fn a_secret_across_the_truncation_is_masked() {
        let mask = mask(&["0123456789"]);
        let text = format!("{}0123456789{}", "x".repeat(95), "y".repeat(500));
        let covered = mask.cover(&text, 100);
        assert!(covered.len() >= 95 && covered.len() <= 110, "{covered}");
        assert!(!covered.contains("01234"), "{covered}");
    }

    #[test]
    fn messages_of_failures_are_masked_and_details_are_unchanged() {
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
