//! Checks of the header fields of a request, before it is sent.
//!
//! `wasi:http` does not report which field it rejects or why. These checks run in the guest and in native tests, so that
//! the failure names the field. Messages do not contain values, except that of `content-length`: they may be secrets.

use serde_json::json;

use super::{Method, Request, wrong};
use crate::failure::{Failure, Result};

/// The fields of a request as sent: names in lower case, values as bytes.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// Why a request cannot set headers of the connection.
const KEPT: &str = "the host decides how long a connection is kept";
/// Why a request cannot change the protocol.
const HTTP_1: &str = "the host speaks HTTP/1.1 only";
/// Why a request cannot set headers for a proxy.
const NO_PROXY: &str = "requests do not go through a proxy that the module knows of";

/// Fields that the host sets itself or never sends, each with the reason.
const FORBIDDEN: [(&str, &str); 9] = [
    ("connection", KEPT),
    ("keep-alive", KEPT),
    ("proxy-connection", KEPT),
    ("transfer-encoding", "the host frames the body; set the body only"),
    ("upgrade", HTTP_1),
    ("http2-settings", HTTP_1),
    ("host", "it follows from the URL"),
    ("proxy-authenticate", NO_PROXY),
    ("proxy-authorization", NO_PROXY),
];

/// Returns the fields of the request, with `content-length` where servers expect it.
///
/// A `content-length` set by the author must be the length of the body.
pub(crate) fn of(request: &Request) -> Result<Fields> {
    let length = request.body.len();
    let mut length_was_set = false;
    let mut fields = Fields::with_capacity(request.headers.len() + 1);
    for (name, value) in &request.headers {
        check_name(name)?;
        check_value(name, value)?;
        let name = name.to_ascii_lowercase();
        if name == "content-length" {
            if length_was_set {
                return refuse(&name, "it is set twice");
            }
            length_was_set = true;
            check_length(&name, value, length)?;
        } else {
            check_allowed(&name, value)?;
            fields.push((name, value.clone().into_bytes()));
        }
    }
    if length > 0 || length_was_set || expects_body(request.method) {
        fields.push(("content-length".into(), length.to_string().into_bytes()));
    }
    Ok(fields)
}

/// Whether a request with this method usually has a body, so that an empty one needs `content-length: 0` (RFC 9110,
/// section 8.6). Some servers reject such a request without a length (411).
fn expects_body(method: Method) -> bool {
    match method {
        Method::Post | Method::Put | Method::Patch => true,
        Method::Get | Method::Head | Method::Delete | Method::Options => false,
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return refuse(name, "its name is empty");
    }
    match name.char_indices().find(|(_, character)| !is_token(*character)) {
        Some((at, character)) => refuse(
            name,
            &format!("its name has the invalid character {character:?} at byte {at}"),
        ),
        None => Ok(()),
    }
}

/// Whether the name of a field may contain the character (RFC 9110, section 5.6.2).
fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

fn check_value(name: &str, value: &str) -> Result<()> {
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    match value.bytes().enumerate().find(|(_, byte)| is_control(byte)) {
        Some((at, byte)) => refuse(
            name,
            &format!("its value has the control character U+{byte:04X} at byte {at}"),
        ),
        None => Ok(()),
    }
}

fn check_length(name: &str, value: &str, length: usize) -> Result<()> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    // A number that overflows is not the length either.
    match value.parse::<usize>() {
        Ok(set) if is_number && set == length => Ok(()),
        _ if is_number => refuse(name, &format!("it is {value}, but the body has {length} bytes")),
        _ => refuse(name, &format!("it is not a number; the body has {length} bytes")),
    }
}

/// `te: trailers` is harmless; any other value of `te` requests a transfer coding that the host does not decode.
fn check_allowed(name: &str, value: &str) -> Result<()> {
    if name == "te" && !value.trim().eq_ignore_ascii_case("trailers") {
        return refuse(name, "the host decodes no transfer codings; only `trailers` is allowed");
    }
    match FORBIDDEN.iter().find(|(forbidden, _)| *forbidden == name) {
        Some((_, why)) => refuse(name, why),
        None => Ok(()),
    }
}

/// A failure that names the field. It is not retried: the same request would fail again.
pub(crate) fn refusal(name: &str, why: &str) -> Failure {
    let details = json!({ "reason": "HeaderRefused", "header": name });
    wrong(format!("the header {name:?} is refused: {why}")).details(&details)
}

fn refuse<T>(name: &str, why: &str) -> Result<T> {
    Err(refusal(name, why))
}

#[cfg(test)]
mod tests {
    use crate::http::{self, Request};

    use super::*;

    /// The fields as text, in the form in which they are sent.
    fn sent(request: &Request) -> Vec<String> {
        let fields = of(request).unwrap_or_else(|failure| panic!("{failure:?}"));
        let line = |(name, value)| format!("{name}: {}", String::from_utf8(value).unwrap());
        fields.into_iter().map(line).collect()
    }

    fn refused(name: &str, value: &str) -> String {
        let failure = of(&http::post("http://a").header(name, value)).unwrap_err();
        assert!(failure.is_non_retryable(), "{failure:?}");
        failure.message().to_owned()
    }

    #[test]
    fn methods_that_expect_a_body_send_the_length_of_an_empty_one() {
        for method in [Method::Post, Method::Put, Method::Patch] {
            let request = http::request(method, "http://a");
            assert_eq!(sent(&request), ["content-length: 0"], "{method:?}");
            assert_eq!(sent(&request.body("abc")), ["content-length: 3"], "{method:?}");
        }
        for method in [Method::Get, Method::Head, Method::Delete, Method::Options] {
            let request = http::request(method, "http://a");
            assert_eq!(sent(&request), [""; 0], "{method:?}");
            assert_eq!(sent(&request.body("abc")), ["content-length: 3"], "{method:?}");
        }
    }

    #[test]
    fn a_wrong_content_length_is_refused() {
        let length = |length: &str| http::put("http://a").body("abc").header("Content-Length", length);
        assert_eq!(sent(&length("3")), ["content-length: 3"]);
        assert_eq!(
            sent(&http::get("http://a").header("content-length", "0")),
            ["content-length: 0"]
        );
        let message = |request: Request| of(&request).unwrap_err().message().to_owned();
        assert_eq!(
            message(length("4")),
            "the header \"content-length\" is refused: it is 4, but the body has 3 bytes"
        );
        for odd in ["+3", "", "3, 3", "three"] {
            assert_eq!(
                message(length(odd)),
                "the header \"content-length\" is refused: it is not a number; the body has 3 bytes",
                "{odd}"
            );
        }
        let huge = "9".repeat(30);
        assert!(message(length(&huge)).contains(&huge));
        assert_eq!(
            message(length("3").header("content-length", "3")),
            "the header \"content-length\" is refused: it is set twice"
        );
    }

    #[test]
    fn a_field_of_the_connection_is_refused_with_its_name_and_the_reason() {
        for (name, why) in FORBIDDEN {
            let message = refused(&name.to_ascii_uppercase(), "x");
            assert_eq!(message, format!("the header {name:?} is refused: {why}"));
        }
        assert!(refused("te", "gzip").contains("\"te\""));
        assert_eq!(sent(&http::get("http://a").header("TE", "trailers")), ["te: trailers"]);
    }

    #[test]
    fn an_invalid_name_or_value_is_refused_with_its_position() {
        for (name, value, why) in [
            ("", "x", "its name is empty"),
            ("x y", "x", "its name has the invalid character ' ' at byte 1"),
            ("x\r\ny", "x", "its name has the invalid character '\\r' at byte 1"),
            ("grüße", "x", "its name has the invalid character 'ü' at byte 2"),
            (
                "x",
                "a\r\ncookie: b",
                "its value has the control character U+000D at byte 1",
            ),
            ("x", "\0", "its value has the control character U+0000 at byte 0"),
            ("x", "ü\u{7f}", "its value has the control character U+007F at byte 2"),
        ] {
            let message = refused(name, value);
            assert_eq!(message, format!("the header {name:?} is refused: {why}"));
        }
        let kept = http::get("http://a").header("X-Name", "a\tb ü");
        assert_eq!(sent(&kept), ["x-name: a\tb ü"]);
    }
}
