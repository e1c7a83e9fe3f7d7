//! Byte order marks in front of JSON and settings.
//!
//! Some editors and programs put U+FEFF in front of a text. In UTF-8 it has no meaning, and RFC 8259 lets a reader
//! ignore it. In front of UTF-16 and UTF-32 it shows that the text has an encoding that the host does not read; the
//! error says so, because a parser would only complain about an invisible character.

use std::fmt;

/// An encoding other than UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherEncoding(&'static str);

impl fmt::Display for OtherEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it begins with the byte order mark of {}; write it in UTF-8", self.0)
    }
}

/// The longest mark comes first: the mark of UTF-32 begins with that of UTF-16.
const OTHERS: [(&[u8], &str); 4] = [
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\xfe\xff", "UTF-16"),
    (b"\xff\xfe", "UTF-16"),
];

/// The byte order mark in UTF-8.
const UTF_8: &[u8] = b"\xef\xbb\xbf";

/// The bytes after a byte order mark in UTF-8, or all bytes if there is none.
///
/// # Errors
/// If the mark is that of another encoding.
pub(crate) fn skip(bytes: &[u8]) -> Result<&[u8], OtherEncoding> {
    let other = OTHERS.iter().find(|(mark, _)| bytes.starts_with(mark));
    match other {
        Some((_, name)) => Err(OtherEncoding(name)),
        None => Ok(bytes.strip_prefix(UTF_8).unwrap_or(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_of_utf_8_is_skipped_and_others_are_named() {
        assert_eq!(skip(b"\xef\xbb\xbf1"), Ok(&b"1"[..]));
        assert_eq!(skip(b"\xef\xbb\xbf\xef\xbb\xbf1"), Ok(&b"\xef\xbb\xbf1"[..]));
        assert_eq!(skip(b"1\xef\xbb\xbf"), Ok(&b"1\xef\xbb\xbf"[..]));
        assert_eq!(skip(b""), Ok(&b""[..]));
        assert_eq!(skip(b"\xef\xbb"), Ok(&b"\xef\xbb"[..]));
        for (bytes, name) in [
            (&b"\xff\xfe1\x00"[..], "UTF-16"),
            (b"\xfe\xff\x001", "UTF-16"),
            (b"\xff\xfe\x00\x001\x00\x00\x00", "UTF-32"),
            (b"\x00\x00\xfe\xff\x00\x00\x001", "UTF-32"),
        ] {
            assert_eq!(skip(bytes), Err(OtherEncoding(name)));
        }
    }
}
