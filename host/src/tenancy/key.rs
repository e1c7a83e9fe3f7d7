//! API keys: `wl_`, a public id of 16 hexadecimal digits, `_`, and a secret of 64.
//!
//! The secret is 32 bytes of the operating system's randomness. It cannot be guessed, so its plain SHA-256 is as good
//! as a slower hash. The id finds the row; then the hashes are compared in constant time.

use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::entropy::Entropy;

const PREFIX: &str = "wl_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

/// A whole key. Shown once, never stored.
#[derive(Clone)]
pub struct PlainKey(String);

impl PlainKey {
    /// Generates a new key.
    pub(super) fn draw(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; (ID_DIGITS + SECRET_DIGITS) / 2];
        entropy.fill(&mut bytes);
        let mut text = PREFIX.to_owned();
        for (position, byte) in bytes.iter().enumerate() {
            if position == ID_DIGITS / 2 {
                text.push('_');
            }
            write!(text, "{byte:02x}").expect("a text can always be written to");
        }
        Self(text)
    }

    /// The whole key, to be shown to its creator.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its public part.
    pub fn id(&self) -> &str {
        split(&self.0).map_or("", |(id, _)| id)
    }

    /// The hash of its secret part, for the store.
    pub(super) fn hash(&self) -> [u8; 32] {
        split(&self.0).map_or([0; 32], |(_, secret)| hash(secret))
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_…", self.id())
    }
}

/// The public part of a key; `None` if the text is not a key.
pub fn id_of(key: &str) -> Option<&str> {
    split(key).map(|(id, _)| id)
}

/// The id and the secret of a key; `None` if the text is not a key.
pub(super) fn split(key: &str) -> Option<(&str, &str)> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits(id, ID_DIGITS) && digits(secret, SECRET_DIGITS)).then_some((id, secret))
}

/// Whether a secret has this hash. Takes the same time for every secret.
pub(super) fn matches(secret: &str, expected: &[u8; 32]) -> bool {
    hash(secret).ct_eq(expected).into()
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_secret_matches_only_its_own_hash() {
        let (one, other) = (PlainKey::draw(&SystemEntropy), PlainKey::draw(&SystemEntropy));
        let (id, secret) = split(one.reveal()).unwrap();
        assert_eq!(id, one.id());
        assert!(matches(secret, &one.hash()));
        assert!(!matches(secret, &other.hash()));
        assert!(!format!("{one:?}").contains(secret));
    }

    #[test]
    fn invalid_keys_are_rejected() {
        let good = format!("wl_{}_{}", "a".repeat(16), "0".repeat(64));
        assert!(split(&good).is_some());
        for bad in [
            "",
            "wl_",
            "wl__",
            &good[1..],
            &good[..80],
            &format!("{good}0"),
            &good.replace('a', "é"),
        ] {
            assert!(split(bad).is_none(), "{bad}");
        }
    }
}
