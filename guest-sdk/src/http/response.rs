//! [`Response`]: a complete response.

use serde::de::DeserializeOwned;
use serde_json::json;

use super::failure_types;
use crate::failure::{Failure, Result};

/// Status and headers of a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The value of a header as text. A value that is not UTF-8 is decoded as ISO-8859-1, which older versions of HTTP
/// prescribe, so that no byte is lost.
#[cfg(any(target_arch = "wasm32", test))]
pub(crate) fn header_text(value: Vec<u8>) -> String {
    String::from_utf8(value).unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect())
}

/// A response with its whole body.
#[derive(Clone, Debug)]
pub struct Response {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// The maximum number of characters of a body that are quoted in a failure.
const QUOTED_CHARS: usize = 500;

impl Response {
    /// Creates a response without headers, for tests.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            head: Head {
                status,
                headers: Vec::new(),
            },
            body: body.into(),
        }
    }

    /// Creates a response with a value as JSON, for tests.
    ///
    /// # Panics
    /// If the value cannot be written as JSON.
    pub fn of_json(status: u16, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("a value that can be written as JSON");
        Self::new(status, body).with_header("content-type", "application/json")
    }

    /// Adds a header, for tests.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.head.headers.push((name.into(), value.into()));
        self
    }

    /// The status, 200 for example.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// All headers, in the order received.
    pub fn headers(&self) -> &[(String, String)] {
        &self.head.headers
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Returns the body without copying it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.body
    }

    /// The body as text.
    ///
    /// # Errors
    /// A failure of the type `Error` if the body is not UTF-8.
    pub fn text(&self) -> Result<String> {
        Ok(std::str::from_utf8(&self.body)?.to_owned())
    }

    /// Parses the body as JSON. A byte order mark at its beginning is ignored.
    ///
    /// # Errors
    /// `HttpError` if the body is not JSON or does not match `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let other_encoding = [&b"\xff\xfe"[..], b"\xfe\xff", b"\x00\x00\xfe\xff"]
            .iter()
            .any(|mark| self.body.starts_with(mark));
        let parsed = if other_encoding {
            Err("it begins with the byte order mark of UTF-16 or UTF-32, and JSON is UTF-8".to_owned())
        } else {
            let text = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body);
            serde_json::from_slice(text).map_err(|error| error.to_string())
        };
        parsed.map_err(|problem| {
            let details = json!({ "status": self.status(), "body": self.beginning() });
            Failure::new(
                failure_types::ERROR,
                format!("the response does not match the expected type: {problem}"),
            )
            .details(&details)
        })
    }

    /// Returns the response if its status is 200 to 299.
    ///
    /// # Errors
    /// `HttpStatus` otherwise, with `status` and the beginning of the `body` as details. It is not retried if the server
    /// rejected the request (400 to 499, except 408, 425 and 429).
    pub fn ok(self) -> Result<Self> {
        let status = self.status();
        if self.is_success() {
            return Ok(self);
        }
        let details = json!({ "status": status, "body": self.beginning() });
        let failure = Failure::new(failure_types::STATUS, format!("the server answered {status}")).details(&details);
        Err(match status {
            408 | 425 | 429 => failure,
            400..500 => failure.non_retryable(),
            _ => failure,
        })
    }

    fn beginning(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(QUOTED_CHARS).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_in_front_of_json_is_ignored_and_another_encoding_is_named() {
        let read = |body: &[u8]| Response::new(200, body.to_vec()).json::<String>();
        assert_eq!(read(b"\xef\xbb\xbf\"x\"").unwrap(), "x");
        assert_eq!(read(b"\"x\"").unwrap(), "x");
        let failure = read(b"\xff\xfe\"\x00x\x00\"\x00").unwrap_err();
        assert!(failure.message().contains("byte order mark"), "{failure:?}");
    }

    #[test]
    fn a_header_that_is_not_utf8_keeps_its_bytes() {
        assert_eq!(header_text("grüße".into()), "grüße");
        assert_eq!(header_text(b"gr\xfc\xdfe".to_vec()), "grüße");
    }
}
