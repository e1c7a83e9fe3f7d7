//! Fuzzes stored rows, payloads and names.

use std::fmt::Display;
use std::str::FromStr;

use super::{EventName, Failure, FunctionName, InboxItem, InstanceId, ModuleDescription, ModuleDigest, Payload, codec};
use crate::fuzz::Target;

/// A row is decoded or rejected, and a decoded value can be encoded and decoded again.
fn rows<T: codec::Stored>(target: Target) {
    target.memory(4 << 20, 2_000).run(|row| {
        let Ok(value) = codec::decode::<T>(row) else {
            return false;
        };
        let written = codec::encode(&value);
        let again: T = codec::decode(&written).expect("an encoded value can be decoded");
        assert_eq!(codec::encode(&again), written);
        true
    });
}

#[test]
fn fuzz_inbox_rows_are_read_or_refused() {
    rows::<InboxItem>(Target::new("inbox"));
}

#[test]
fn fuzz_attempt_rows_are_read_or_refused() {
    rows::<Failure>(Target::new("attempt"));
}

#[test]
fn fuzz_module_rows_are_read_or_refused() {
    rows::<ModuleDescription>(Target::new("module"));
}

#[test]
fn fuzz_payload_is_kept_verbatim_or_refused() {
    let words = [
        "[", "{\"a\":", "]", "}", "\\u0000", "\\ud800", "1e400", "-0", "null", "\"",
    ];
    Target::new("payload").words(&words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(payload) = Payload::parse(&text, 1 << 20) else {
            return false;
        };
        assert_eq!(payload.as_str(), text);
        // As in an HTTP response.
        let shown = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        assert_eq!(
            shown.expect("it is JSON").get(),
            text.trim_matches([' ', '\t', '\r', '\n'])
        );
        let _ = payload.to_value();
        true
    });
}

#[test]
fn fuzz_name_reads_back_what_it_writes() {
    fn check<T: FromStr + Display>(text: &str) -> bool {
        let Ok(name) = text.parse::<T>() else { return false };
        assert!(name.to_string().eq_ignore_ascii_case(text));
        true
    }
    Target::new("name")
        .words(&["/", "\u{0}", "\u{202e}", "sha256:", "é"])
        .run(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            check::<InstanceId>(&text)
                | check::<FunctionName>(&text)
                | check::<EventName>(&text)
                | check::<ModuleDigest>(&text)
        });
}
