//! JSON given on the command line: as text, `@file`, or `@-` for standard input.

use std::io::Read;

use super::trouble::Trouble;

/// The text of a payload argument. Checked here too, because the shell's quoting is what mostly goes wrong, and then the
/// message should show what arrived.
pub(super) fn payload(argument: Option<&str>) -> Result<Option<String>, Trouble> {
    let Some(argument) = argument else { return Ok(None) };
    let text = match argument.strip_prefix('@') {
        None => argument.to_owned(),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Trouble::Usage(format!("cannot read standard input: {error}")))?;
            text
        }
        Some(path) => {
            std::fs::read_to_string(path).map_err(|error| Trouble::Usage(format!("cannot read {path:?}: {error}")))?
        }
    };
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => {
            let shown: String = text.chars().take(60).collect();
            Err(Trouble::Usage(format!(
                "{shown:?} is not JSON: {error} (a text needs quotes of its own: '\"like this\"')"
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
    fn what_is_no_json_is_refused_before_it_is_sent() {
        for text in ["order-7", "", "{", "@/no/such/file"] {
            assert!(matches!(payload(Some(text)), Err(Trouble::Usage(_))), "{text}");
        }
    }
}
