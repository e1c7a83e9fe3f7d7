//! The secrets of an attempt, and a matcher that finds them in texts that people read.

mod matcher;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use matcher::{NODE_BYTES, SecretMatcher};

use crate::model::Secret;

/// The minimum length of a masked value, in bytes. Shorter values are often ordinary words, and masking these would reveal
/// the value.
pub(crate) const MIN_COVERED_BYTES: usize = 8;

/// Maximum bytes of values and lines that are searched for. An attempt may have twelve times as many bytes of secrets, and
/// a matcher for all would use more memory than the secrets themselves. Passwords and keys are far below this limit.
const MAX_COVERED_BYTES: usize = 512 << 10;

const _: () = assert!(
    MAX_COVERED_BYTES * NODE_BYTES < 8 << 20,
    "each module of a tenant may use this much"
);

/// Secrets by name, with a matcher that finds them in texts.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    by_name: BTreeMap<String, Secret>,
    /// Created for the first text that may contain a secret, and shared by all attempts with these secrets.
    matcher: OnceLock<SecretMatcher>,
}

impl Secrets {
    /// The secret with that name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.by_name.get(name)
    }

    /// The matcher that finds the secrets in texts.
    pub(crate) fn matcher(&self) -> &SecretMatcher {
        self.matcher.get_or_init(|| prepare(self.by_name.values()))
    }

    /// Whether the matcher was created.
    #[cfg(test)]
    pub(crate) fn is_prepared(&self) -> bool {
        self.matcher.get().is_some()
    }
}

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(secrets: I) -> Self {
        Self {
            by_name: secrets.into_iter().collect(),
            matcher: OnceLock::new(),
        }
    }
}

/// Creates the matcher for these secrets: for each whole value, and for each of its lines. Above the maximum size, the
/// longest texts are left out.
fn prepare<'s>(secrets: impl Iterator<Item = &'s Secret>) -> SecretMatcher {
    let values = secrets.map(|secret| secret.expose().trim_end_matches(['\r', '\n']));
    let mut texts: Vec<&str> = values
        .flat_map(|value| std::iter::once(value).chain(value.lines()))
        .filter(|text| text.len() >= MIN_COVERED_BYTES)
        .collect();
    texts.sort_unstable_by_key(|text| (text.len(), *text));
    texts.dedup();
    let mut bytes_left = MAX_COVERED_BYTES;
    let fitting = texts
        .iter()
        .take_while(|text| match bytes_left.checked_sub(text.len()) {
            Some(rest) => {
                bytes_left = rest;
                true
            }
            None => false,
        });
    let fitting = fitting.count();
    texts.truncate(fitting);
    SecretMatcher::new(texts)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::grants::{MAX_SETTING_BYTES, MAX_SETTINGS};

    /// The maximum number of secrets with the maximum size, with almost as many searchable lines as possible.
    pub(crate) fn most_lines() -> Vec<String> {
        let line = |secret: usize, line: usize| format!("{:09x}\n", secret * MAX_SETTING_BYTES + line);
        let secret = |secret| (0..MAX_SETTING_BYTES / 10).map(|number| line(secret, number)).collect();
        (0..MAX_SETTINGS).map(secret).collect()
    }

    #[test]
    fn of_too_many_lines_the_shortest_are_masked() {
        let mut secrets = most_lines();
        secrets.push("s3cr3t-7".into());
        let matcher = prepare(
            secrets
                .iter()
                .map(|value| Secret::new(value.as_str()))
                .collect::<Vec<_>>()
                .iter(),
        );
        assert_eq!(matcher.longest(), 9);
        assert_eq!(matcher.places("000000000 s3cr3t-7"), [0..9, 10..18]);
        let last = secrets[MAX_SETTINGS - 1].lines().next().unwrap();
        assert!(
            matcher.places(last).is_empty(),
            "it exceeds the maximum size of a matcher"
        );
    }
}
