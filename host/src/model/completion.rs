//! The token with which somebody outside completes an activity call.

use std::{fmt, str::FromStr};

/// 256 random bits, written as `wc_` and 64 hexadecimal digits. Whoever has it can complete the call, so only its hash is
/// stored.
#[derive(Clone, PartialEq, Eq)]
pub struct CompletionToken([u8; 32]);

const PREFIX: &str = "wc_";

/// The text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `wc_` and 64 hexadecimal digits")]
pub struct NotAToken;

impl CompletionToken {
    /// The token with these random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for CompletionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Without the token.
impl fmt::Debug for CompletionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompletionToken(***)")
    }
}

impl FromStr for CompletionToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotAToken)?.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(NotAToken);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = 16 * digit(pair[0])? + digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn digit(byte: u8) -> Result<u8, NotAToken> {
    let digit = char::from(byte).to_digit(16).ok_or(NotAToken)?;
    u8::try_from(digit).map_err(|_| NotAToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_not_shown_by_accident() {
        let token = CompletionToken::new(std::array::from_fn(|n| u8::try_from(n * 8).unwrap()));
        let text = token.to_string();
        assert_eq!(text.len(), 67);
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(text.to_uppercase().replace("WC_", "wc_").parse(), Ok(token.clone()));
        assert_eq!(format!("{token:?}"), "CompletionToken(***)");
        for wrong in [
            "",
            "wc_",
            "wc_é",
            &text[1..],
            &text[..66],
            &format!("{text}0"),
            &text.replace("08", "g8"),
        ] {
            assert_eq!(wrong.parse::<CompletionToken>(), Err(NotAToken), "{wrong}");
        }
    }
}
