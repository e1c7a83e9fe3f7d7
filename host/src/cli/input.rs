//! JSON given on the command line: as text, `@file`, or `@-` for standard input.

use std::io::Read;

use super::error::CliError;
use crate::byte_order_mark;

/// The text of a payload argument. It is checked here too, because the usual mistake is the shell's quoting, and the
/// message can show what arrived.
pub(super) fn payload(argument: Option<&str>) -> Result<Option<String>, CliError> {
    let Some(argument) = argument else { return Ok(None) };
    let bytes = match argument.strip_prefix('@') {
        None => argument.as_bytes().to_vec(),
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| CliError::Usage(format!("cannot read standard input: {error}")))?;
            bytes
        }
        Some(path) => std::fs::read(path).map_err(|error| CliError::Usage(format!("cannot read {path:?}: {error}")))?,
    };
    let invalid = |problem: String| CliError::Usage(format!("the input {argument:?} cannot be used: {problem}"));
    let text = byte_order_mark::skip(&bytes).map_err(|other| invalid(other.to_string()))?;
    let text = String::from_utf8(text.to_vec()).map_err(|_| invalid("it is not UTF-8".into()))?;
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => {
            let shown: String = text.chars().take(60).collect();
            Err(CliError::Usage(format!(
                "{shown:?} is not JSON: {error} (a string needs its own quotes: '\"like this\"')"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_payload_is_given_as_text_or_as_a_file() {
        assert_eq!(payload(None).unwrap(), None);
        assert_eq!(payload(Some("{\"a\": 1.0}")).unwrap().as_deref(), Some("{\"a\": 1.0}"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"[1]\n").unwrap();
        let argument = format!("@{}", file.path().display());
        assert_eq!(payload(Some(&argument)).unwrap().as_deref(), Some("[1]\n"));
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_another_encoding_is_named() {
        let of_file = |bytes: &[u8]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bytes).unwrap();
            payload(Some(&format!("@{}", file.path().display())))
        };
        assert_eq!(of_file(b"\xef\xbb\xbf[1]").unwrap().as_deref(), Some("[1]"));
        assert_eq!(payload(Some("\u{feff}[1]")).unwrap().as_deref(), Some("[1]"));
        for (bytes, expected) in [(&b"\xff\xfe1\x00"[..], "UTF-16"), (b"\"\xff\"", "not UTF-8")] {
            let refused = of_file(bytes);
            assert!(
                matches!(&refused, Err(CliError::Usage(message)) if message.contains(expected)),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn invalid_json_is_refused_before_it_is_sent() {
        for text in ["order-7", "", "{", "@/no/such/file"] {
            assert!(matches!(payload(Some(text)), Err(CliError::Usage(_))), "{text}");
        }
    }
}
